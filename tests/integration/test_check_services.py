from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.secrets import SecretStore
from tasks.checks.grafana import Grafana
from tasks.checks.http import Http
from tasks.checks.kafka import Kafka
from tasks.checks.metrics import Metrics
from tasks.checks.openapi import Openapi
from tasks.checks.queue import Queue
from tasks.checks.redis import Redis
from tasks.checks.scheduler_jobs import SchedulerJobs
from tasks.checks.throughput import Throughput
from tasks.domain.errors import AccessDenied, Inconclusive, OutsideError, ToolMissing, UserError
from tasks.domain.outcome import Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests import kafka, monitoring
from tests.cases.services import a_document
from tests.looks import F, P, U, look
from tests.scripted import ScriptedServer, scripted

SECRET = "s3cret-of-the-test"


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"PASSWORD": SECRET}))
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with monitoring.redis(tmp_path_factory.mktemp("redis"), SECRET) as port:
        yield port


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    with kafka.kafka("orders", "events") as known:
        yield known


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted({}) as running:
        yield running


def redis(target: Target, port: int, **fields: Any) -> Reading:
    return look(Redis, target, url=f"redis://:${{env:PASSWORD}}@127.0.0.1:{port}", **fields)


def test_redis_answers_and_a_key_goes_round(target, redis_port):
    reading = redis(target, redis_port, round_trip=True, within="5s", info={"role": "master", "evicted_keys": 0})
    assert reading.outcome is P, reading
    assert reading.seen.endswith("a key was written, read and removed")
    assert reading.detail["role"] == "master"
    with target.world.redis.session(f"redis://:{SECRET}@127.0.0.1:{redis_port}", timeout=5) as session:
        assert not any(name.startswith("db") for name in session.info()), "no key is left"


def test_redis_is_held_against_limits_and_what_it_does_not_tell_is_unknown(target, redis_port):
    reading = redis(target, redis_port, info={"used_memory": {"max": 1}})
    assert (reading.outcome, "≤ 1: failed" in reading.seen) == (F, True)
    assert redis(target, redis_port, info={"no_such_value": 1}).outcome is U
    reading = redis(target, redis_port, memory="80%")
    assert (reading.outcome, "maxmemory is not set" in reading.seen) == (U, True)


def test_a_redis_that_refuses_the_password_is_no_answer_and_shows_no_secret(target, redis_port):
    with pytest.raises(AccessDenied) as caught:
        look(Redis, target, url=f"redis://:wrong-word@127.0.0.1:{redis_port}")
    assert "wrong-word" not in str(caught.value)
    with pytest.raises(OutsideError):
        look(Redis, target, url=f"redis://127.0.0.1:{redis_port}")


def test_a_silent_redis_on_this_machine_has_failed_and_elsewhere_is_unknown(target):
    assert look(Redis, target, url="redis://127.0.0.1:1").outcome is F
    assert look(Redis, target, url="redis://0.0.0.0:1").outcome is U
    with pytest.raises(UserError, match="no address of Redis"):
        look(Redis, target, url="redis://127.0.0.1:port")


def test_brokers_topics_and_a_message_of_kafka_are_looked_at(target, brokers):
    reading = look(
        Kafka, target, brokers=brokers, at_least=3, round_trip="events",
        topics={"orders": {"partitions": 4, "replicas": 3, "in_sync": 3}},
    )  # fmt: skip
    assert reading.outcome is P, reading
    assert "a message came back from events in" in reading.seen
    assert len(reading.detail["brokers"]) == 3
    reading = look(Kafka, target, brokers=brokers, at_least=4, topics={"orders": {"partitions": 5}, "none": {}})
    assert reading.seen == (
        "3 brokers ≥ 4: failed; orders has 4 partitions ≥ 5: failed; there is no topic none: failed"
    )


def test_a_message_makes_no_topic(target, brokers):
    for _ in range(2):
        reading = look(Kafka, target, brokers=brokers, round_trip="not-made")
        assert reading.seen == "there is no topic not-made: failed"


def test_each_broker_must_answer(target, brokers):
    reading = look(Kafka, target, brokers=f"{brokers.split(',')[0]}, 127.0.0.1:1", each="700ms")
    assert reading.outcome is F
    assert reading.seen.startswith("127.0.0.1:1: ")
    assert look(Kafka, target, brokers="0.0.0.0:1", each="300ms").outcome is U


