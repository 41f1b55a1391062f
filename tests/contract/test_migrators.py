"""What every kind of migrator must do, with a real database. A new kind adds a release of its own to RELEASES."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks import migrators
from tasks.domain.errors import Fenced, Refused
from tasks.domain.target import Target
from tasks.domain.turn import Turn
from tasks.migrators import Limits, Migrated, Migrator
from tasks.spec.describing import describe_fields
from tests import djangos, own_tool

NAMES = sorted(info.name for info in pkgutil.iter_modules(migrators.__path__) if not info.name.startswith("_"))

# Each look at the database starts Alembic anew, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(600)

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision = "a1", None

def upgrade():
    op.execute("CREATE TABLE made (id int)")

def downgrade():
    op.execute("DROP TABLE made")
"""


def sql_release(directory: Path) -> dict[str, Any]:
    (directory / "a.sql").write_text("CREATE TABLE made (id int);")
    (directory / "a.down.sql").write_text("DROP TABLE made;")
    return {"files": ["a.sql"]}


def alembic_release(directory: Path) -> dict[str, Any]:
    (directory / "m" / "versions").mkdir(parents=True)
    (directory / "m" / "env.py").write_text(ENV)
    (directory / "m" / "versions" / "a1.py").write_text(REVISION)
    (directory / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/m\n")
    return {"dsn_scheme": "postgresql+psycopg"}


class Making:
    """Starts a version that makes what a release makes, as a service does that migrates itself."""

    def once(self, target: Target, within: float) -> None:
        assert within > 0
        with target.world.databases.session(target.dsn) as session:
            session.execute("CREATE TABLE made (id int)")

    def end(self, target: Target) -> None:
        """Nothing runs on."""


RELEASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "alembic": alembic_release,
    "at_start": lambda _directory: {},
    "command": lambda directory: own_tool.release(directory, made=("CREATE TABLE made (id int)", "DROP TABLE made")),
    "django": lambda directory: djangos.project(
        directory, **{"0001_made": "migrations.RunSQL('CREATE TABLE made (id int)', 'DROP TABLE made')"}
    ),
    "none": lambda _directory: {},
    "sql": sql_release,
}
ONE_WAY = {"at_start"}
"""The kinds that know no way down."""


def class_of(name: str) -> type[Migrator]:
    module = importlib.import_module(f"tasks.migrators.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Migrator) and value.__module__ == module.__name__
    )
    return found


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def fields(name, tmp_path):
    assert name in RELEASES, f"add a release for the migrator {name} to RELEASES"
    return {"kind": name, **RELEASES[name](tmp_path)}


@pytest.fixture
def migrator(name, fields):
    return TypeAdapter(class_of(name)).validate_python(fields)


@pytest.fixture
def target(world, database, tmp_path):
    return Target(world=world, system="shop", version="2.0", dsn=database, release_dir=tmp_path, starts=Making())


def test_a_kind_is_named_like_its_file_and_says_what_its_fields_mean(name):
    describe_fields()
    found = class_of(name)
    assert found.model_fields["kind"].default == name
    assert (found.__doc__ or "").strip().splitlines()[0].endswith(".")
    assert all(field.description for field in found.model_fields.values())
    assert found.model_json_schema()["properties"]["kind"]["const"] == name


def test_an_unknown_field_is_refused(name, fields):
    with pytest.raises(ValidationError):
        class_of(name).model_validate(fields | {"surprise": 1})


def test_what_is_pending_is_applied_once_taken_back_and_applied_again(target, migrator, name):
    names = list(migrator.pending(target))
    assert (names == []) == (name == "none")
    assert migrator.can_downgrade(target) == (name not in ONE_WAY)

    up = migrator.upgrade(target)
    assert isinstance(up, Migrated)
    assert list(up.applied) == names
    assert up.tries == 1
    assert up.took >= 0
    assert list(migrator.pending(target)) == []
    assert migrator.upgrade(target).applied == ()
    if name in ONE_WAY:
        with pytest.raises(Refused, match="no way down"):
            migrator.downgrade(target, names)
        return
    assert migrator.can_downgrade(target)

    assert list(migrator.downgrade(target, names).applied) == names[::-1]
    assert migrator.downgrade(target, names).applied == ()
    assert list(migrator.upgrade(target).applied) == names


def test_only_a_process_whose_turn_it_is_changes_the_schema(target, migrator, name):
    """Whoever came later has written its turn into the database, and the ledger may not even be asked."""
    began = datetime(2026, 11, 22, tzinfo=UTC)
    first, second = (target.at(turn=Turn("shop-1", began, epoch, lambda: None)) for epoch in (1, 2))
    next_release = target.at(turn=Turn("shop-2", began + timedelta(hours=1), 1, lambda: None))
    applied = migrator.upgrade(second).applied
    if name != "none":
        down = [] if name in ONE_WAY else [partial(migrator.downgrade, names=applied)]
        for change in (migrator.upgrade, *down):
            with pytest.raises(Fenced, match=r"shop-1 \(epoch 2\)"):
                change(first)
    if name in ONE_WAY:
        migrator.upgrade(next_release)
    else:
        assert migrator.downgrade(next_release, applied).applied == applied[::-1]
    if name != "none":
        with pytest.raises(Fenced, match="shop-2"):
            migrator.upgrade(second)


def test_the_sql_is_read_without_being_run(target, migrator):
    names = list(migrator.pending(target))
    texts = migrator.sql_of(target, names)
    if texts is not None:
        assert [bool(one.name) for one in texts] == [True] * len(names)
        assert all("CREATE TABLE made" in one.text for one in texts)
    assert list(migrator.pending(target)) == names
    assert all(table.count(".") == 1 for table in migrator.books())


def test_a_downgrade_of_nothing_does_nothing(target, migrator):
    migrator.upgrade(target)
    assert migrator.downgrade(target, []).applied == ()
    assert list(migrator.pending(target)) == []


def test_the_fingerprint_stays_until_something_changes(target, migrator, name):
    first = migrator.fingerprint(target)
    assert migrator.fingerprint(target) == first
    migrator.upgrade(target)
    assert migrator.fingerprint(target) == first
    if name != "none":
        assert migrator.model_copy(update={"limits": Limits(tries=99)}).fingerprint(target) != first
