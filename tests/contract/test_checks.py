"""What holds for every kind of check; a new kind needs three cases: one that passes, one that fails, one unknown."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

import tasks.checks
import tests.cases
from tasks.checks import Check
from tasks.domain.errors import GoliveError, Unreachable
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec.describing import describe_fields
from tests.answers import AnsweringServer, answering
from tests.cases import Cases
from tests.parts import missing

KINDS = sorted(module.name for module in pkgutil.iter_modules(tasks.checks.__path__) if not module.name.startswith("_"))
SETUP = """
CREATE TABLE task (id int PRIMARY KEY, title varchar(20) NOT NULL, made timestamptz);
INSERT INTO task VALUES (7, 'golive', now());
CREATE INDEX idx_task_made ON task (made);
CREATE TABLE part (id serial PRIMARY KEY, task int REFERENCES task, other int, due timestamptz, tenant text);
INSERT INTO part (task, other, due, tenant) VALUES (7, 8, '2999-01-01', 'a'), (7, NULL, NULL, 'b');
CREATE TABLE nothing (id int, task int, at timestamptz);
ALTER TABLE part ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON part USING (tenant = current_setting('app.tenant', true));
CREATE VIEW leak AS SELECT * FROM part;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
ANALYZE;
"""


class AbsentHost:
    """A machine that does not answer."""

    def port_is_free(self, port: int) -> bool:
        raise Unreachable(f"no route to the host of port {port}")

    def read(self, path: Path) -> str | None:
        raise Unreachable(f"no route to the host of {path}")


CASES: Cases = {
    kind: three
    for module in pkgutil.iter_modules(tests.cases.__path__)
    for kind, three in importlib.import_module(f"tests.cases.{module.name}").CASES.items()
}


def of_kind(kind: str) -> type[Check]:
    module = importlib.import_module(f"tasks.checks.{kind}")
    own = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert len(own) == 1, f"{kind}.py holds {own}, and should hold one public class"
    assert issubclass(own[0], Check)
    return own[0]


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with answering() as running:
        yield running


@pytest.fixture
def target(world: World, server: AnsweringServer, database: str, tmp_path: Path) -> Target:
    with world.databases.session(database) as session:
        session.script(SETUP)
    (tmp_path / "good.sql").write_text("SELECT 1;")
    (tmp_path / "wrong.sql").write_text("DROP TABLE task;")
    return Target(
        world, "demo", "v2", base_url=server.url, dsn=database, port=server.server_port, root=tmp_path,
        release_dir=tmp_path,
    )  # fmt: skip


def arranged(kind: str, fields: dict[str, Any], target: Target, held: ExitStack) -> tuple[Check, Target]:
    around = fields.get("AROUND", {})
    given = {key: value for key, value in fields.items() if key != "AROUND"}
    if "with" in around:
        more, target = held.enter_context(around["with"](target))
        given |= more
    if "before" in around:
        target = target.at(baseline={"it": {"latencies": [around["before"]] * 240}})
    if "absent" in around:
        target = target.at(world=replace(target.world, host=cast("Any", AbsentHost())))
    if "program" in around and not target.world.host.which(around["program"]):
        missing(f"{around['program']} is not installed")
    if "ports" in around:
        given["ports"] = [target.port]
    return of_kind(kind).model_validate({"kind": kind, "name": "it", **given}), target


def looked(check: Check, target: Target) -> Reading:
    try:
        return check.look(target)
    except GoliveError as error:
        return unknown(str(error))


def test_every_kind_has_its_cases():
    assert sorted(CASES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcome", Outcome)
def test_it_passes_fails_and_is_unknown_as_it_should(kind, outcome, target):
    place = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2}[outcome]
    with ExitStack() as held:
        check, target = arranged(kind, CASES[kind][place], target, held)
        reading = looked(check, target)
    assert reading.outcome is outcome, reading
    assert reading.seen
    json.dumps(dict(reading.detail), allow_nan=False)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for inner in getattr(annotation, "__args__", ()):
        yield from models_in(inner)


@pytest.mark.parametrize("kind", KINDS)
def test_it_and_every_field_of_it_is_described(kind):
    describe_fields()
    for model in models_in(of_kind(kind)):
        first = (model.__doc__ or "").strip().splitlines()[0]
        assert first.endswith("."), f"{model.__name__} needs a docstring that begins with a sentence"
        lacking = [name for name, field in model.model_fields.items() if not field.description]
        assert not lacking, f"{model.__name__}: {lacking} need a docstring"


@pytest.mark.parametrize("kind", KINDS)
def test_its_kind_is_the_name_of_its_file_and_unknown_keys_are_refused(kind):
    made = of_kind(kind).model_validate({"name": "it", **{k: v for k, v in CASES[kind][0].items() if k != "AROUND"}})
    assert made.kind == kind
    with pytest.raises(ValidationError, match="Extra inputs"):
        of_kind(kind).model_validate({**made.model_dump(by_alias=True, exclude_unset=True), "nmae": "it"})


@pytest.mark.parametrize("kind", KINDS)
def test_its_schema_can_be_published(kind):
    schema = of_kind(kind).model_json_schema()
    assert schema["properties"]["kind"]["const"] == kind
