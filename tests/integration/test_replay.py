"""Replay over real watches: guard, looks and verdicts made again, other limits, and a record that was spoilt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.adapters.postgres import Postgres
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.ledger.evidence import Evidence
from tests.flows import SmallSystem, wait_until
from tests.watched import Probed, guarding, probe_all_along, probes_of, put_under_watch, watch_file

WHEN = [
    {"kind": "down", "for": "2s"},
    {"kind": "errors", "above": "90%", "for": "1s"},
    {"kind": "slower", "than": "5000%", "floor": "1s"},
    {"kind": "corruption"},
]
ALL_THE_TIME = {"every": "0s", "for": "24h", "probe": {"every": "100ms", "check": "it answers"}}


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, service: Probed) -> Iterator[SmallSystem]:
    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    try:
        system.add_version("v2")
        watch_file(
            system,
            service,
            watch={**ALL_THE_TIME, "success": {"extensions": 1}, "then": [{"every": "1d", "for": "1d"}]},
            rollback={"when": WHEN, "automatic": False},
            checks__corruption=[{"kind": "sql", "name": "sums", "query": "SELECT 1", "equals": 1}],
        )
        yield system
    finally:
        system.close()


def replayed(release: str, *words: str, code: int = 0) -> dict[str, Any]:
    """What ``golive replay --json`` says."""
    said = CliRunner().invoke(app, ["replay", release, "--json", *words])
    assert said.exit_code == code, (said.output, said.exception)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def by(found: dict[str, Any], who: str) -> list[dict[str, Any]]:
    return [one for one in found["decisions"] if one["by"] == who]


def spoil(system: SmallSystem, statement: str) -> None:
    """Change what is on record, which the ledger lets nobody do without its owner's rights."""
    with Postgres().session(system.ledger_url) as session:
        session.script(f"SET session_replication_role = replica; {statement}")


def look(release: str) -> str:
    from tasks.monitor import look_after

    return str(look_after.fn(release).seen)


def test_each_decision_of_a_watch_that_ended_badly_is_made_again_and_other_limits_tell_what_had_been(
    system: SmallSystem, service: Probed
) -> None:
    release = put_under_watch(system)
    with guarding() as ended:
        wait_until(lambda: len(probes_of(system, release)) > 40)
        look(release)
        look(release)
        service.status = 500
        wait_until(lambda: system.ledger.releases.get(release).state == State.NEEDS_PERSON)
    assert ended == [1]
    found = replayed(release)
    assert (found["differ"], found["unknown"]) == (0, 0), found
    assert len(by(found, "monitor")) == 2
    assert "down fires" in by(found, "guard")[0]["decided"]
    assert found["first"]["kind"] in {"down", "errors"}

    earlier = replayed(release, "--set", "down.for=500ms")
    assert earlier["first"]["at"] < found["first"]["at"]
    assert (earlier["first"]["kind"], earlier["first"]["holds"]) == ("down", "passed")
    later = replayed(release, "--set", "down.for=1h", "--set", "errors.for=1h")
    assert later["first"] is None
    assert by(later, "guard")[0]["replayed"] == "does not fire"
    other = system.home / "other.yaml"
    other.write_text("rollback: {when: [{kind: down, for: 500ms}]}\n")
    assert replayed(release, "--with", str(other))["first"]["at"] == earlier["first"]["at"]

    shown = CliRunner().invoke(app, ["replay", release, "--set", "down.for=500ms"]).stdout
    assert "first acted on: down at" in shown
    assert "what came later is not known" in shown

    spoil(system, f"UPDATE probe SET outcome = 'passed' WHERE release_id = '{release}' AND source = 'guard'")
    tampered = replayed(release, code=4)
    assert "down fires" in by(tampered, "guard")[0]["why"]
    assert tampered["differ"] >= 1, "and what else saw some of the outage"
    spoil(system, f"DELETE FROM probe WHERE release_id = '{release}'")
    assert replayed(release)["unknown"] == 3


def test_verdicts_and_later_looks_are_made_again_and_a_changed_one_is_found(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_file(
        system,
        service,
        watch={**ALL_THE_TIME, "for": "2s", "then": [{"every": "1d", "for": "1d"}]},
        rollback={"when": WHEN[2:], "automatic": False},
    )
    release = put_under_watch(system, left=0.5)
    probe_all_along(system, release, missing=2)
    _wait_for_the_end(system, release)
    assert "coverage 60% < 80%" in look(release)
    probe_all_along(system, release, skip=3)
    _wait_for_the_end(system, release)
    assert "0 of 10 probes failed" in look(release)
    assert system.ledger.releases.get(release).state == State.STABLE
    real = Evidence.now
    monkeypatch.setattr(Evidence, "now", lambda evidence: real(evidence) + timedelta(days=1, minutes=5))
    assert "0 of 30 probes failed" in look(release)
    monkeypatch.delenv("SHOP_DSN")  # neither the system nor its secrets are needed
    found = replayed(release)
    assert (found["differ"], found["unknown"]) == (0, 0), found
    assert [one["decided"].split(":")[0] for one in by(found, "verdict")] == ["extended", "stable"]
    assert {one["by"] for one in found["decisions"]} == {"guard", "monitor", "verdict", "review", "stage"}
    stricter = replayed(release, "--set", "coverage=0.5")
    assert [one["replayed"].split(":")[0] for one in by(stricter, "verdict")] == ["stable", "stable"]
    spoil(
        system,
        f"UPDATE look SET findings = jsonb_set(findings, '{{failed}}', '17') WHERE source = 'stage' "
        f"AND release_id = '{release}'",
    )
    assert by(replayed(release, code=4), "stage")[0]["why"] == "differs in failed"


def _wait_for_the_end(system: SmallSystem, release: str) -> None:
    wait_until(lambda: system.ledger.evidence.now() > system.ledger.releases.get(release).watch_until)
