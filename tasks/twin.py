"""A database made like another one beside it, and the names by which the two stand side by side."""

from __future__ import annotations

from contextlib import suppress

from tasks.domain.database_locale import clauses, locale_of
from tasks.domain.database_settings import set_to
from tasks.domain.errors import GoliveError
from tasks.domain.ports import Session
from tasks.domain.relation import quoted

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
        "SELECT pg_get_userbyid(datdba) AS owner, datconnlimit AS connections, "
        "(SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace AND NOT EXISTS ("
        "SELECT FROM pg_database e WHERE e.datname = 'template0' AND e.dattablespace = t.oid)) AS tablespace "
        "FROM pg_database d WHERE datname = %s",
        (live,),
    )[0]
    space = f"TABLESPACE {quoted(row['tablespace'])} " if row["tablespace"] else ""
    session.execute(
        f"CREATE DATABASE {quoted(incoming)} TEMPLATE template0 OWNER {quoted(row['owner'])} "
        f"{clauses(locale_of(session, live), session.server_version)} "
        f"{space}CONNECTION LIMIT {int(row['connections'])}"
    )
    try:
        for statement in (*_grants(session, live, incoming), *_settings(session, live, incoming)):
            session.execute(statement)
    except BaseException:
        with suppress(GoliveError):
            session.execute(f"DROP DATABASE IF EXISTS {quoted(incoming)} WITH (FORCE)")
        raise


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
        whose = f"ROLE {quoted(row['who'])} IN DATABASE" if row["who"] else "DATABASE"
        statements.append(f"ALTER {whose} {quoted(incoming)} SET {set_to(row['setting'])}")
    return statements
