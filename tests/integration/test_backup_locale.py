"""The copy of a backup sorts, compares and encodes as production does, as far as its server can."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.domain.archive import MANIFEST
from tasks.domain.database_locale import clauses, create_empty, locale_of, what_is_other
from tasks.domain.ports import World
from tests.places import OwnPlace, run

C = {"encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "c"}


@pytest.fixture
def place(world: World, open_directory: Path) -> Iterator[OwnPlace]:
    """A server of golive's own."""
    made = OwnPlace(world, open_directory / "scratch")
    yield made
    made.remove()


@pytest.fixture
def make(world, pg_server):
    """Makes databases of a locale, which are dropped at the end."""
    names: list[str] = []

    def make(clause: str) -> str:
        names.append(f"locale_{secrets.token_hex(6)}")
        run(world, pg_server.dsn(), f"CREATE DATABASE {names[-1]} TEMPLATE template0 {clause}")
        return str(world.databases.with_database(pg_server.dsn(), names[-1]))

    yield make
    for name in names:
        run(world, pg_server.dsn(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize(("encoding", "ctype"), [("UTF8", "C"), ("LATIN1", "C"), ("UTF8", "C.UTF-8")])
def test_the_copy_has_the_locale_that_production_has(world, make, place, tmp_path, encoding, ctype):
    production = make(f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE '{ctype}'")
    run(world, production, "CREATE TABLE item (name text PRIMARY KEY); INSERT INTO item VALUES ('caf\u00e9'), ('Zoo')")
    taken = Dump(timeout=60.0).take(world, production, tmp_path / "backup", {})
    copy = Dump().copy_into(world, taken, place)
    assert "locale" not in Dump().prove(world, taken, copy, production)
    with world.databases.session(copy) as session:
        assert locale_of(session) == C | {"encoding": encoding, "ctype": ctype}


def test_a_locale_that_the_copys_server_lacks_is_told_with_the_proof(world, make, place, tmp_path):
    production = make("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    run(world, production, "CREATE TABLE item AS SELECT 'caf\u00e9' AS name")
    taken = Dump(timeout=60.0).take(world, production, tmp_path / "backup", {})
    manifest = json.loads((taken.directory / MANIFEST).read_text())
    manifest["locale"] |= {"collate": "xx_YY.iso88591", "ctype": "xx_YY.iso88591"}
    (taken.directory / MANIFEST).write_text(json.dumps(manifest))
    taken = archive.load(taken.directory)
    copy = Dump().copy_into(world, taken, place)
    told = Dump().prove(world, taken, copy, production)["locale"]
    assert told.startswith("C (LATIN1) instead of xx_YY.iso88591 (LATIN1), which the copy's server lacks")


def test_a_backup_that_does_not_know_its_locale_is_restored_into_the_servers_own(world, pg_server):
    name = f"locale_{secrets.token_hex(6)}"
    with world.databases.session(pg_server.dsn()) as session:
        create_empty(session, name, None)
        assert what_is_other(None, locale_of(session, name)) == ""
        session.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("locale", "version", "clause"),
    [
        ({}, 140000, "ENCODING E'UTF8' LC_COLLATE E'C' LC_CTYPE E'C'"),
        ({}, 180000, "ENCODING E'UTF8' LC_COLLATE E'C' LC_CTYPE E'C' LOCALE_PROVIDER libc"),
        ({"provider": "b", "locale": "C.UTF-8"}, 170000, "LOCALE_PROVIDER builtin BUILTIN_LOCALE E'C.UTF-8'"),
        ({"provider": "i", "locale": "de", "rules": "&a < b"}, 160000, "icu ICU_LOCALE E'de' ICU_RULES E'&a < b'"),
        ({"provider": "i", "locale": "de", "rules": "&a < b"}, 150000, "LOCALE_PROVIDER icu ICU_LOCALE E'de'"),
    ],
)
def test_a_locale_is_given_as_each_server_takes_it(locale, version, clause):
    assert clauses(C | locale, version).endswith(clause)