def test_the_lag_of_a_group_is_the_sum_of_what_it_has_not_committed(target, brokers):
    kafka.sent(brokers, "orders", 20)

    def lag(group: str, at_most: int, *topics: str) -> Reading:
        return look(Kafka, target, brokers=brokers, lag={"group": group, "topics": topics, "at_most": at_most})

    kafka.committed(brokers, "executor", "orders", {0: 5, 1: 5, 2: 5, 3: 2})
    assert lag("executor", 3, "orders").outcome is P
    reading = lag("executor", 2, "orders")
    assert (reading.outcome, reading.value, reading.limit) == (F, 3, 2)
    assert reading.detail["lag"] == {"orders/0": 0, "orders/1": 0, "orders/2": 0, "orders/3": 3}
    assert lag("nobody", 100, "orders").outcome is U
    assert lag("executor", 100, "orders", "none").outcome is U


def test_wrong_options_and_a_missing_package_are_named(target, monkeypatch):
    kafka.require_kafka()
    with pytest.raises(UserError, match=r"no\.such\.option"):
        look(Kafka, target, brokers="127.0.0.1:1", options={"no.such.option": "x"}, each="300ms")

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ToolMissing, match=r"golive\[kafka\]"):
        look(Kafka, target, brokers="127.0.0.1:1")


def test_grafana_must_be_healthy_hold_its_dashboards_and_reach_its_data_sources(target, server):
    server.answers = {
        "/api/health": {"database": "ok", "version": "11.0.0"},
        "/api/dashboards/uid/api": {"dashboard": {"title": "API", "panels": [{"id": 1}]}},
        "/api/dashboards/uid/empty": {"dashboard": {"title": "Empty"}},
        "/api/dashboards/uid/secret": (403, {"message": "Access denied"}),
        "/api/datasources/uid/prom": {"uid": "prom"},
        "/api/datasources/uid/prom/health": {"status": "OK", "message": "Successfully queried the Prometheus API."},
        "/api/datasources/uid/broken": {"uid": "broken"},
        "/api/datasources/uid/broken/health": (400, {"status": "ERROR", "message": f"refused, {SECRET}"}),
    }

    def grafana(**fields: Any) -> Reading:
        return look(Grafana, target, url=server.url, headers={"Authorization": "Bearer ${env:PASSWORD}"}, **fields)

    assert grafana(dashboards=["api"], data_sources=["prom"]).outcome is P
    assert server.seen[-1][2]["Authorization"] == f"Bearer {SECRET}"
    assert grafana(dashboards=["none"]).seen == "there is no dashboard none: failed"
    assert grafana(dashboards=["empty"]).outcome is F
    assert grafana(dashboards=["secret"]).outcome is U
    assert grafana(data_sources=["none"]).outcome is F
    assert grafana(data_sources=["broken"]).seen == "data source broken: refused, •••: failed"
    server.answers["/api/health"] = (503, {"database": "failing"})
    assert grafana().seen == "status 503, database failing = ok: failed"


def test_each_panel_of_a_dashboard_must_show_data(target, server):
    def panel(title: str, expression: str = "up", **more: Any) -> dict[str, Any]:
        return {"title": title, "targets": [{"refId": "A", "expr": expression}], "datasource": {"uid": "prom"}, **more}

    rate = "rate(x{job='$job'}[$__rate_interval])"
    panels = [panel("now"), {"type": "row", "panels": [panel("rate", rate)]}, {"title": "words", "type": "text"}]
    data = {"results": {"A": {"frames": [{"data": {"values": [[1, 2], [None, 0.5]]}}]}}}
    server.answers = {
        "/api/health": {"database": "ok"}, "/api/dashboards/uid/api": {"dashboard": {"title": "API", "panels": panels}},
        "/api/ds/query": data,
    }  # fmt: skip

    def grafana(**fields: Any) -> Reading:
        return look(Grafana, target, url=server.url, dashboards=["api"], showing="1h", **fields)

    reading = grafana(variables={"job": "api"})
    assert (reading.outcome, "api, rate shows 1 points" in reading.seen) == (P, True)
    assert [path for _method, path, _headers in server.seen].count("/api/ds/query") == 2
    assert grafana().seen == "api, rate: the variable $job has no value here: unknown"
    server.answers["/api/ds/query"] = {"results": {"A": {"frames": [{"data": {"values": [[1], [None]]}}]}}}
    assert "api, now shows 0 points ≥ 1: failed" in grafana(variables={"job": "api"}).seen
    server.answers["/api/ds/query"] = (502, {"message": "bad gateway"})
    assert grafana(variables={"job": "api"}).outcome is U


