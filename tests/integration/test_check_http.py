from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.secrets import SecretStore
from tasks.checks.baseline import Baseline
from tasks.checks.http import Http
from tasks.checks.load import Load
from tasks.checks.scenario import Scenario
from tasks.domain.errors import Inconclusive
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.answers import AnsweringServer, answering

ELSEWHERE = "http://0.0.0.0:1/"  # nothing listens, and it does not look like this machine
TOKEN = "s3cret-token-of-the-test"


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with answering() as running:
        yield running


@pytest.fixture
def target(world: World, server: AnsweringServer, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"API_TOKEN": TOKEN}))
    return Target(world, "demo", "v2", base_url=server.url, root=tmp_path, release_dir=tmp_path)


def http(target: Target, path: str = "/health", **fields: Any) -> Reading:
    url = path if "://" in path else "{base_url}" + path
    return Http.model_validate({"name": "it", "url": url, **fields}).look(target)


def test_all_conditions_are_echoed_with_what_was_seen(target):
    reading = http(target, within="10s", contains="ok", json={"checks[0].latency": {"max": 5}, "status": "ok"})
    assert reading.outcome is Outcome.PASSED
    assert "status 200 = 200; answered in" in reading.seen
    assert 'checks[0].latency 3.5 ≤ 5; status "ok" = "ok"' in reading.seen
    assert reading.unit == "ms"


def test_what_does_not_hold_is_told_first_and_alone(target):
    assert http(target, "/error").seen == "status 500 = 200: failed"
    assert http(target, json={"status": "fine"}).seen == 'status "ok" = "fine": failed'
    assert http(target, "/text", json={"a": 1}).seen == "body is not JSON: failed"
    assert http(target, "/error", status=[200, 500]).outcome is Outcome.PASSED


def test_an_answer_that_takes_too_long_fails(target, server):
    server.delay = 0.1
    reading = http(target, within="50ms")
    assert reading.outcome is Outcome.FAILED
    assert reading.value is not None
    assert reading.value > 100
    assert reading.limit == 50


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/", "/drop", "/hang"])
def test_silence_of_this_machine_is_the_targets_failure(target, path):
    assert http(target, path, timeout="300ms").outcome is Outcome.FAILED


def test_silence_elsewhere_is_the_targets_failure_only_if_a_control_answers(target, server):
    assert http(target, ELSEWHERE).outcome is Outcome.UNKNOWN
    assert http(target, ELSEWHERE, control=ELSEWHERE).outcome is Outcome.UNKNOWN
    reading = http(target, ELSEWHERE, control="{base_url}/error")
    assert reading.outcome is Outcome.FAILED
    assert "while the control answers" in reading.seen


