"""Cases of the services around a system, and of what they tell of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.domain.target import Target
from tests import kafka, monitoring
from tests.cases import SILENT, Cases
from tests.scripted import scripted

Around = tuple[dict[str, Any], Target]


def vector(*values: float) -> dict[str, Any]:
    result = [{"metric": {"job": "api"}, "value": [0, str(value)]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def served(answers: Mapping[str, Any], field: str = "url", path: str = "") -> dict[str, Any]:
    """Return what lets a check ask a server of these answers, by a field that holds its address."""

    @contextmanager
    def around(target: Target) -> Iterator[Around]:
        with scripted(answers) as server:
            address = server.url + path
            yield {field: {"url": address} if field == "request" else address}, target

    return {field: {"url": SILENT} if field == "request" else SILENT, "AROUND": {"with": around}}


def prometheus(*values: float) -> dict[str, Any]:
    return served({"/api/v1/query": vector(*values)})


def targets(*states: str) -> dict[str, Any]:
    active = [
        {"labels": {"job": "api", "instance": "x"}, "scrapeUrl": "http://x", "health": state, "lastError": "refused",
         "lastScrape": "2999-01-01T00:00:00.123456789Z"}
        for state in states
    ]  # fmt: skip
    return served({"/api/v1/targets": {"data": {"activeTargets": active}}})


def rules(*healths: str) -> dict[str, Any]:
    loaded = [{"name": "Down", "health": health, "state": "inactive"} for health in healths]
    return served({"/api/v1/rules": {"data": {"groups": [{"rules": loaded}]}}})


def alerts(count: int, cluster: str = "ready") -> dict[str, Any]:
    alert = {"labels": {"alertname": "Down"}, "startsAt": "2026-01-01T00:00:00Z"}
    status = {"cluster": {"status": cluster}, "versionInfo": {"version": "0.27.0"}}
    return served({"/api/v2/status": status, "/api/v2/receivers": [{"name": "ops"}], "/api/v2/alerts": [alert] * count})


@contextmanager
def an_alertmanager(target: Target) -> Iterator[Around]:
    with tempfile.TemporaryDirectory() as place, monitoring.alertmanager(Path(place)) as url:
        yield {"url": url}, target


@contextmanager
def a_redis(target: Target) -> Iterator[Around]:
    with tempfile.TemporaryDirectory() as place, monitoring.redis(Path(place)) as port:
        yield {"url": f"redis://127.0.0.1:{port}"}, target


@contextmanager
def a_kafka(target: Target) -> Iterator[Around]:
    with kafka.kafka("orders", brokers=1) as brokers:
        yield {"brokers": brokers}, target


def a_document(**answer: str) -> dict[str, Any]:
    fields = {name: {"type": kind} for name, kind in answer.items()}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": fields}}}, "description": "x"}
    operation = {"responses": {"200": body}}
    return {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {"/tasks": {"get": operation}}}


def grafana(database: str = "ok", source: str = "OK") -> dict[str, Any]:
    return served({
        "/api/health": {"database": database, "version": "11.0.0"},
        "/api/dashboards/uid/api": {"dashboard": {"title": "API", "panels": [{"id": 1}]}},
        "/api/datasources/uid/prom": {"uid": "prom"},
        "/api/datasources/uid/prom/health": {"status": source, "message": "seen"},
    })  # fmt: skip


REDIS = {"url": "redis://0.0.0.0:1", "AROUND": {"with": a_redis}, "round_trip": True}
KAFKA = {"brokers": "0.0.0.0:1", "AROUND": {"with": a_kafka}}
JOBS = served({"/jobs": {"jobs": [{"id": "sync", "next_run_time": "2999-01-01T00:00:00+00:00"}]}}, "request", "/jobs")

CASES: Cases = {
    "prometheus": (
        {"query": "errors", "at_most": 2, **prometheus(1, 2)},
        {"query": "errors", "at_most": 1, **prometheus(1, 2)},
        {"query": "errors", "at_most": 1, **prometheus()},
    ),
    "prometheus_targets": (
        {"jobs": ["api"], **targets("up")},
        {"jobs": ["api"], **targets("up", "down")},
        targets("up", "unknown"),
    ),
    "prometheus_rules": (
        {"rules": ["Down"], **rules("ok")},
        {"rules": ["Down"], **rules("err")},
        {"rules": ["Down"], **rules("unknown")},
    ),
    "alertmanager": ({"at_most": 1, **alerts(1)}, alerts(1), alerts(0, "settling")),
    "alert_delivery": (
        {"url": SILENT, "AROUND": {"with": an_alertmanager}},
        {"within": "200ms", **alerts(0)},
        {"url": SILENT},
    ),
    "grafana": (
        {"dashboards": ["api"], "data_sources": ["prom"], **grafana()},
        {"dashboards": ["none"], **grafana()},
        {"url": SILENT},
    ),
    "redis": (
        {**REDIS, "info": {"role": "master"}},
        {**REDIS, "info": {"connected_clients": {"max": 0}}},
        {**REDIS, "info": {"no_such_value": 0}},
    ),
    "kafka": (
        {**KAFKA, "topics": {"orders": {"partitions": 4}}, "round_trip": "orders"},
        {**KAFKA, "topics": {"none": {}}},
        {**KAFKA, "lag": {"group": "none", "topics": ["orders"], "at_most": 5}},
    ),
    "openapi": (
        {"against": "nothing", "operations": ["GET /tasks"], **served({"/": a_document(id="string")})},
        {"against": "nothing", "operations": ["GET /none"], **served({"/": a_document(id="string")})},
        served({"/": a_document(id="string")}),
    ),
    "metrics": (
        {"values": {"jobs_total": {"min": 3}}, **served({"/": 'jobs_total{a="b"} 1\njobs_total{a="c"} 2\n'})},
        {"values": {"jobs_total": {"max": 2}}, **served({"/": 'jobs_total{a="b"} 1\njobs_total{a="c"} 2\n'})},
        {"values": {"jobs_total": {"max": 2}}, **served({"/": "other 1\n"})},
    ),
    "throughput": (
        {"batch": "SELECT 100 AS items, 30.0 AS seconds", "at_least": 200},
        {"batch": "SELECT 99 AS items, 30.0 AS seconds", "at_least": 200},
        {"batch": "SELECT 9 AS items, 1.0 AS seconds", "at_least": 200},
    ),
    "queue": (
        {"waiting": "SELECT made FROM task", "depth": 1, "oldest": "1h"},
        {"waiting": "SELECT made FROM task", "depth": 0},
        {"begun": "SELECT now() - made FROM task WHERE false", "wait": "1s"},
    ),
    "scheduler_jobs": (
        {"jobs": ["sync"], **JOBS},
        {"jobs": ["report"], **JOBS},
        {"jobs": ["sync"], "at": "none", **JOBS},
    ),
}
