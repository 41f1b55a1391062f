"""A database made like another one beside it, and the names by which the two stand side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tasks.domain.errors import GoliveError
from tasks.domain.ports import Session
from tasks.domain.relation import quoted

_LISTS = frozenset({"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"})
"""Settings that PostgreSQL keeps as a list whose elements are quoted already."""
LONGEST = 63
"""Bytes of a name; PostgreSQL cuts a longer one off, so that two could become one."""


def beside(name: str, word: str) -> str:
    """Return a name that begins like ``name`` and ends with ``word``, short enough for PostgreSQL to keep whole."""
    room = LONGEST - 1 - len(word.encode())
    return f"{name.encode()[:room].decode(errors='ignore')}_{word}"


def create_like(session: Session, live: str, incoming: str) -> None:
    """Create an empty database with what no dump of the contents holds: owner, locale, limits, grants, settings.

    Whole or not at all; one of that name that is there already is left as it is.
    """
    row = session.query(
        # A tablespace that is named has to be granted, even if it is where every database goes.
        "SELECT pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, to_jsonb(d) AS all, "
        "(SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace AND NOT EXISTS ("
        "SELECT FROM pg_database e WHERE e.datname = 'template0' AND e.dattablespace = t.oid)) AS tablespace "
        "FROM pg_database d WHERE datname = %s",
        (live,),
    )[0]
    more: Mapping[str, Any] = row["all"]
    space = f"TABLESPACE {quoted(row['tablespace'])} " if row["tablespace"] else ""
    session.execute(
        f"CREATE DATABASE {quoted(incoming)} TEMPLATE template0 OWNER {quoted(row['owner'])} "
        f"ENCODING {_literal(row['encoding'])} LC_COLLATE {_literal(more['datcollate'])} "
        f"LC_CTYPE {_literal(more['datctype'])} {_provider(more)}"
        f"{space}CONNECTION LIMIT {int(more['datconnlimit'])}"
    )
    try:
        for statement in (*_grants(session, live, incoming), *_settings(session, live, incoming)):
            session.execute(statement)
    except BaseException:
        with suppress(GoliveError):
            session.execute(f"DROP DATABASE IF EXISTS {quoted(incoming)} WITH (FORCE)")
        raise


def _provider(row: Mapping[str, Any]) -> str:
    """Return the clauses for a locale that is not the C library's."""
    # The columns' names depend on the server's version.
    locale = row.get("datlocale") or row.get("daticulocale")
    if row.get("datlocprovider") == "i":
        rules = f"ICU_RULES {_literal(row['daticurules'])} " if row.get("daticurules") else ""
        return f"LOCALE_PROVIDER icu ICU_LOCALE {_literal(str(locale))} {rules}"
    if row.get("datlocprovider") == "b":
        return f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {_literal(str(locale))} "
    return ""


def _grants(session: Session, live: str, incoming: str) -> list[str]:
    rows = session.query(
        "SELECT a.privilege_type AS what, a.is_grantable AS further, "
        "CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS who "
        "FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = %s",
        (live,),
    )
    if not rows:
        return []
    to = quoted(incoming)
    return [f"REVOKE ALL ON DATABASE {to} FROM PUBLIC"] + [
        f"GRANT {row['what']} ON DATABASE {to} TO {quoted(row['who']) if row['who'] else 'PUBLIC'}"
        f"{' WITH GRANT OPTION' if row['further'] else ''}"
        for row in rows
    ]


def _settings(session: Session, live: str, incoming: str) -> list[str]:
    rows = session.query(
        "SELECT CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END AS who, unnest(s.setconfig) AS setting "
        "FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = %s",
        (live,),
    )
    statements = []
    for row in rows:
        name, _, value = row["setting"].partition("=")
        whose = f"ROLE {quoted(row['who'])} IN DATABASE" if row["who"] else "DATABASE"
        shown = value if name in _LISTS else _literal(value)
        parts = ".".join(quoted(part) for part in name.split("."))
        statements.append(f"ALTER {whose} {quoted(incoming)} SET {parts} TO {shown}")
    return statements


def _literal(text: str) -> str:
    # With E'' a backslash means the same whatever standard_conforming_strings says.
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
