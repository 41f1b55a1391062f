"""What clients rely on."""

from __future__ import annotations

import pytest


def test_health_tells_of_each_part(api):
    status, body = api.ask("GET", "/health", token="")
    assert (status, body) == (200, {"status": "ok", "version": "test", "database": "ok", "redis": "ok"})


def test_a_task_is_kept_told_of_and_removed(api, task):
    status, made = api.ask("POST", "/tasks", task)
    assert status == 201
    assert api.ask("GET", f"/tasks/{made['id']}")[1]["title"] == "a task"
    assert api.ask("GET", "/tasks")[1]["tasks"][0]["title"] == "a task"
    assert api.ask("DELETE", f"/tasks/{made['id']}") == (200, {"removed": True})
    assert api.ask("GET", f"/tasks/{made['id']}")[0] == 404


@pytest.mark.parametrize("token", ["", "none", "a.b.c"])
def test_nobody_without_a_token_is_let_in(api, token):
    assert api.ask("GET", "/tasks", token=token)[0] == 401


@pytest.mark.parametrize(
    "wrong",
    [b"{", b"[]", {"title": ""}, {"schedule_kind": "often"}, {"payload": {"pipeline": []}}, {"payload": None}],
)
def test_what_is_no_task_is_refused_with_a_reason(api, task, wrong):
    status, body = api.ask("POST", "/tasks", wrong if isinstance(wrong, bytes) else {**task, **wrong})
    assert (status, body["detail"][:8]) == (422, "no task:")


def test_metrics_are_shown_as_prometheus_reads_them(api):
    api.ask("GET", "/health")
    text = api.ask("GET", "/metrics", token="")[1]
    assert 'http_requests_total{method="GET",status="200"} 1' in text.splitlines()
    assert "worker_active_count 1" in text.splitlines()
