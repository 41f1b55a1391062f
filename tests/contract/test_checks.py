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
from tasks.checking import measure
from tasks.checks import Check
from tasks.domain.errors import GoliveError, Unreachable
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import Host, World
from tasks.domain.target import HOSTS, Target
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


class Asked:
    """A machine that notes whether it was asked anything."""

    def __init__(self, host: Host) -> None:
        self._host, self.asked = host, False

    def __getattr__(self, name: str) -> Any:
        self.asked = True
        return getattr(self._host, name)


class Gone:
    """A machine that nothing can be learnt from."""

    name = "gone"

    def __getattr__(self, name: str) -> Any:
        def unreachable(*_given: object, **_named: object) -> Any:
            raise Unreachable("no route", where=name)

        return unreachable


CASES: Cases = {
    kind: three
    for module in pkgutil.iter_modules(tests.cases.__path__)
    for kind, three in importlib.import_module(f"tests.cases.{module.name}").CASES.items()
}

OF_CODE = {
    "command", "coverage", "document", "git", "junit", "openapi", "python_code", "secrets_scan", "squawk", "tools",
}  # fmt: skip
"""Kinds that read what lies on golive's own machine too: the version's code and what was made of it."""


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


ON_HOSTS = [kind for kind in KINDS if of_kind(kind).of_machine or "on_hosts" in vars(of_kind(kind))]
OF_HOSTS: dict[str, dict[str, Any]] = {
    "capacity": {"relations": ["cpus >= 1"]},
    "environment": {"variables": ["NAME"], "file": "{root}/.env"},
    "tcp": {"seen_from": "host"},
}
"""Fields by which kinds look at a machine that do not always."""


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with answering() as running:
        yield running


@pytest.fixture
def target(world: World, server: AnsweringServer, database: str, tmp_path: Path) -> Target:
    with world.databases.session(database) as session:
        session.script(SETUP)
    (tmp_path / "good.sql").write_text("SELECT 1;")
    (tmp_path / ".env").write_text("NAME=value\n")
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
        host = Asked(target.world.host)
        reading = looked(check, target.at(world=replace(target.world, host=cast("Any", host))))
    assert reading.outcome is outcome, reading
    assert check.on_hosts or kind in OF_CODE or not host.asked, "it looks at a machine: say so by of_machine"
    assert reading.seen
    json.dumps(dict(reading.detail), allow_nan=False)


@pytest.mark.parametrize("kind", ON_HOSTS)
def test_it_looks_at_each_host_and_what_cannot_be_reached_is_unknown(kind, target):
    with ExitStack() as held:
        check, there = arranged(kind, {**CASES[kind][0], **OF_HOSTS.get(kind, {})}, target, held)
        gone = there.at(world=replace(there.world, host=cast("Any", Gone()), http=cast("Any", Gone())))
        recorded = {"it": {HOSTS: {"app1": there.baseline.get("it", {})}}}
        seen = measure(check, gone.at(hosts={"app1": there}, baseline=recorded)).reading
        assert seen.outcome is Outcome.PASSED, seen
        assert list(seen.detail[HOSTS]) == ["app1"]
        assert seen.seen.startswith("app1: ")
        seen = measure(check, there.at(hosts={"app1": there, "app2": gone}, baseline=recorded), tries=1).reading
        assert seen.outcome is Outcome.UNKNOWN, seen
        assert seen.seen.startswith("app2: ")
        assert "app1" not in seen.seen


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
