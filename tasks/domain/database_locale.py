"""Of which encoding and locale a database is: how it sorts and compares, and what a program that demands one finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.domain.errors import SqlFailed
from tasks.domain.ports import Session
from tasks.domain.relation import literal, quoted

Locale = Mapping[str, str]
"""What a manifest keeps of it: ``encoding``, ``collate``, ``ctype`` and, as far as there are any, ``provider`` (``c``
for the C library's, ``i`` for ICU's, ``b`` for PostgreSQL's own), ``locale`` and ``rules``."""

_ICU_RULES, _PROVIDERS = 160000, 150000
"""The server versions from which a locale of ICU has rules, and a database a provider of its locale."""
# What a server says of a locale that it lacks (wrong_object_type), of a provider that it was built without, of a locale
# that does not go with an encoding, and of a clause that it is too old for.
_NOT_HERE = frozenset({"42809", "0A000", "22023", "42601"})


def locale_of(session: Session, name: str | None = None) -> dict[str, str]:
    """Return encoding and locale of a database, by default the session's own."""
    row = session.query(
        "SELECT pg_encoding_to_char(encoding) AS encoding, to_jsonb(d) AS all FROM pg_database d "
        "WHERE datname = coalesce(%s, current_database())",
        (name,),
    )[0]
    more: Mapping[str, Any] = row["all"]  # the columns' names depend on the server's version
    found = {
        "encoding": row["encoding"],
        "collate": more["datcollate"],
        "ctype": more["datctype"],
        "provider": more.get("datlocprovider"),
        "locale": more.get("datlocale") or more.get("daticulocale"),
        "rules": more.get("daticurules"),
    }
    return {key: str(value) for key, value in found.items() if value}


def clauses(locale: Locale, server_version: int) -> str:
    """Return what CREATE DATABASE needs to make a database of that locale."""
    words = [f"ENCODING {literal(locale['encoding'])}"]
    words += [f"LC_COLLATE {literal(locale['collate'])}", f"LC_CTYPE {literal(locale['ctype'])}"]
    provider, name = locale.get("provider", "c"), literal(locale.get("locale", ""))
    if provider == "i":
        words.append(f"LOCALE_PROVIDER icu ICU_LOCALE {name}")
        if "rules" in locale and server_version >= _ICU_RULES:
            words.append(f"ICU_RULES {literal(locale['rules'])}")
    elif provider == "b":
        words.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {name}")
    elif server_version >= _PROVIDERS:
        words.append("LOCALE_PROVIDER libc")  # the server's own default may be another one
    return " ".join(words)


def create_empty(session: Session, name: str, locale: Locale | None) -> None:
    """Create an empty database that sorts like another, as nearly as this server can; None is the server's default.

    Where the server lacks the locale, the encoding at least is the same: text is hashed as it is encoded.
    """
    *preferred, last = _attempts(locale, session.server_version)
    for clause in preferred:
        try:
            session.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0 {clause}")
        except SqlFailed as error:
            if error.sqlstate not in _NOT_HERE:
                raise
        else:
            return
    session.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0 {last}")


def _attempts(locale: Locale | None, server_version: int) -> Sequence[str]:
    if locale is None:
        return [""]
    # Every encoding goes with C.
    plain = {"encoding": locale["encoding"], "collate": "C", "ctype": "C"}
    exact, encoding = clauses(locale, server_version), f"ENCODING {literal(locale['encoding'])}"
    return [exact, encoding, clauses(plain, server_version)]


def what_is_other(wanted: Locale | None, found: Locale) -> str:
    """Return how a copy's locale differs from production's, in words; empty if it does not, or nothing is known."""
    if wanted is None or _sorts_by(wanted) == _sorts_by(found):
        return ""
    return f"{_worded(found)} instead of {_worded(wanted)}, which the copy's server lacks: it may sort otherwise"


def _sorts_by(locale: Locale) -> Mapping[str, str]:
    return {"provider": "c", **locale}  # servers before 15 know no other


def _worded(locale: Locale) -> str:
    names = dict.fromkeys(locale[key] for key in ("locale", "collate", "ctype") if key in locale)
    return f"{'/'.join(names)} ({locale['encoding']})"
