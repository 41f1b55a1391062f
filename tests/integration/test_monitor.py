"""The monitor over releases that are on record as under watch: real ledger, real checks, no waiting for hours."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, wait_until
from tests.systems import run
from tests.watched import (
    Probed,
    alerts_of,
    deploy,
    guarding,
    moves_of,
    probe_all_along,
    put_under_watch,
    second_system,
    watch_file,
)

AT_ONCE = {"every": "0s", "for": "24h", "probe": {"every": "100ms", "check": "it answers"}}
"""A watch in which a look is always due."""


@pytest.fixture
def system(
    open_directory: Path, pg_server: RunningServer, prefect_server: str, service: Probed
) -> Iterator[SmallSystem]:
    system = SmallSystem.make(open_directory, pg_server)
    try:
        for version in ("v2", "v3"):
            system.add_version(version)
        watch_file(system, service, watch=AT_ONCE, rollback={"when": [], "automatic": True})
        yield system
    finally:
        system.close()


def look() -> list[str]:
    from flows.monitor import monitor

    return list(run(monitor()))


def looks_of(system: SmallSystem, release: str, source: str = "monitor") -> list[Any]:
    return list(system.ledger.evidence.looks(release, source))


def test_runs_that_pile_up_look_once_over_the_gap(system: SmallSystem, service: Probed) -> None:
    watch_file(system, service, watch={**AT_ONCE, "every": "1h"}, rollback={"when": []})
    release = put_under_watch(system)
    assert look() == []
    _backdate(system, release, hours=5)
    assert look() == [f"{release}: passed"]
    assert look() == []
    assert len(looks_of(system, release)) == 1


def _backdate(system: SmallSystem, release: str, *, hours: float) -> None:
    system.sql(
        f"UPDATE release SET live_at = live_at - interval '{hours} hours' WHERE id = '{release}' RETURNING id",
        system.ledger_url,
    )


def test_what_was_written_since_the_last_look_is_read_back_however_long_ago_that_was(
    system: SmallSystem, service: Probed
) -> None:
    log = system.home / "app.log"
    log.write_text("")
    answers = {"kind": "http", "name": "it answers", "url": service.url}
    quiet = {"kind": "log", "name": "no errors", "files": [str(log)], "last": "1ms", "may_be_quiet": True}
    watch_file(system, service, watch=AT_ONCE, rollback={"when": []}, checks__watch=[answers, quiet])
    release = put_under_watch(system)
    assert look() == [f"{release}: passed"]
    log.write_text(f"{datetime.now(UTC).isoformat()} ERROR between two looks\n")
    assert look() == [f"{release}: failed"]
    assert look() == [f"{release}: passed"], "it was before the look before"
    wrong, over = alerts_of(system, release)
    assert "; n: 1 of 2 measurements of no errors failed; since " in wrong
    assert "; n: 2 measurements, all passed; since " in over


def test_a_second_run_at_the_same_time_steps_aside_even_in_the_same_process(
    system: SmallSystem, service: Probed
) -> None:
    from tasks.monitor import end_monitoring, may_monitor

    release = put_under_watch(system)
    name = may_monitor()
    assert look() == ["another run is looking; this one steps aside"]
    assert looks_of(system, release) == []
    end_monitoring(name)
    assert look() == [f"{release}: passed"]


def test_a_run_whose_process_has_died_holds_up_nobody(system: SmallSystem, service: Probed) -> None:
    from tasks.context import holder

    host, _pid, _mark = holder().split(":")
    gone = f"{host}:{os.getpid()}:{holder().rpartition(':')[2].partition('.')[0]}.1-abc"
    system.ledger.leases.take("monitor", f"{gone}/1", 600)
    release = put_under_watch(system)
    assert look() == [f"{release}: passed"]


def test_a_watch_that_went_well_ends_stable(system: SmallSystem, service: Probed) -> None:
    deploy(system, "v2")
    release = put_under_watch(system, "v3", left=0.5)
    probe_all_along(system, release)
    wait_until(lambda: system.ledger.evidence.now() > system.ledger.releases.get(release).watch_until)
    assert "0 of 5 probes failed" in look()[0]
    row = system.ledger.releases.get(release)
    assert (row.state, row.verdict) == (State.STABLE, "stable")
    assert row.ended_at is not None
    assert row.holder == ""
    assert look() == []


@pytest.mark.parametrize(
    ("failed", "missing", "why"),
    [(0, 5, "no probe came to a result"), (0, 2, "coverage 60% < 80%"), (1, 0, "error rate 20.00%")],
)
def test_a_watch_of_which_too_little_is_known_asks_a_person(
    system: SmallSystem, service: Probed, failed: int, missing: int, why: str
) -> None:
    watch_file(system, service, watch={**AT_ONCE, "success": {"extensions": 0}}, rollback={"when": []})
    release = put_under_watch(system, left=0.5)
    probe_all_along(system, release, failed=failed, missing=missing)
    wait_until(lambda: system.ledger.evidence.now() > system.ledger.releases.get(release).watch_until)
    look()
    row = system.ledger.releases.get(release)
    assert (row.state, row.verdict) == (State.NEEDS_PERSON, "inconclusive")
    assert why in system.notes(release)


def test_a_trigger_that_fired_earlier_in_the_watch_is_not_forgotten_at_its_end(
    system: SmallSystem, service: Probed
) -> None:
    release = put_under_watch(system, left=0.5)
    probe_all_along(system, release)
    fired = {"findings": [{"kind": "down", "state": "fires", "seen": "down for an hour", "evidence": {}}], "checks": {}}
    system.ledger.evidence.looked(release, "guard", "failed", fired)
    wait_until(lambda: system.ledger.evidence.now() > system.ledger.releases.get(release).watch_until)
    look()
    assert system.ledger.releases.get(release).state == State.NEEDS_PERSON
    assert "down fires: down for an hour" in system.notes(release)


def test_a_system_without_a_probe_is_judged_by_the_looks_of_the_monitor(system: SmallSystem, service: Probed) -> None:
    watch_file(system, service, watch={"every": "1s", "for": "3s", "coverage": 0.5}, rollback={"when": []})
    release = put_under_watch(system, left=3.0)

    def look_at_once() -> bool:
        # A whole run takes longer than the second between two looks where the machine is busy.
        from tasks.monitor import due_releases, look_after

        return all(look_after.fn(one) for one in due_releases.fn())

    wait_until(lambda: look_at_once() and system.ledger.releases.get(release).state != State.WATCHING)
    assert system.ledger.releases.get(release).state == State.STABLE


def test_a_look_that_cannot_be_made_is_unknown_and_told_once_and_the_others_are_looked_at(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_file(system, service, watch=AT_ONCE, rollback={"when": []}, database__dsn="${env:SHOP_OWN_DSN}")
    monkeypatch.setenv("SHOP_OWN_DSN", system.dsn)
    hindered = put_under_watch(system)
    watch_file(system, service, watch=AT_ONCE, rollback={"when": []}, database__dsn="${env:SHOP_DSN}")
    second_system(system, "store", service)
    other = put_under_watch(system, name="store")
    monkeypatch.delenv("SHOP_OWN_DSN")
    for _ in range(2):
        told = look()
        assert f"{hindered}: could not be looked at: SecretMissing" in told[0]
        assert told[1] == f"{other}: passed"
    assert [one.outcome for one in looks_of(system, hindered)] == ["unknown", "unknown"]
    assert len(alerts_of(system, hindered)) == 1
    assert "; n: 1 look could not be made; " in alerts_of(system, hindered)[0]
    monkeypatch.setenv("SHOP_OWN_DSN", system.dsn)
    assert look()[0] == f"{hindered}: passed"
    assert "all checks pass again" in alerts_of(system, hindered)[-1]


@pytest.mark.parametrize("where", [State.BACKUP, State.MIGRATE, State.ROLLING_BACK])
def test_a_release_whose_process_died_is_told_of_once(system: SmallSystem, service: Probed, where: State) -> None:
    at = State.HEALTH if where is State.ROLLING_BACK else where
    release = put_under_watch(system, state=at)
    if where is State.ROLLING_BACK:
        system.ledger.releases.seize(release, at, where, "elsewhere:1:x", automatic_rollback_at=None)
    look()
    assert alerts_of(system, release) == [], "its process is alive"
    _let_die(system, release)
    look()
    look()
    assert len(alerts_of(system, release)) == 1
    assert "golive resume" in alerts_of(system, release)[0]


def _let_die(system: SmallSystem, release: str) -> None:
    system.sql(
        f"UPDATE release SET holder_seen = holder_seen - interval '2 minutes' WHERE id = '{release}' RETURNING id",
        system.ledger_url,
    )


def test_a_check_that_may_roll_back_does_so_when_it_fails_twice_running(system: SmallSystem, service: Probed) -> None:
    deploy(system)
    check = {"kind": "http", "name": "it answers", "url": service.url, "status": 200, "rollback": True}
    watch_file(system, service, watch=AT_ONCE, rollback={"when": []}, checks__watch=[check])
    release = put_under_watch(system)
    service.status = 500
    look()
    assert system.ledger.releases.get(release).state == State.WATCHING
    told = look()
    assert "was rolled back to v1" in told[-1]
    assert system.ledger.releases.get(release).state == State.ROLLED_BACK
    assert system.serving() == "v1"
    counted = "; n: 2 of 2 measurements of it answers failed, the last 2 in a row"
    assert "; n: 1 of 1 measurement of it answers failed; " in alerts_of(system, release)[0]
    assert f"{counted}; since " in alerts_of(system, release)[-1]
    assert "; next: roll back to the previous version, at once" in alerts_of(system, release)[-1]
    assert f"automatic: check: it answers failed twice running{counted}" in system.notes(release)


def test_where_golive_may_not_act_the_monitor_asks_a_person(system: SmallSystem, service: Probed) -> None:
    check = {"kind": "http", "name": "it answers", "url": service.url, "status": 200, "rollback": True}
    watch_file(system, service, watch=AT_ONCE, rollback={"when": [], "automatic": False}, checks__watch=[check])
    release = put_under_watch(system)
    service.status = 500
    look()
    look()
    assert moves_of(system, release)[-1] == State.NEEDS_PERSON
    once, again = alerts_of(system, release)
    by_person = f"golive rollback {system.name} --release {release}"
    assert re.search(rf"; next at \S+ \S+ UTC: look again; a person may roll back: {by_person}", once)
    assert f"; next: wait for a person: {by_person}, or golive accept {release}" in again
    assert look() == []


def test_guard_and_monitor_that_fire_together_roll_back_once(system: SmallSystem, service: Probed) -> None:
    deploy(system)
    down = {"when": [{"kind": "down", "for": "1s"}]}
    watch_file(system, service, watch=AT_ONCE, rollback=down)
    release = put_under_watch(system)
    system.ledger.leases.give_back("guard", "held off by the test")
    service.status = 500
    told: list[str] = []
    ended = threading.Event()

    def look_all_the_time() -> None:
        while not ended.is_set():
            told.extend(look())

    # In the context of the test, which holds what Prefect server is asked; without it Prefect would start another one.
    thread = threading.Thread(target=copy_context().run, args=(look_all_the_time,))
    with guarding() as guard:
        thread.start()
        try:
            wait_until(lambda: system.ledger.releases.get(release).state == State.ROLLED_BACK, 60)
        finally:
            ended.set()
            thread.join(60)
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    assert system.ledger.releases.get(release).state == State.ROLLED_BACK
    assert isinstance(guard[0], int), guard
    assert system.serving() == "v1"


def test_of_answers_to_the_same_trigger_one_rolls_back_and_the_others_say_so(
    system: SmallSystem, service: Probed
) -> None:
    from flows.answer import answer
    from tasks.watching import Fired

    deploy(system)
    release = put_under_watch(system)
    fired = Fired(release, system.name, "down: for long", "a test", automatic=True)
    said: list[str] = []

    def answered() -> None:
        said.append(asyncio.run(answer(fired)))

    threads = [threading.Thread(target=copy_context().run, args=(answered,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(said) == 3
    assert sum("was rolled back to v1" in line for line in said) == 1
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    assert moves_of(system, release)[-1] == State.ROLLED_BACK


def test_what_is_told_is_delivered_at_the_end_of_a_run(system: SmallSystem, service: Probed) -> None:
    release = put_under_watch(system)
    service.status = 500
    look()
    assert "it answers" in alerts_of(system, release)[0]
    assert list(system.ledger.outbox.due("console", system=system.name)) == []
