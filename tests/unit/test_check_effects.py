"""What kinds of checks say that they do besides looking, and what they cannot tell without an earlier look."""

from __future__ import annotations

import pytest

from tasks import checks
from tasks.spec.kinds import kinds_in

STEPS = [{"request": {"url": "{base_url}/"}}, {"request": {"url": "{base_url}/", "method": "PUT"}}]
TENANTS = {"role": "app", "setting": "app.tenant", "tenants": ["1", "2"], "query": "SELECT count(*) FROM t"}


def made(kind, **fields):
    return kinds_in(checks)[kind].model_validate({"kind": kind, "name": "it", **fields})


@pytest.mark.parametrize(
    ("kind", "fields", "does"),
    [
        ("http", {"url": "{base_url}/"}, ""),
        ("http", {"url": "{base_url}/", "method": "HEAD"}, ""),
        ("http", {"url": "{base_url}/", "method": "DELETE"}, "sends a DELETE"),
        ("baseline", {"url": "{base_url}/", "method": "POST"}, "sends a POST"),
        ("load", {"url": "{base_url}/", "requests": 40}, "sends 40 GET requests, 4 at a time"),
        ("scenario", {"steps": STEPS[:1]}, ""),
        ("scenario", {"steps": STEPS}, "sends a PUT"),
        ("scenario", {"steps": STEPS * 2}, "sends a PUT"),
        ("alert_delivery", {"url": "http://alerts"}, "sends Alertmanager a test alert"),
        ("kafka", {"brokers": "b:9092"}, ""),
        ("kafka", {"brokers": "b:9092", "round_trip": "probe"}, "sends a message to the topic probe"),
        ("redis", {"url": "redis://r"}, ""),
        ("redis", {"url": "redis://r", "round_trip": True}, "writes a key"),
        ("isolation", TENANTS, ""),
        ("isolation", TENANTS | {"insert": "INSERT INTO t VALUES (%(tenant)s)"}, "makes rows"),
        ("command", {"argv": ["/usr/bin/make", "smoke"]}, "runs make"),
    ],
)
def test_what_a_check_does_besides_looking_is_told(kind, fields, does):
    said = made(kind, **fields).acts("health")
    assert said.startswith(does)
    assert bool(said) == bool(does)
    assert said.count("sends a PUT") <= 1


def test_a_command_of_preflight_only_reads_as_all_of_preflight_does():
    assert made("command", argv=["make"]).acts("preflight") == ""


@pytest.mark.parametrize(
    ("kind", "fields", "compares"),
    [
        ("http", {"url": "{base_url}/"}, False),
        ("baseline", {"url": "{base_url}/"}, True),
        ("log", {"files": ["a.log"]}, True),
        ("log", {"files": ["a.log"], "last": "1h"}, False),
        ("log", {"files": ["a.log"], "last": "1h", "only_new": True}, True),
        ("openapi", {}, True),
        ("openapi", {"against": "nothing"}, False),
        ("container_stats", {"containers": ["a"], "memory": "1GB"}, False),
        ("container_stats", {"containers": ["a"], "grown": "20%"}, True),
        ("queries_per_request", {"url": "{base_url}/", "at_most": 4}, False),
        ("queries_per_request", {"url": "{base_url}/", "fewer_by": "90%"}, True),
        ("table_growth", {"size": "1GB"}, False),
        ("table_growth", {"per_day": "1GB"}, True),
        ("index_usage", {}, True),
        ("index_usage", {"since": "reset"}, False),
    ],
)
def test_a_check_says_whether_it_needs_something_recorded_to_compare_with(kind, fields, compares):
    assert made(kind, **fields).compares is compares