def test_metrics_are_added_up_by_name_and_labels(target, server):
    text = '# TYPE jobs counter\njobs_total{state="done",q="a b"} 1\njobs_total{state="done"} 2\nup 0\nbad NaN\n'
    server.answers = {"/metrics": text, "/page": "<html>", "/empty": ""}
    at_home = target.at(base_url=server.url)
    reading = look(Metrics, at_home, values={'jobs_total{state="done"}': {"equals": 3}, "up": {"max": 0}})
    assert reading.outcome is P, reading
    assert look(Metrics, at_home, values={'jobs_total{q="a b"}': {"equals": 1}}).outcome is P
    assert look(Metrics, at_home, values={"bad": {"min": 0}}).outcome is U
    assert look(Metrics, at_home, values={'jobs_total{state="x"}': {"min": 0}}).outcome is U
    assert look(Metrics, at_home, url=f"{server.url}/page").outcome is F
    assert look(Metrics, at_home, url=f"{server.url}/empty").seen == "there are no samples"
    with pytest.raises(ValidationError, match="is not a label"):
        Metrics.model_validate({"name": "it", "values": {"jobs{state=done}": {}}})


def throughput(target: Target, **fields: Any) -> Reading:
    return look(Throughput, target, **{"at_least": 100, **fields})


def test_throughput_is_reckoned_from_finished_work(target, database):
    target = target.at(dsn=database)
    assert throughput(target, batch="SELECT 50 AS items, 20 AS seconds").seen == (
        "50 finished in 20.0 s: 150 /min ≥ 100 /min"
    )
    assert throughput(target, batch="SELECT 50 AS items, 60 AS seconds").outcome is F
    assert throughput(target, batch="SELECT 5 AS items, 1 AS seconds").outcome is U
    assert throughput(target, batch="SELECT 0 AS items, NULL::int AS seconds").outcome is U
    with pytest.raises(OutsideError, match="one row of items and seconds"):
        throughput(target, batch="SELECT 1 AS count")


def test_throughput_is_measured_by_a_counter_over_a_window(target, server, database, session):
    class Working:
        """The real clock, during whose waiting work is done."""

        now, monotonic = target.world.clock.now, staticmethod(iter(range(0, 1000, 10)).__next__)

        def sleep(self, _seconds: float) -> None:
            session.execute("INSERT INTO run SELECT generate_series(1, 30)")
            server.answers["/metrics"] = "jobs_total 5\n"

    session.execute("CREATE TABLE run (id int)")
    target = target.at(dsn=database, base_url=server.url, world=replace(target.world, clock=Working()))
    reading = throughput(target, counter="SELECT count(*) FROM run", window="10s")
    assert (reading.outcome, reading.value) == (P, 180)
    server.answers["/metrics"] = "jobs_total 50\n"
    assert throughput(target, metric="jobs_total", window="10s").seen == "the counter went back meanwhile"
    with pytest.raises(OutsideError, match="no other_total"):
        throughput(target, metric="other_total")


@pytest.mark.parametrize("wrong", [{}, {"counter": "x", "metric": "x"}, {"counter": "x", "window": "1h"}])
def test_a_throughput_that_asks_nothing_or_too_much_is_refused(wrong):
    with pytest.raises(ValidationError, match=r"one of batch|window must be shorter"):
        Throughput.model_validate({"name": "it", "at_least": 1, **wrong})