def test_secrets_are_sent_but_not_shown(target, server):
    reading = http(
        target,
        "/items/7?key=${env:API_TOKEN}",
        headers={"Authorization": "Bearer ${env:API_TOKEN}"},
        json={"path": TOKEN},
    )
    assert server.seen[-1][2]["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(reading)


def test_the_body_is_sent_as_json_with_its_placeholders_filled(target, server):
    http(target, "/items", method="POST", body={"version": "{version}", "list": ["{system}", 1]}, status=201)
    assert server.seen[-1][3] == {"version": "v2", "list": ["demo", 1]}


def load(target: Target, path: str = "/health", **fields: Any) -> Reading:
    url = path if "://" in path else "{base_url}" + path
    return Load.model_validate({"name": "it", "url": url, "requests": 40, **fields}).look(target)


def test_load_holds_percentiles_against_limits_and_keeps_the_latencies(target, server):
    server.delay = 0.02
    reading = load(target, p50="1ms", p99="10s")
    assert reading.outcome is Outcome.FAILED
    assert reading.seen.startswith("p50 2")
    assert reading.seen.endswith("ms ≤ 1 ms: failed")
    assert len(reading.detail["latencies"]) == len(server.seen) == 40
    assert reading.detail["percentiles"]["p95"] >= 0.02
    json.dumps(dict(reading.detail))


def test_load_counts_wrong_answers_as_errors_and_not_as_latency(target):
    reading = load(target, "/flaky", errors="20%")
    assert reading.seen == "errors 25 % ≤ 20 %: failed"
    assert reading.detail["problems"] == {"status 500": 10}
    assert reading.detail["percentiles"]["count"] == 30
    assert load(target, "/flaky", errors="30%").outcome is Outcome.PASSED


def test_load_that_the_time_does_not_suffice_for_is_unknown(target, server):
    server.delay = 0.05
    reading = load(target, timeout="100ms", concurrency=1)
    assert reading.outcome is Outcome.UNKNOWN
    assert "of 40 requests only" in reading.seen


def test_load_blames_the_target_only_if_it_is_to_blame(target):
    assert load(target, "http://127.0.0.1:1/").outcome is Outcome.FAILED
    assert load(target, ELSEWHERE).outcome is Outcome.UNKNOWN
    reading = load(target, "/hang", requests=10, concurrency=10, each="200ms")
    assert reading.outcome is Outcome.FAILED


def test_a_baseline_is_recorded_before_and_compared_after(target, server):
    check = Baseline.model_validate({"name": "it", "url": "{base_url}/health", "floor": "10ms"})
    assert check.look(target).outcome is Outcome.UNKNOWN
    recorded = check.record(target)
    assert len(recorded["latencies"]) == 300
    target = target.at(baseline={"it": recorded})
    assert check.look(target).outcome is Outcome.PASSED

    server.delay = 0.1
    before = len(server.seen)
    reading = check.look(target)
    assert reading.outcome is Outcome.FAILED
    assert "twice running" in reading.seen
    assert len(server.seen) - before == 60
    json.dumps(dict(reading.detail))


def test_a_baseline_of_errors_is_not_recorded(target):
    check = Baseline.model_validate({"name": "it", "url": "{base_url}/error"})
    with pytest.raises(Inconclusive, match="0 of 300 answered rightly \\(300 × status 500\\)"):
        check.record(target)


def test_a_target_that_answers_wrongly_is_not_compared_but_failed(target):
    check = Baseline.model_validate({"name": "it", "url": "{base_url}/error"})
    reading = check.look(target.at(baseline={"it": {"latencies": [0.1] * 240}}))
    assert reading.outcome is Outcome.FAILED
    assert reading.seen == "0 of 30 requests answered rightly"


CREATE = {
    "name": "create",
    "request": {"method": "POST", "url": "{base_url}/items", "body": {"title": "golive <run>", "tag": "<tag>"}},
    "expect": {"status": 201},
    "save": {"id": "id", "link": "links[0].self"},
}


def scenario(target: Target, *steps: Any, **fields: Any) -> Reading:
    return Scenario.model_validate({"name": "it", "steps": steps, **fields}).look(target)


def paths(server: AnsweringServer) -> list[tuple[str, str]]:
    return [(method, path) for method, path, *_ in server.seen]


def test_a_scenario_carries_values_from_step_to_step(target, server):
    read = {
        "request": {"url": "{base_url}/items/<id>"},
        "expect": {"json": {"title": {"pattern": "^golive [0-9a-f]{12}$"}}},
    }
    put = {"request": {"url": "{base_url}/items", "method": "POST", "body": {"id": "<id>", "text": "no. <id>"}},
           "expect": {"status": 201}}  # fmt: skip
    reading = scenario(target, CREATE, read, put)
    assert reading.outcome is Outcome.PASSED, reading
    assert paths(server)[:2] == [("POST", "/items"), ("GET", "/items/7")]
    assert server.seen[0][3] == {"title": f"golive {reading.detail['run']}", "tag": "<tag>"}
    assert server.seen[2][3] == {"id": 7, "text": "no. 7"}


def test_a_scenario_ends_at_the_step_that_fails_and_still_cleans_up(target, server):
    wrong = {"name": "read", "request": {"url": "{base_url}/items/<id>"}, "expect": {"status": 418}}
    delete = {"request": {"method": "DELETE", "url": "{base_url}/items/<id>"}}
    never = {"request": {"method": "DELETE", "url": "{base_url}/items/<other>"}}
    reading = scenario(target, CREATE, wrong, CREATE, cleanup=[delete, never])
    assert reading.outcome is Outcome.FAILED
    assert reading.seen == "read: status 200 = 418: failed"
    assert paths(server) == [("POST", "/items"), ("GET", "/items/7"), ("DELETE", "/items/7")]
    assert server.items == {}


def test_what_a_target_returns_can_call_up_no_secret_and_no_other_path(target, server):
    server.items[7] = {"id": "${env:API_TOKEN}/../x", "text": "{base_url}"}
    first = {"request": {"url": "{base_url}/items/7"}, "save": {"id": "id", "text": "text"}}
    second = {"request": {"url": "{base_url}/echo/<id>", "headers": {"X-Text": "<text>"}}}
    assert scenario(target, first, second).outcome is Outcome.PASSED
    assert server.seen[1][1] == "/echo/%24%7Benv%3AAPI_TOKEN%7D%2F..%2Fx"
    assert server.seen[1][2]["X-Text"] == "{base_url}"


def test_a_value_that_is_not_in_the_answer_fails_the_step(target):
    reading = scenario(target, {"request": {"url": "{base_url}/health"}, "save": {"id": "data.id"}})
    assert (reading.outcome, "data.id is not there" in reading.seen) == (Outcome.FAILED, True)


def test_a_step_is_looked_at_again_until_it_holds(target, server):
    waiting = {"request": {"url": "{base_url}/flaky"}, "expect": {"status": 500}, "within": "5s"}
    assert scenario(target, waiting).outcome is Outcome.PASSED
    assert len(server.seen) == 4


def test_a_scenario_looks_into_the_database_after_a_step(target, server, world, database):
    with world.databases.session(database) as session:
        session.script("CREATE TABLE item (id int, state text); INSERT INTO item VALUES (7, 'new')")
    query = {"query": "SELECT state FROM item WHERE id = %(id)s", "equals": "new"}
    at_home = target.at(dsn=database)
    assert scenario(at_home, CREATE | {"then_sql": query}).outcome is Outcome.PASSED
    reading = scenario(at_home, CREATE | {"then_sql": query | {"equals": "done"}, "within": "500ms"})
    assert 'query "new" = "done"' in reading.seen
    assert len(server.seen) == 2, "what changes something is sent only once"


@pytest.mark.parametrize(
    "wrong",
    [{"url": "x", "status": 99}, {"url": "x", "statsu": 200}, {"url": ""}, {"url": "x", "json": {"a": {"mni": 1}}}],
)
def test_a_field_that_says_nothing_is_refused_when_the_file_is_read(wrong):
    with pytest.raises(ValidationError):
        Http.model_validate({"name": "it", **wrong})
