"""What the guard and the monitor make of probes, without a ledger."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks import watching
from tasks.adapters.process import mark_of
from tasks.context import holder, is_gone
from tasks.domain.outcome import Outcome
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.watching import LAG, Watched, as_of, as_probe, as_row, from_json, judge_checks, since, to_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_watched(**found: Any) -> Watched:
    """Return something that has just the attributes that a rule asks for."""
    return cast("Watched", SimpleNamespace(**found))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_probes_count_from_the_first_change_only_if_the_version_before_passed_them() -> None:
    row: Any = SimpleNamespace(mutation_started_at=ago(60), live_at=ago(10))
    assert since(a_watched(answered_before=True), row, 600, NOW) == ago(60)
    assert since(a_watched(answered_before=False), row, 600, NOW) == ago(10)
    assert since(a_watched(answered_before=True), row, 5, NOW) == ago(5)


def test_probes_that_the_version_before_could_not_pass_do_not_count_before_the_new_one_is_live() -> None:
    row: Any = SimpleNamespace(mutation_started_at=ago(60), live_at=None)
    assert since(a_watched(answered_before=False), row, 600, NOW) == NOW


def test_the_lag_of_writing_is_no_silence_but_a_longer_one_is() -> None:
    fresh, old = Probe(ago(LAG / 2), Outcome.PASSED), Probe(ago(LAG * 2), Outcome.PASSED)
    assert as_of([old, fresh], NOW) == fresh.at
    assert as_of([old], NOW) == NOW
    assert as_of([], NOW) == NOW


def test_a_check_that_may_roll_back_fires_at_its_second_failure_running() -> None:
    checks: list[Any] = [SimpleNamespace(name="a", rollback=True), SimpleNamespace(name="b", rollback=False)]
    failed = {"a": Outcome.FAILED, "b": Outcome.FAILED}
    assert [one.state for one in judge_checks(checks, failed, {})] == [Alarm.SUSPICIOUS]
    assert [one.state for one in judge_checks(checks, failed, {"a": "failed"})] == [Alarm.FIRES]
    assert [one.state for one in judge_checks(checks, failed, {"a": "unknown"})] == [Alarm.SUSPICIOUS]
    assert judge_checks(checks, {"a": Outcome.UNKNOWN}, {"a": "failed"}) == []


@pytest.mark.parametrize(
    ("kind", "seen", "holds", "taken"),
    [
        ("down", "fff", True, 3),
        ("down", "ffp", False, 3),
        ("down", "p", False, 1),
        ("down", "u", False, 1),
        ("errors", "ppppf", True, 5),
        ("errors", "pppppppppp", False, 10),
        ("slower", "", True, 0),
    ],
)
def test_a_finding_is_confirmed_by_probes_of_now(
    monkeypatch: pytest.MonkeyPatch, kind: str, seen: str, holds: bool, taken: int
) -> None:
    outcomes = iter({"p": Outcome.PASSED, "f": Outcome.FAILED, "u": Outcome.UNKNOWN}[one] for one in seen)
    monkeypatch.setattr(watching, "take_probe", lambda _watched: Probe(NOW, next(outcomes)))
    held, probes = watching.confirm(a_watched(), Finding(kind, Alarm.FIRES, ""))
    assert held is holds
    assert len(probes) == taken


def test_findings_and_probes_come_back_from_the_ledger_as_they_went_in() -> None:
    finding = Finding("down", Alarm.FIRES, "for long", {"seconds": 3})
    assert from_json(to_json(finding)) == finding
    probe = Probe(NOW, Outcome.FAILED, 0.1, Outcome.PASSED, "it answers")
    row: Any = SimpleNamespace(**as_row("r", probe, "guard"))
    row.source = row.check
    assert as_probe(row) == probe


def test_a_holder_is_gone_when_its_process_has_ended_and_not_when_that_cannot_be_known() -> None:
    host, pid, mark = holder().split(":")
    assert not is_gone(holder())
    assert is_gone(f"{host}:{pid}:{mark.partition('.')[0]}.1-abc"), "the number belongs to another process by now"
    assert not is_gone(f"another-{host}:{pid}:{mark.partition('.')[0]}.1-abc")
    assert not is_gone(f"{host}:{pid}:1.1-abc"), "numbers of another container"
    for name in ("", "the test", "a:b:c", f"{host}:{pid}:"):
        assert not is_gone(name)


def test_a_process_that_has_ended_is_gone_even_before_it_is_collected() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = mark_of(process.pid)
    name = f"{holder().partition(':')[0]}:{process.pid}:{mark}-abc"
    assert mark
    assert not is_gone(name)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)
    process.communicate()
    assert is_gone(name)
