"""A database made like another one beside it, by a role that may do no more than that."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit, urlunsplit

import pytest

from tasks.adapters.postgres import Postgres
from tasks.domain.relation import quoted
from tasks.twin import beside, create_like


@pytest.fixture
def ordinary(session, database):
    """The database by a role that owns it and may make others, as `CREATE ROLE … LOGIN CREATEDB` gives it."""
    name, role, password = Postgres().name_of(database), f"deploy_{secrets.token_hex(4)}", secrets.token_hex(8)
    session.execute(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD '{password}'")
    session.execute(f"ALTER DATABASE {quoted(name)} OWNER TO {role}")
    url = urlsplit(database)
    yield urlunsplit(url._replace(netloc=f"{role}:{password}@{url.netloc.rpartition('@')[2]}"))
    session.execute(f"ALTER DATABASE {quoted(name)} OWNER TO CURRENT_USER")
    session.execute(f"DROP ROLE {role}")


def test_a_role_that_may_create_databases_makes_one_like_its_own(ordinary):
    databases = Postgres()
    name = databases.name_of(ordinary)
    made = beside(name, "restored")
    with databases.session(databases.with_database(ordinary, "postgres")) as session:
        create_like(session, name, made)
        try:
            (pair,) = session.query(
                "SELECT count(*) AS n, count(DISTINCT dattablespace) AS spaces, count(DISTINCT datdba) AS owners "
                "FROM pg_database WHERE datname IN (%s, %s)",
                (name, made),
            )
        finally:
            session.execute(f"DROP DATABASE {quoted(made)}")
    assert pair == {"n": 2, "spaces": 1, "owners": 1}


def test_a_tablespace_of_its_own_is_kept(database):
    databases, space, name = Postgres(), f"space_{secrets.token_hex(4)}", Postgres().name_of(database)
    made = beside(name, "restored")
    with databases.session(databases.with_database(database, "postgres")) as apart:
        apart.execute("SET allow_in_place_tablespaces = on")
        apart.execute(f"CREATE TABLESPACE {space} LOCATION ''")
        apart.execute(f"CREATE DATABASE {quoted(made)} TEMPLATE template0 TABLESPACE {space}")
        like = beside(name, "like")
        create_like(apart, made, like)
        (row,) = apart.query(
            "SELECT spcname AS space FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace "
            "WHERE datname = %s",
            (like,),
        )
        for statement in (f"DATABASE {quoted(made)}", f"DATABASE {quoted(like)}", f"TABLESPACE {space}"):
            apart.execute(f"DROP {statement}")
    assert row == {"space": space}
