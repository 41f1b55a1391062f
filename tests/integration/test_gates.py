"""Gates over releases that are on record as having come that far: real ledger, real checks, a clock moved on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from tasks.domain.errors import NotFound, Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.gatekeeping import acknowledge, see_to_gates, watch_longer, what_follows
from tasks.reporting.facts import gather
from tasks.signing import observed, roles_missing, shown_before, sign
from tests.flows import SmallSystem, a_system
from tests.systems import without_prefect
from tests.waiting import end_active, live_and_asked, messages, waiting_for_go
from tests.watched import (
    Later,
    Probed,
    alerts_of,
    deploy,
    moves_of,
    probe_all_along,
    probed,
    put_under_watch,
    watch_file,
)

SIGN_OFF: dict[str, Any] = {
    "go": [{"role": "dba", "count": 2}, "lead"],
    "live": ["ops"],
    "stable": ["owner"],
    "remind": "4h",
    "people": {"dba": ["ann", "bob", "eve"]},
    "starter_may_sign": False,
}


@pytest.fixture(scope="module")
def service() -> Iterator[Probed]:
    with probed() as service:
        yield service


@pytest.fixture(scope="module")
def made(pg_server: RunningServer) -> Iterator[SmallSystem]:
    with a_system(pg_server) as system:
        system.add_version("v2")
        with without_prefect():
            deploy(system)
        yield system


@pytest.fixture
def system(made: SmallSystem, service: Probed) -> Iterator[SmallSystem]:
    """A system that v1 serves, whose releases need signatures; what is left of a release is ended afterwards."""
    service.status = 200
    made.file = made.plain_file()
    probe = {"every": "100ms", "check": "it answers"}
    watch_file(made, service, sign_off=dict(SIGN_OFF), rollback={"when": [], "automatic": True})
    made.write({"watch": {"every": "1h", "for": "24h", "probe": probe}})
    with made.in_environment(), without_prefect():
        yield made
        end_active(made)


def give(release: str, role: str, person: str, decision: Any = "approve", reason: str = "", **more: str) -> str:
    return sign(release, role=role, person_name=person, decision=decision, reason=reason, **more)


def follow(release: str) -> str:
    from flows.approve import follow_up

    return asyncio.run(follow_up(release))


def kept(release: str) -> list[str]:
    """See to all gates, as the monitor does, and return what that came to for one release."""
    return [one for one in see_to_gates() if one.startswith(release)]


def look(release: str) -> Any:
    from tasks.monitor import look_after

    return look_after.fn(release)


# -- go ---------------------------------------------------------------------------------------------------------------


def test_each_role_signs_as_often_as_it_is_asked_and_by_those_who_may(
    system: SmallSystem, caplog: pytest.LogCaptureFixture
) -> None:
    release = waiting_for_go(system)
    assert roles_missing(observed(release)) == ["dba", "lead"]
    with pytest.raises(Refused, match="mallory may not sign as dba"):
        give(release, "dba", "mallory")
    with pytest.raises(Refused, match="Test started"):
        give(release, "lead", "Test")
    with pytest.raises(NotFound, match="no role 'ops' signs here"):
        give(release, "ops", "ann")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: give(release, "dba", name), ["ann", "Ann", "ann ", "ann"]))
    assert len(system.ledger.gates.signatures(release, "go")) == 1
    assert roles_missing(observed(release)) == ["dba", "lead"]
    with pytest.raises(Refused, match="what was shown is not what it is any more"):
        give(release, "dba", "bob", via="form", shown="0" * 12)
    give(release, "dba", "bob", via="form", shown=shown_before(release, "dba", "").hash[:12])
    assert roles_missing(observed(release)) == ["lead"]
    logging.getLogger("golive").addHandler(caplog.handler)
    assert not what_follows(release).goes_on
    logging.getLogger("golive").removeHandler(caplog.handler)
    assert caplog.messages[-1:] == [f"{release} awaits the signature of lead"], "the log of the run says so"
    assert gather(system.ledger, release).verdict.why == "awaits the signature of lead", "and so does the report"
    with pytest.raises(Refused, match="a waive without a reason"):
        give(release, "lead", "boss", "waive")
    give(release, "lead", "boss", "waive", "the lead is ill")
    assert what_follows(release).goes_on
    (request,) = messages(system, release, "request")
    assert "awaits 2 of 2 signatures of dba, the signature of lead" in request
    for words in ("way back ", "backup ", "migration ", "longest lock ", "checks "):
        assert words in request, "what they sign for is shown to them"
    assert "lead: waived by boss" in messages(system, release, "request_edit")[-1]
    assert system.ledger.gates.has_passed(release, "go")


def test_the_command_line_asks_in_a_terminal_and_signs_for_just_what_it_has_shown(
    system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments import releasing
    from deployments.cli import app

    release = waiting_for_go(system)
    monkeypatch.setattr(releasing, "connect_prefect", lambda: None)
    monkeypatch.setattr(releasing, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))

    def answer(said: str, *more: str) -> Any:
        return CliRunner().invoke(app, ["approve", release, "--role", "dba", "--by", "bob", *more], input=said)

    assert answer("n\n").exit_code != 0
    assert system.ledger.gates.signatures(release, "go") == []
    asked = answer("y\n")
    assert "way back: " in asked.output
    assert "sign for that as dba? [y/N]" in asked.output
    [signed] = system.ledger.gates.signatures(release, "go")
    assert f"for: {signed.plan_hash[:12]}" in asked.output
    assert "[y/N]" not in answer("", "--yes").output


def test_a_waiver_needs_somebody_who_may_where_the_role_has_a_list(system: SmallSystem) -> None:
    release = waiting_for_go(system)
    with pytest.raises(Refused, match="boss may not waive the signature of dba"):
        give(release, "dba", "boss", "waive", "no time")
    system.write({"sign_off": {**SIGN_OFF, "waivers": ["boss"]}})


def test_a_signature_is_for_what_was_shown(system: SmallSystem) -> None:
    release = waiting_for_go(system)
    shown = system.ledger.gates.opened(release, "go").plan_hash
    system.ledger.evidence.rehearsed(release, "another migration", "restore", {"why": "nothing else is proven"})
    with pytest.raises(Refused, match="what was shown is not what it is any more"):
        give(release, "dba", "ann", shown=shown)
    assert system.ledger.gates.signatures(release, "go") == []
    assert len(messages(system, release, "request")) == 2, "people are asked anew"
    assert "is asked anew" in messages(system, release, "request_edit")[-1]


def test_who_is_asked_is_reminded_until_somebody_sees_to_it_and_asked_anew_when_it_expires(
    system: SmallSystem, later: Later
) -> None:
    release = waiting_for_go(system)
    assert kept(release) == []
    later(hours=4, minutes=1)
    assert kept(release) == [f"{release}: reminded of go"]
    assert "still awaits 2 of 2 signatures of dba" in messages(system, release, "reminder")[0]
    later(hours=8, minutes=2)
    asked = system.ledger.gates.opened(release, "go")
    acknowledge(asked, "ann")
    assert kept(release) == []
    later(hours=12, minutes=3)
    assert kept(release) == [f"{release}: reminded of go"], "an acknowledgement expires"
    later(hours=24, minutes=1)
    assert kept(release) == [f"{release}: asked anew at go"]
    assert system.ledger.gates.opened(release, "go").nonce != asked.nonce


def test_a_request_is_over_when_the_release_is(system: SmallSystem) -> None:
    release = waiting_for_go(system)
    system.ledger.releases.seize(release, State.AWAITING_GO, State.STOPPED, "the test")
    assert kept(release) == [f"{release}: the request at go is over"]
    assert "is over: the release is stopped" in messages(system, release, "request_edit")[-1]
    assert kept(release) == []
    with pytest.raises(Refused, match="is stopped"):
        give(release, "dba", "ann")


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_what_a_killed_process_left_undone_after_the_last_signature_is_gone_on_with(
    system: SmallSystem, monkeypatch: pytest.MonkeyPatch, decision: str
) -> None:
    started: list[tuple[str, ...]] = []

    def start(*words: str, log: str) -> int:
        assert log.endswith(".log")
        started.append(words)
        return 4711

    monkeypatch.setattr("tasks.gatekeeping.start_golive", start)
    release = waiting_for_go(system)
    for role, person in (("dba", "ann"), ("dba", "bob")):
        give(release, role, person)
    assert kept(release) == []
    give(release, "lead", "eve", decision, "for a test")
    assert kept(release) == [f"{release}: goes on as process 4711"]
    assert kept(release) == [f"{release}: is on its way"]
    assert started == [("resume", release)]


def test_where_nobody_was_asked_because_the_process_died_the_monitor_asks(system: SmallSystem) -> None:
    release = put_under_watch(system, state=State.AWAITING_GO)
    system.ledger.releases.let_go(system.ledger.releases.take(release, "the test", force=True))
    kept(release)
    assert len(messages(system, release, "request")) == 1


# -- live and stable --------------------------------------------------------------------------------------------------


def test_a_watch_that_nobody_signed_is_not_stable_and_is_watched_on_until_a_person_is_asked(
    system: SmallSystem, later: Later
) -> None:
    release = live_and_asked(system, left=1)
    probe_all_along(system, release)
    later(seconds=2)
    assert look(release).seen == "stable by the numbers; awaits the signature of ops, the signature of owner"
    row = system.ledger.releases.get(release)
    assert (row.state, row.verdict) == ("watching", None)
    give(release, "ops", "sam")
    assert roles_missing(observed(release)) == ["owner"]
    later(hours=25)
    assert "nobody gave the signature of owner" in look(release).seen
    row = system.ledger.releases.get(release)
    assert (row.state, row.verdict) == ("needs_person", "inconclusive")


def test_with_all_signatures_the_watch_ends_stable_at_once(system: SmallSystem, later: Later) -> None:
    release = live_and_asked(system, left=1)
    probe_all_along(system, release)
    give(release, "ops", "sam")
    later(seconds=-60)  # however slow this machine is, the watch is not over yet
    assert follow(release) == f"{release}: nothing is signed"
    later(seconds=2)
    look(release)
    give(release, "owner", "kim", shown=system.ledger.gates.opened(release, "stable").plan_hash)
    follow(release)
    assert system.ledger.releases.get(release).state == State.STABLE
    assert [(one.gate, one.role, one.person) for one in system.ledger.evidence.signatures(release)] == [
        ("live", "ops", "sam"),
        ("stable", "owner", "kim"),
    ]
    assert all(len(one.plan_hash) == 64 for one in system.ledger.evidence.signatures(release))


def test_a_gate_that_was_passed_stays_so(system: SmallSystem, later: Later) -> None:
    release = live_and_asked(system)
    give(release, "ops", "sam")
    later(hours=30)
    give(release, "ops", "kim")
    assert roles_missing(observed(release)) == []
    assert len(messages(system, release, "request")) == 1


def test_a_no_to_what_is_live_takes_it_back_even_if_the_process_that_took_it_died(system: SmallSystem) -> None:
    release = live_and_asked(system)
    give(release, "ops", "sam", "reject", "customers complain")
    from tasks.monitor import due_releases

    assert release in due_releases.fn()
    looked = look(release)
    assert looked.fired is not None
    assert "sam (ops) said no: customers complain" in looked.fired.seen
    assert f"{release} was rolled back to v1" in follow(release)
    assert moves_of(system, release)[-1] == State.ROLLED_BACK
    assert "sam (ops) said no" in system.notes(release)
    assert system.serving() == "v1"


def test_a_no_at_the_end_asks_a_person(system: SmallSystem, later: Later) -> None:
    release = live_and_asked(system, left=1)
    probe_all_along(system, release)
    give(release, "ops", "sam")
    later(seconds=2)
    look(release)
    give(release, "owner", "kim", "reject", "the numbers do not add up")
    follow(release)
    assert moves_of(system, release)[-1] == State.NEEDS_PERSON
    assert "the numbers do not add up" in system.notes(release)


def test_the_triggers_stay_armed_while_a_gate_waits(system: SmallSystem, service: Probed) -> None:
    release = live_and_asked(system)
    service.status = 500
    look(release)
    assert "it answers" in alerts_of(system, release)[0]


def test_a_person_may_let_the_watch_go_on_for_longer(system: SmallSystem) -> None:
    release = live_and_asked(system)
    before: datetime = system.ledger.releases.get(release).watch_until
    assert "by sam" in watch_longer(release, "sam")
    after = system.ledger.releases.get(release).watch_until
    assert after - before == timedelta(hours=6)
    from tasks.closing import _extension

    assert _extension(observed(release)) is not None, "golive's own extension is still there"


def test_a_later_stage_asks_for_its_review_and_holds_nothing_up(system: SmallSystem, later: Later) -> None:
    probe = {"every": "100ms", "check": "it answers"}
    week = {"every": "7d", "for": "7d", "sign_off": ["owner", "support"]}
    system.write({"watch": {"every": "1h", "for": "24h", "probe": probe, "then": [week]}, "sign_off": {}})
    release = put_under_watch(system, left=0)
    system.ledger.releases.seize(release, State.WATCHING, State.STABLE, "the test", verdict="stable")
    later(days=7, minutes=1)
    look(release)
    assert roles_missing(observed(release)) == ["owner", "support"]
    give(release, "owner", "kim")
    give(release, "support", "lou", gate="stage-1")
    assert system.ledger.gates.has_passed(release, "stage-1")
    assert system.ledger.releases.get(release).state == State.STABLE


def test_the_report_tells_who_signed_where_for_what_and_who_waived(system: SmallSystem) -> None:
    release = waiting_for_go(system)
    give(release, "dba", "ann", via="form")
    give(release, "lead", "boss", "waive", "the lead is ill")
    from tasks.report import write_report

    page = Path(write_report(release)).read_text()
    for word in ("ann", "dba, gate go, by form", "waived", "the lead is ill", "lead waived by boss"):
        assert word in page


def test_the_message_of_what_is_run_alone_shows_no_phases(system: SmallSystem) -> None:
    (alone,) = (row for row in system.ledger.releases.latest(limit=1000) if row.scope == "deploy")
    assert messages(system, alone.id, "root") == ["shop v1: running"]


def test_people_are_told_once_a_day_how_a_system_stands(system: SmallSystem, later: Later) -> None:
    from tasks.digest import send_digests

    system.write({"digest": "07:30"})
    release = waiting_for_go(system)
    assert send_digests.fn() == ["shop"]
    assert send_digests.fn() == [], "once a day"
    (told,) = messages(system, release, "digest")
    assert "shop today: v2 is awaiting go" in told
    assert "awaits dba, lead" in told
    later(days=1, minutes=1)
    assert send_digests.fn() == ["shop"]
    system.write({"digest": ""})
