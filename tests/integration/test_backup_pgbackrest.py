"""The backup that pgBackRest takes: its repository is trusted no further than a restore from it has shown."""

from __future__ import annotations

import subprocess

import pytest
from pydantic import ValidationError

from tasks.adapters.pg_account import server_account
from tasks.backups.pgbackrest import Pgbackrest
from tasks.domain.errors import BackupNotProven, UserError
from tests.places import OwnPlace, PlaceBeside, run
from tests.stanza import Stanza, running_stanza


@pytest.fixture
def place(world, open_directory):
    yield OwnPlace(world, open_directory / "scratch")
    world.pg_servers.remove(open_directory / "scratch")


@pytest.fixture(scope="module")
def stanza():
    with running_stanza() as found:
        yield found


def pgbackrest(stanza: Stanza, *argv: str) -> subprocess.CompletedProcess[str]:
    command = ["pgbackrest", *(f"--{name}={value}" for name, value in stanza.options.items()), *argv]
    return server_account().run(command, cwd=stanza.directory, timeout=60)


def test_what_the_repository_lost_or_holds_otherwise_is_not_proven(world, stanza, place, tmp_path, monkeypatch):
    monkeypatch.setenv("GOLIVE_TEST_PROCESSES", "2")
    options = {"process-max": "${env:GOLIVE_TEST_PROCESSES}"}
    kind = Pgbackrest(**stanza.options, options=options, timeout=60.0, depth="checksums", type="full")
    kind.require_possible(world, stanza.dsn, place)
    run(world, stanza.dsn, "CREATE TABLE item AS SELECT n, md5(n::text) FROM generate_series(1, 30000) n")
    whole = kind.take(world, stanza.dsn, tmp_path / "whole", {})
    changes = kind.model_copy(update={"type": "incr"}).take(world, stanza.dsn, tmp_path / "changes", {})
    assert whole.manifest["pgbackrest"]["label"].endswith("F")
    assert changes.manifest["pgbackrest"]["label"].startswith(f"{whole.manifest['pgbackrest']['label']}_")
    assert kind.verify(world, changes)["verified_by"] == "pgbackrest verify"
    proof = kind.prove(world, changes, kind.copy_into(world, changes, place), stanza.dsn)
    assert proof["tables"]["public.item"]["rows"] == 30_000
    assert list(tmp_path.glob(".partial*")) == []

    with world.databases.session(stanza.dsn) as session:
        path = session.value("SELECT pg_relation_filepath('item')")
    # A change of hint bits alone has it in both.
    labels = [one.manifest["pgbackrest"]["label"] for one in (changes, whole)]
    places = [stanza.repository / "backup/main" / label / "pg_data" / path for label in labels]
    file = next(place for place in places if place.exists())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BackupNotProven, match="cannot restore"):
        kind.copy_into(world, changes, place)
    with pytest.raises(BackupNotProven, match="pgbackrest verify does not call"):
        kind.verify(world, changes)

    done = pgbackrest(stanza, "expire", f"--set={changes.manifest['pgbackrest']['label']}")
    assert done.returncode == 0, done.stderr
    with pytest.raises(BackupNotProven, match=r"pgBackRest no longer has .*I"):
        kind.verify(world, changes)


def test_a_stanza_that_is_not_there_or_of_another_server_is_refused_before_anything(world, stanza, database, place):
    kind = Pgbackrest(**stanza.options)
    with pytest.raises(UserError, match="is not that of the release file's database"):
        kind.require_possible(world, database, place)
    with pytest.raises(UserError, match="a server of golive's own"):
        kind.require_possible(world, stanza.dsn, PlaceBeside(world, stanza.dsn))
    with pytest.raises(UserError, match="cannot use the stanza other: missing stanza path") as caught:
        kind.model_copy(update={"stanza": "other"}).require_possible(world, stanza.dsn, place)
    assert "golive must run where" in caught.value.do


def test_a_secret_option_is_given_by_reference_only():
    assert Pgbackrest(options={"repo1-cipher-pass": "${env:PASS}", "repo1-s3-key-type": "auto"})
    with pytest.raises(ValidationError, match="repo1-cipher-pass is written out here"):
        Pgbackrest(options={"repo1-cipher-pass": "word"})