def test_a_queue_is_held_against_depth_age_and_waits(target, database, session):
    session.script(
        "CREATE TABLE work (note text, due timestamp, begun timestamp);"
        "INSERT INTO work SELECT 'a%b', now() AT TIME ZONE 'UTC' - interval '90 s', NULL FROM generate_series(1, 3);"
        "INSERT INTO work SELECT 'done', now(), now() + n * interval '1 s' FROM generate_series(1, 100) AS n"
    )
    waiting = "SELECT due FROM work WHERE begun IS NULL AND note LIKE 'a%%b' -- what waits;"
    begun = "SELECT begun - due FROM work WHERE begun IS NOT NULL AND note NOT LIKE '%x';"

    def queue(**fields: Any) -> Reading:
        return look(Queue, target.at(dsn=database), **fields)

    reading = queue(waiting=waiting, depth=3, oldest="10 min", begun=begun, wait="96s")
    assert reading.outcome is P, reading
    assert (reading.detail["depth"], reading.detail["begun"]) == (3, 100)
    assert 90 <= reading.detail["oldest_seconds"] < 300
    assert queue(waiting=waiting, depth=2).seen == "waiting: 3 items ≤ 2 items: failed"
    assert queue(waiting=waiting, oldest="80s").outcome is F
    assert queue(begun=begun, wait="50s").seen == "p95 of 100 waits 95.05 s ≤ 50 s: failed"
    assert queue(begun=begun, wait="51s", percentile=50).outcome is P
    assert queue(waiting="SELECT due FROM work WHERE false", oldest="1s", depth=0).outcome is P
    assert queue(begun="SELECT begun - due FROM work WHERE false", wait="1s").outcome is U


@pytest.mark.parametrize("wrong", [{}, {"waiting": "SELECT 1"}, {"depth": 1}, {"begun": "SELECT 1"}, {"wait": "1s"}])
def test_a_queue_that_is_half_described_is_refused(wrong):
    with pytest.raises(ValidationError, match="need"):
        Queue.model_validate({"name": "it", **wrong})


def test_jobs_must_be_there_and_run_next_in_the_future(target, server, database):
    now = target.world.clock.now()
    soon, late = now + timedelta(hours=2), now - timedelta(minutes=10)
    jobs = [
        {"id": "iso", "next_run_time": soon.isoformat()},
        {"id": "naive", "next_run_time": soon.replace(tzinfo=None).isoformat()},
        {"id": "mail", "next_run_time": soon.strftime("%a, %d %b %Y %H:%M:%S GMT")},
        {"id": "epoch", "next_run_time": soon.timestamp()},
        {"id": "millis", "next_run_time": soon.timestamp() * 1000},
        {"id": "late", "next_run_time": late.isoformat()},
        {"id": "paused", "next_run_time": None},
        {"id": "odd", "next_run_time": "soon"},
    ]
    server.answers = {"/jobs": {"jobs": jobs}, "/none": {"jobs": []}, "/list": jobs, "/error": (500, {})}

    def scheduler(path: str, *names: str, **fields: Any) -> Reading:
        return look(SchedulerJobs, target, request={"url": server.url + path}, jobs=names, **fields)

    assert scheduler("/jobs", "iso", "naive", "mail", "epoch", "millis").outcome is P
    assert scheduler("/jobs", "late").seen == "late was due 10 min ago: failed"
    assert scheduler("/jobs", "late", grace="1h").outcome is P
    assert scheduler("/jobs", "paused").outcome is F
    assert scheduler("/jobs", "none").outcome is F
    assert scheduler("/jobs", "odd").outcome is U
    assert scheduler("/jobs", "iso", within="1h").outcome is F
    assert scheduler("/jobs").outcome is F, "all are judged, and some are late"
    assert scheduler("/none").outcome is F
    assert scheduler("/none", at_least=0).outcome is P
    assert scheduler("/list", "iso", at="").outcome is P
    assert scheduler("/list", "iso").outcome is U
    assert scheduler("/error").outcome is F
    query = "SELECT 'sync' AS name, now() + interval '1 h' AS due"
    assert look(SchedulerJobs, target.at(dsn=database), query=query, id="name", next_run="due").outcome is P


