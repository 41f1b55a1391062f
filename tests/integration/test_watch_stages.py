"""The stages of a watch with the clock moved on: moments, extension, the days and weeks after, the next release."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.looking import details_of
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, wait_until
from tests.systems import run
from tests.watched import Later, Probed, alerts_of, deploy, put_under_watch, watch_file

PROBE = {"every": "100ms", "check": "it answers"}
WEEK = {"every": "1d", "for": "7d"}


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, service: Probed) -> Iterator[SmallSystem]:
    system = SmallSystem.make(open_directory, pg_server)
    try:
        for version in ("v2", "v3"):
            system.add_version(version)
        yield system
    finally:
        system.close()


def write(system: SmallSystem, service: Probed, **watch: Any) -> None:
    """Write the release file with one check of each group that a stage may name."""
    made = [name for name in ("the week is fine", "items can be written") if name in str(watch)]
    review = [{"kind": "sql", "name": name, "query": "SELECT 1", "equals": 1} for name in made]
    watch_file(
        system,
        service,
        watch={"every": "1h", "for": "24h", "probe": PROBE, **watch},
        rollback={"when": [], "automatic": True},
        checks__review=review,
    )


def put_stable(system: SmallSystem, version: str = "v2") -> str:
    """Put a release on record whose first stage has just ended well."""
    release = put_under_watch(system, version, left=0)
    system.ledger.releases.seize(release, State.WATCHING, State.STABLE, "the test", verdict="stable")
    return release


def look() -> list[str]:
    """Look at what is due, as the monitor does, without Prefect and without acting."""
    from tasks.monitor import due_releases, look_after

    return [f"{release}: {look_after.fn(release).seen}" for release in due_releases.fn()]


def sweep() -> list[str]:
    """Let the monitor run."""
    from flows.monitor import monitor

    return list(run(monitor()))


def looks_of(system: SmallSystem, release: str, source: str) -> list[Any]:
    return list(system.ledger.evidence.looks(release, source))


def reports_of(system: SmallSystem, release: str) -> list[str]:
    return [one.text for one in system.ledger.outbox.messages(release) if "status report" in one.text]


def test_a_stable_release_is_looked_at_daily_then_weekly_with_a_report_each_and_a_verdict_on_each_stage(
    system: SmallSystem, service: Probed, later: Later, prefect_server: str
) -> None:
    stages = [{"every": "1d", "for": "2d", "checks": ["it answers", "the week is fine"]}, {"every": "7d", "for": "7d"}]
    write(system, service, then=stages)
    release = put_stable(system)
    assert look() == []
    later(days=1, minutes=1)
    assert look() == [f"{release}: every 24 h for 2 d, look 1 of 2: passed"]
    assert look() == [], "one look for each moment"
    assert "all checks pass" in reports_of(system, release)[0]
    assert looks_of(system, release, "review")[0].findings["checks"] == {
        "it answers": "passed",
        "the week is fine": "passed",
    }
    later(days=2, minutes=1)
    assert "0 of 60 probes failed, 100% of the expected probes made" in look()[0]
    verdict = looks_of(system, release, "stage")[0]
    assert (verdict.outcome, verdict.findings["ended"], verdict.findings["final"]) == ("passed", "stable", False)
    later(days=9, minutes=1)
    assert "0 of 30 probes failed" in sweep()[0]
    assert looks_of(system, release, "review")[-1].findings["checks"] == {"it answers": "passed"}
    assert looks_of(system, release, "stage")[-1].findings["final"]
    later(days=100)
    assert look() == []
    row = system.ledger.releases.get(release)
    page = next(system.home.rglob(f"reports/{release}.html")).read_text()
    assert "Stages and status reports" in page
    assert page.count("every 7 d for 7 d") >= 2
    assert len(reports_of(system, release)) == 3
    verdicts = [(one["stage"], one["verdict"]) for one in details_of(system.ledger, row)["stages"]]
    assert verdicts == [("every 24 h for 2 d", "stable"), ("every 7 d for 7 d", "stable")]
    assert row.state == State.STABLE


def test_looks_that_were_missed_are_made_up_by_one_and_count_against_their_stage(
    system: SmallSystem, service: Probed, later: Later
) -> None:
    write(system, service, then=[WEEK, {"every": "7d", "for": "28d", "report": False}])
    release = put_stable(system)
    later(days=10)
    told = look()
    assert "coverage 14% < 80%" in told[0], told
    assert looks_of(system, release, "review")[0].findings["missed"] == 6
    verdict = looks_of(system, release, "stage")[0]
    assert (verdict.outcome, verdict.findings["ended"]) == ("unknown", "inconclusive")
    assert "coverage 14%" in alerts_of(system, release)[-1]
    assert "; n: 0 of 30 probes failed; " in alerts_of(system, release)[-1]
    assert "; next at " in alerts_of(system, release)[-1]
    assert look() == []
    later(days=200)
    look()
    assert looks_of(system, release, "review")[1].findings["missed"] == 3
    assert len(reports_of(system, release)) == 1, "the second stage wants none"
    assert system.ledger.releases.get(release).state == State.STABLE


def test_a_later_stage_holds_up_no_release_waits_while_one_is_on_its_way_and_ends_when_it_is_live(
    system: SmallSystem, service: Probed, later: Later
) -> None:
    from tasks.staging import end_replaced

    write(system, service, then=[WEEK])
    old = put_stable(system)
    new = put_under_watch(system, "v3", state=State.MIGRATE)
    later(days=1, minutes=1)
    assert look() == [], "what would be looked at is neither the one nor the other"
    book = system.ledger.releases
    claim = book.seize(new, State.MIGRATE, State.DEPLOY, "the test")
    book.move(claim, State.DEPLOY, State.HEALTH)
    book.move(claim, State.HEALTH, State.WATCHING, live_at=system.ledger.evidence.now())
    book.let_go(claim)
    end_replaced(system.ledger, system.name)
    end_replaced(system.ledger, system.name)
    ended = looks_of(system, old, "review ended")
    assert [one.findings["why"] for one in ended] == [f"{new} (v3) has gone live"]
    assert not any(old in line for line in look())
    assert looks_of(system, old, "review") == []


def test_a_monitor_that_finds_another_release_live_ends_the_later_stages(
    system: SmallSystem, service: Probed, later: Later
) -> None:
    write(system, service, then=[WEEK])
    old = put_stable(system)
    new = put_under_watch(system, "v3")
    told = look()
    assert f"{old}: its later stages end: {new} (v3) has gone live" in told
    assert not any(old in line for line in look())


@pytest.mark.parametrize("automatic", [True, False])
def test_in_a_later_stage_golive_acts_by_itself_only_where_the_release_file_says_so(
    system: SmallSystem, service: Probed, later: Later, prefect_server: str, automatic: bool
) -> None:
    deploy(system)
    check = {"kind": "http", "name": "it answers", "url": service.url, "status": 200, "rollback": True}
    watch_file(
        system,
        service,
        watch={"every": "1h", "for": "24h", "probe": PROBE, "then": [{**WEEK, "rollback": automatic}]},
        rollback={"when": [], "automatic": True},
        checks__watch=[check],
    )
    release = put_stable(system)
    service.status = 500
    later(days=1, minutes=1)
    look()
    assert system.ledger.releases.get(release).state == State.STABLE
    later(days=2, minutes=1)
    told = sweep()
    assert "the watch fires" in alerts_of(system, release)[-1]
    assert "; n: 2 of 2 measurements of it answers failed, the last 2 in a row; " in alerts_of(system, release)[-1]
    if automatic:
        assert "was rolled back to v1" in told[-1]
        assert system.ledger.releases.get(release).state == State.ROLLED_BACK
        later(days=30)
        assert look() == []
    else:
        assert system.ledger.releases.get(release).state == State.STABLE
        assert f"golive rollback {system.name} --release {release}" in alerts_of(system, release)[-1]
        later(days=7, minutes=1)
        assert "check fires" in look()[0]


def test_a_later_look_that_cannot_be_made_is_unknown_and_told(
    system: SmallSystem, service: Probed, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(system, service, then=[WEEK])
    release = put_stable(system)
    monkeypatch.delenv("SHOP_DSN")
    later(days=1, minutes=1)
    assert "could not be looked at: SecretMissing" in look()[0]
    assert [one.outcome for one in looks_of(system, release, "review")] == ["unknown"]
    assert "SecretMissing" in alerts_of(system, release)[0]
    assert "; n: 1 look could not be made; " in alerts_of(system, release)[0]
    assert re.search(r"; next at \S+ \S+ UTC: look again; a person may roll back", alerts_of(system, release)[0])


def test_checks_of_a_moment_are_made_by_the_first_look_from_then_on_and_again_until_they_pass(
    system: SmallSystem, service: Probed, later: Later
) -> None:
    write(system, service, at={"0s": ["the week is fine"], "1h": ["items can be written"]}, every="10h")
    release = put_under_watch(system, left=86400)
    assert look() == [f"{release}: passed"], "at once, although no hour has passed"
    assert look() == []
    later(minutes=59)
    assert look() == []
    later(minutes=61)
    assert look() == [f"{release}: passed"]
    first, second = (one.findings["checks"] for one in looks_of(system, release, "monitor"))
    assert first == {"it answers": "passed", "the week is fine": "passed"}
    assert second == {"it answers": "passed", "items can be written": "passed"}


def test_a_check_of_a_moment_that_fails_is_repeated_and_decides_the_verdict(
    system: SmallSystem, service: Probed
) -> None:
    failing = {"kind": "sql", "name": "the day is fine", "query": "SELECT count(*) FROM pg_class WHERE relname = 'go'"}
    watch_file(
        system,
        service,
        watch={"every": "0s", "for": "24h", "probe": PROBE, "at": {"0s": ["the day is fine"]}},
        rollback={"when": []},
        checks__review=[{**failing, "equals": 1}],
    )
    release = put_under_watch(system)
    for _ in range(2):
        assert look() == [f"{release}: failed"]
    system.sql("CREATE TABLE go (); SELECT 1 AS one")
    for _ in range(2):
        assert look() == [f"{release}: passed"]
    made = ["the day is fine" in one.findings["checks"] for one in looks_of(system, release, "monitor")]
    assert made == [True, True, True, False]


def _backdate(system: SmallSystem, release: str, **by: float) -> None:
    shift = timedelta(**by).total_seconds()
    system.sql(
        f"UPDATE release SET live_at = live_at - interval '{shift} s', "
        f"watch_until = watch_until - interval '{shift} s' WHERE id = '{release}' RETURNING id",
        system.ledger_url,
    )


def test_a_watch_of_which_too_little_is_known_is_extended_before_a_person_is_asked(
    system: SmallSystem, service: Probed
) -> None:
    write(system, service)
    release = put_under_watch(system, left=0.2)
    row = system.ledger.releases.get(release)
    wait_until(lambda: system.ledger.evidence.now() > row.watch_until)
    assert "extended until" in look()[0]
    extended = system.ledger.releases.get(release)
    assert (extended.state, extended.watch_until) == (State.WATCHING, row.watch_until + timedelta(hours=6))
    assert "too little is known for a verdict" in system.ledger.outbox.messages(release)[-1].text
    _backdate(system, release, hours=6)
    assert "no probe came to a result" in look()[0]
    assert system.ledger.releases.get(release).state == State.NEEDS_PERSON


def test_what_has_failed_is_not_waited_for(system: SmallSystem, service: Probed) -> None:
    write(system, service)
    service.status = 500
    release = put_under_watch(system, left=0.2)
    row = system.ledger.releases.get(release)
    wait_until(lambda: system.ledger.evidence.now() > row.watch_until)
    assert "1 of 1 critical checks failed" in look()[0]
    assert system.ledger.releases.get(release).state == State.NEEDS_PERSON
    verdict = looks_of(system, release, "verdict")[0].findings
    assert (verdict["ended"], verdict["stage"], verdict["final"]) == ("inconclusive", "the first 24 h", True)


def test_of_two_looks_at_one_release_at_once_one_is_made(system: SmallSystem, service: Probed) -> None:
    from tasks.monitor import look_after

    write(system, service)
    release = put_under_watch(system)
    system.ledger.leases.take(f"look {release}", "another", 60)
    assert look_after.fn(release).seen == "is being looked at"
    assert looks_of(system, release, "monitor") == []
