"""What is left while a part is away."""

from __future__ import annotations

from datetime import UTC, datetime

from workers.__main__ import work_once


def test_a_database_that_is_away_is_told_and_passes(api, store, task):
    store.away = True
    assert api.ask("GET", "/health")[0] == 503
    assert api.ask("POST", "/tasks", task)[0] == 503
    store.away = False
    assert api.ask("POST", "/tasks", task)[0] == 201


def test_a_redis_that_is_away_is_told(api):
    api.app.limiter.away = True
    status, body = api.ask("GET", "/health")
    assert (status, body["redis"]) == (503, "unreachable")


def test_an_agent_that_asks_too_much_is_stopped(api):
    api.app.limiter.left = 1
    assert [api.ask("GET", "/tasks")[0] for _ in range(3)] == [200, 429, 429]


def test_work_that_fails_is_recorded_and_the_worker_lives(store, task):
    store.add_task("agent", {**task, "payload": {"pipeline": [{"id": "x", "uses": "unknown"}]}}, datetime.now(UTC))
    store.add_task("agent", task, datetime.now(UTC))
    store.enqueue_due()
    assert work_once(store, "w1")
    assert work_once(store, "w1")
    assert [bool(error) for _, _, error in store.runs] == [True, False]
