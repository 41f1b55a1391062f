"""`golive check`: a system's checks as they come out now, with nothing put on record and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.ports import RunningServer
from tests.flows import SmallSystem, a_running_system


@pytest.fixture(scope="module")
def served(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system that v1 serves; nothing here needs Prefect."""
    with a_running_system(pg_server) as system:
        yield system


@pytest.fixture
def shop(served: SmallSystem) -> Iterator[SmallSystem]:
    served.file = served.plain_file()
    served.write()
    with served.in_environment():
        yield served


def check(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["check", "shop", *words])
    assert done.exit_code == code, f"{done.exit_code}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout + done.stderr)


def told(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["check", "shop", "--json", *words])
    assert done.exit_code == code, f"{done.exit_code}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def outcomes(found: Any) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in found["checks"]}


def on_record(shop: SmallSystem) -> dict[str, int]:
    named = shop.sql_in_ledger("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    count = "SELECT count(*) AS n FROM {}"
    return {one["tablename"]: shop.sql_in_ledger(count.format(one["tablename"]))[0]["n"] for one in named}


def http(name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "http", "name": name, "url": "{base_url}/items", **fields}


def test_the_checks_of_what_serves_are_made_with_nothing_on_record_and_nothing_changed(shop):
    shop.write({"checks.health": [http("answers", covers=["SH 1", "SH 2"])]})
    before = on_record(shop)
    assert before
    with shop.untouched():
        said = check()
    assert on_record(shop) == before
    assert "golive: there is room for the backup and its scratch copy" in said
    assert "compatibility, of v1" in said
    (line,) = [one for one in said.splitlines() if one.startswith("answers")]
    assert "passed" in line
    assert "status 200 = 200" in line
    assert line.rstrip().endswith("SH 1 SH 2")
    assert "shop v1: 5 passed" in said


def test_what_fails_and_what_is_unknown_is_told_apart_and_by_the_exit_code(shop):
    broken = http("says no", status=418, help="ask the teapot")
    unseen = {"kind": "log", "name": "is not there", "files": ["no.log"], "last": "1h"}
    shop.write({"checks.health": [broken, unseen], "checks.watch": [http("only tells", status=418, advisory=True)]})
    found = told(code=4)
    seen = outcomes(found)
    assert (seen["says no"], seen["is not there"], seen["only tells"]) == ("failed", "unknown", "failed")
    (no,) = [one for one in found["checks"] if one["name"] == "says no"]
    assert (no["phase"], no["version"], no["help"], no["advisory"]) == ("health", "v1", "ask the teapot", False)
    assert "200" in no["seen"]
    assert no["seconds"] >= 0
    assert "ask the teapot" in check("--only", "says no", code=4)
    assert check("--only", "is not there", code=5)
    assert outcomes(told("--phase", "watch", code=5)) == {"only tells": "failed"}, "an advisory check decides nothing"
    assert set(outcomes(told("--phase", "compatibility", "--phase", "watch"))) == {"items can be read", "only tells"}
    assert "nothing was checked" in check("--phase", "review", code=5)


def test_a_check_that_does_more_than_look_is_named_and_made_only_where_it_is_asked_for_by_name(shop):
    marks = {kind: shop.home / kind for kind in ("read", "written")}
    command = {"kind": "command", "cwd": "{root}"}
    only_reads = {**command, "name": "reads", "argv": ["touch", str(marks["read"])]}
    writes = {**command, "name": "writes", "argv": ["touch", str(marks["written"])]}
    load = {"kind": "load", "name": "bears load", "url": "{base_url}/items", "requests": 10, "concurrency": 1}
    shop.write({"checks.preflight": [only_reads], "checks.health": [writes, load, http("posts", method="POST")]})
    found = told()
    assert {one["name"]: one["because"] for one in found["left_out"]} == {
        "writes": "runs touch, which may change something",
        "bears load": "sends 10 GET requests, 1 at a time",
        "posts": "sends a POST, which may change something",
    }
    assert marks["read"].exists(), "a command of preflight was left out, where production is only read"
    assert not marks["written"].exists()
    said = check()
    assert "golive check shop --only NAME" in said
    assert "bears load" in said
    assert outcomes(told("--only", "writes", "--only", "bears load")) == {"writes": "passed", "bears load": "passed"}
    assert marks["written"].exists()


def test_a_name_that_no_check_has_is_refused_with_the_likely_one(shop):
    said = check("--only", "items can be red", code=2)
    assert "there is no check 'items can be red'" in said
    assert "expected 'items can be read'" in said
    assert "'items can be read'" in check("--only", "items can be read", "--phase", "health", code=2)
    assert "there is no phase 'helth'; expected 'health'" in check("--phase", "helth", code=2)


def test_a_version_that_does_not_serve_is_looked_at_where_its_code_is_brought_for_as_long(shop):
    shop.add_version("v2")
    (shop.home / "versions" / "v2" / "NOTES.md").write_text("ready")
    notes = {"kind": "file", "name": "has notes", "files": ["NOTES.md"], "pattern": "ready"}
    shop.write({"checks.preflight": [notes], "checks.health": [http("answers")]})
    releases = shop.home / "golive" / "systems" / "shop" / "releases"
    before = sorted(releases.iterdir())
    found = told("v2")
    assert [(one["name"], one["version"]) for one in found["checks"] if not one["name"].startswith("golive")] == [
        ("has notes", "v2"),
        ("items can be read", "v1"),
    ]
    assert (found["version"], found["serving"]) == ("v2", "v1")
    assert sorted(releases.iterdir()) == before
    assert outcomes(told(code=4))["has notes"] == "failed", "v1 has none"
    assert "InvalidVersion" not in check("v3", code=2)


def test_what_compares_is_made_once_something_is_on_record_to_compare_with(shop):
    log = shop.home / "shop.log"
    log.write_text("begun\n")
    reads_on = {"kind": "log", "name": "logs no error", "files": [str(log)]}
    shop.write({"checks.watch": [reads_on]})
    (left,) = told()["left_out"]
    assert left["because"] == "compares with what a release records before it, and none is on record"
    assert outcomes(told("--only", "logs no error", code=5)) == {"logs no error": "unknown"}
    shop.add_version("v4")
    shop.phase("preflight", "v4")
    log.write_text("begun\nERROR: broke\n")
    found = told(code=4)
    assert outcomes(found)["logs no error"] == "failed"
    assert found["compared_with"] == shop.latest().id


def test_checks_of_several_phases_are_made_at_the_same_time(shop):
    meet = "touch $0/{0}; n=0; until [ -e $0/{1} ]; do sleep 0.05; n=$((n+1)); [ $n -lt 600 ] || exit 1; done"

    def meets(own: str, other: str) -> dict[str, Any]:
        argv = ["sh", "-c", meet.format(own, other), str(shop.home)]
        return {"kind": "command", "name": own, "argv": argv, "cwd": "{root}", "timeout": "60s"}

    shop.write({"checks.preflight": [meets("one", "two")], "checks.health": [meets("two", "one")]})
    assert outcomes(told("--only", "one", "--only", "two")) == {"one": "passed", "two": "passed"}


def test_a_system_that_golive_has_not_taken_over_yet_is_checked_as_it_stands(shop, monkeypatch):
    shop.write({"rollout.port": shop.port + 1 if shop.port < 60000 else shop.port - 1})
    monkeypatch.setenv("GOLIVE_HOME", str(shop.home / "another"))
    assert "name the version: golive check shop VERSION" in check(code=2)
    found = told("v1", "--phase", "compatibility", "--phase", "preflight")
    assert found["serving"] is None
    assert outcomes(found)["items can be read"] == "passed"
