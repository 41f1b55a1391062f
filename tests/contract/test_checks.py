"""What holds for every kind of check; a new kind needs three cases: one that passes, one that fails, one unknown."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

import tasks.checks
from tasks.checks import Check
from tasks.domain.errors import GoliveError, Unreachable
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.answers import AnsweringServer, answering
from tests.parts import missing

KINDS = sorted(module.name for module in pkgutil.iter_modules(tasks.checks.__path__) if not module.name.startswith("_"))
NO_DATABASE = "postgresql://u@127.0.0.1:1/none"
SILENT = "http://0.0.0.0:1/"  # refuses, and does not look like this machine
LONG = "x" * 300
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
TENANTS = {"role": "pg_read_all_data", "setting": "app.tenant", "tenants": ["a", "b"]}


class AbsentHost:
    """A machine that does not answer."""

    def port_is_free(self, port: int) -> bool:
        raise Unreachable(f"no route to the host of port {port}")


def step(path: str, **expect: Any) -> dict[str, Any]:
    return {"request": {"url": path}, "expect": expect}


# For each kind, the fields of a check that passes, one that fails, one that comes out unknown. The keys of AROUND
# change what they look at.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "http": ({"url": "{base_url}/health"}, {"url": "{base_url}/error"}, {"url": SILENT}),
    "sql": (
        {"query": "SELECT count(*) FROM task", "equals": 1},
        {"query": "SELECT count(*) FROM task", "at_least": 2},
        {"query": "SELECT id FROM task WHERE false", "equals": 1},
    ),
    "scenario": (
        {"steps": [step("{base_url}/health", json={"status": "ok"})]},
        {"steps": [step("{base_url}/health", status=404)]},
        {"steps": [step(SILENT)]},
    ),
    "load": (
        {"url": "{base_url}/health", "requests": 20, "p95": "5s"},
        {"url": "{base_url}/error", "requests": 20},
        {"url": SILENT, "requests": 10},
    ),
    "baseline": (
        {"url": "{base_url}/health", "AROUND": {"before": 1.0}},
        {"url": "{base_url}/health", "floor": "0s", "AROUND": {"before": 1e-6}},
        {"url": "{base_url}/health"},
    ),
    "command": (
        {"argv": ["{python}", "-c", "print(1)"], "pattern": "^1$"},
        {"argv": ["{python}", "-c", "raise SystemExit(3)"]},
        {"argv": ["no-such-program"]},
    ),
    "environment": (
        {"variables": ["PATH"]},
        {"variables": ["NO_SUCH_VARIABLE"]},
        {"variables": ["PATH"], "file": "{root}/none"},
    ),
    "port_free": (
        {"ports": [1]},
        {"ports": [1], "AROUND": {"ports": True}},
        {"ports": [1], "AROUND": {"absent": True}},
    ),
    "disk": ({"free": "1kB"}, {"free": "1000000TB"}, {"free": "1kB", "path": "{root}/" + LONG}),
    "tools": ({"programs": ["sh"]}, {"programs": ["no-such-program"]}, {"dsn": NO_DATABASE}),
    "database": ({}, {"at_least": 99}, {"dsn": NO_DATABASE}),
    "table": (
        {"table": "task", "columns": {"made": "timestamptz", "title": {"type": "varchar(20)", "nullable": False}}},
        {"table": "task", "columns": {"metadata": "jsonb"}},
        {"table": "task", "dsn": NO_DATABASE},
    ),
    "index": (
        {"index": "idx_task_made", "table": "task"},
        {"index": "idx_none"},
        {"index": "idx_task_made", "dsn": NO_DATABASE},
    ),
    "constraint": (
        {"table": "part", "type": "foreign_key", "columns": ["task"], "references": "task"},
        {"table": "part", "type": "unique"},
        {"table": "none", "type": "unique"},
    ),
    "explain": (
        {"query": "SELECT FROM task", "table": "task", "seq_scan": True, "min_rows": 1, "within": "10s"},
        {"query": "SELECT FROM task", "table": "task", "min_rows": 1, "index": "idx_task_made"},
        {"query": "SELECT FROM task", "table": "task", "seq_scan": True},
    ),
    "policy": ({"tables": ["part"]}, {"tables": ["task"]}, {"column": "no_such_column"}),
    "isolation": (
        {**TENANTS, "query": "SELECT count(*) FROM part WHERE tenant = %(tenant)s"},
        {**TENANTS, "query": "SELECT count(*) FROM leak WHERE tenant = %(tenant)s"},
        {**TENANTS, "tenants": ["a", "c"], "query": "SELECT count(*) FROM part WHERE tenant = %(tenant)s"},
    ),
    "function": (
        {"function": "twice(int)", "language": "sql", "volatility": "immutable"},
        {"function": "twice", "security_definer": True},
        {"function": "twice", "dsn": NO_DATABASE},
    ),
    "role": (
        {"role": "pg_monitor", "login": False, "member_of": ["pg_read_all_stats"]},
        {"role": "pg_monitor", "grants": [{"table": "task", "may": ["select"]}]},
        {"role": "pg_monitor", "grants": [{"table": "none", "may_not": ["select"]}]},
    ),
    "extension": (
        {"extension": "plpgsql", "at_least": "1.0"},
        {"extension": "plpgsql", "at_least": "99"},
        {"extension": "plpgsql", "dsn": NO_DATABASE},
    ),
    "sequence": (
        {"sequences": ["part_id_seq"]},
        {"sequences": ["none_seq"]},
        {"sequences": ["part_id_seq"], "dsn": NO_DATABASE},
    ),
    "orphans": (
        {"child": "part.task", "parent": "task.id"},
        {"child": "part.other", "parent": "task.id"},
        {"child": "nothing.task", "parent": "task.id"},
    ),
    "nulls": (
        {"table": "part", "columns": ["task"]},
        {"table": "part", "columns": ["task", "other"]},
        {"table": "nothing", "columns": ["task"]},
    ),
    "duplicates": (
        {"table": "part", "columns": ["task", "tenant"]},
        {"table": "part", "columns": ["task"]},
        {"table": "nothing", "columns": ["task"]},
    ),
    "future_timestamps": ({"columns": ["task.made"]}, {"columns": ["part.due"]}, {"columns": ["nothing.at"]}),
    "squawk": (
        {"files": ["good.sql"], "AROUND": {"program": "squawk"}},
        {"files": ["*.sql"], "AROUND": {"program": "squawk"}},
        {"files": ["none.sql"], "AROUND": {"program": "squawk"}},
    ),
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


def arranged(kind: str, fields: dict[str, Any], target: Target) -> tuple[Check, Target]:
    around = fields.get("AROUND", {})
    given = {key: value for key, value in fields.items() if key != "AROUND"}
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
    check, target = arranged(kind, CASES[kind][place], target)
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