def test_the_answers_headers_size_and_schema_are_judged(target, server):
    server.answers = {"/": {"id": 7, "items": [{"name": "a"}]}}

    def http(**fields: Any) -> Reading:
        return look(Http, target, url=f"{server.url}/", **fields)

    reading = http(answer_headers={"Server": {"pattern": "BaseHTTP"}, "access-control-allow-origin": {"exists": False}})
    assert reading.outcome is P, reading
    assert http(answer_headers={"content-length": "1"}).outcome is F
    assert http(answer_headers={"strict-transport-security": {"exists": True}}).outcome is F
    assert http(max_size="10kB", lacks="secret").outcome is P
    assert http(max_size="10B").seen.endswith("bytes ≤ 10 bytes: failed")
    assert http(lacks="items").outcome is F
    item = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    assert http(json_schema={"properties": {"items": {"items": item}}}).outcome is P
    reading = http(json_schema={"required": ["title"], "properties": {"id": {"type": "string"}}})
    assert reading.outcome is F
    assert "'title' is a required property" in reading.seen
    assert "$.id 7 is not of type 'string'" in reading.seen
    assert http(json_schema={"$ref": f"{server.url}/other.json"}).outcome is U
    assert len([path for _m, path, _h in server.seen if path != "/"]) == 0, "a schema fetches nothing"
    with pytest.raises(ValidationError, match="not a JSON schema"):
        Http.model_validate({"name": "it", "url": "x", "json_schema": {"type": "thing"}})


def test_a_release_may_break_nothing_of_the_document_on_record(target, server):
    old = a_document(id="integer", title="string")
    server.answers = {"/openapi.json": old}
    check = Openapi.model_validate({"name": "it"})
    target = target.at(base_url=server.url)
    assert check.look(target).outcome is U
    target = target.at(baseline={"it": check.record(target)})
    assert check.look(target).seen == "valid, 1 operations; nothing that clients rely on is broken"

    server.answers = {"/openapi.json": a_document(id="string", note="string")}
    reading = check.look(target)
    assert reading.seen == (
        "2 breaking changes: GET /tasks: answer 200: id may now be string; GET /tasks: answer 200 lacks title: failed"
    )
    assert (reading.value, reading.limit, len(reading.detail["changes"])) == (2, 0, 2)
    assert look(Openapi, target, allow=["GET /tasks: answer 200*"]).outcome is P


def test_a_document_is_held_against_a_file_of_the_release(target, server, tmp_path):
    (tmp_path / "api.yaml").write_text(
        "openapi: 3.0.3\ninfo: {title: x, version: '1'}\npaths:\n  /tasks:\n    get:\n      responses:\n"
        "        '200': {description: x, content: {application/json: {schema: {properties: {id: {type: string}}}}}}\n"
    )
    server.answers = {"/openapi.json": a_document(id="string", note="string")}
    target = target.at(base_url=server.url)
    assert look(Openapi, target, against="file", file="api.yaml").outcome is P
    reading = look(Openapi, target, against="file", file="api.yaml", equal=True)
    assert "not in the other document: GET /tasks: answer 200 lacks note" in reading.seen
    assert look(Openapi, target, against="file", file="none.yaml").outcome is U
    assert look(Openapi, target, against="nothing", operations=["GET /tasks", "PUT /tasks/{id}"]).seen == (
        "PUT /tasks/{id} is not there: failed"
    )


def test_what_is_no_valid_document_fails_and_what_leads_elsewhere_is_unknown(target, server):
    outside = a_document() | {"components": {"schemas": {"X": {"$ref": f"{server.url}/x.json"}}}}
    server.answers = {
        "/text": "plain words", "/invalid": {"openapi": "3.1.0", "paths": {}}, "/empty": a_document() | {"paths": {}},
        "/outside": outside, "/unheard": a_document() | {"openapi": "9.9"},
    }  # fmt: skip

    def document(path: str) -> Reading:
        return look(Openapi, target, url=server.url + path, against="nothing")

    assert document("/text").seen == "the answer is no OpenAPI document"
    reading = document("/invalid")
    assert (reading.outcome, "'info' is a required property" in reading.seen) == (F, True)
    assert document("/empty").outcome is F
    assert document("/outside").outcome is U
    assert document("/unheard").outcome is U
    assert document("/none").seen == "status 404 = 200"
    assert [path for _m, path, _h in server.seen].count("/x.json") == 0
    with pytest.raises(Inconclusive, match="no OpenAPI document"):
        Openapi.model_validate({"name": "it", "url": f"{server.url}/text"}).record(target)
