"""The guard over releases that are on record as under watch: real ledger, real probes, compressed intervals."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.domain.errors import LedgerError, LedgerUnreachable
from tasks.domain.messages import Note
from tasks.domain.ports import Command, RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, wait_until
from tests.systems import run, without_prefect
from tests.watched import (
    EVERY,
    Probed,
    alerts_of,
    deploy,
    end_watch,
    guard_process,
    guarding,
    kill_wait,
    moves_of,
    probed,
    probes_of,
    put_under_watch,
    second_system,
    watch_file,
)


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, service: Probed) -> Iterator[SmallSystem]:
    """A small system whose release file has a probe; v2 is there to be released."""
    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    try:
        system.add_version("v2")
        watch_file(system, service)
        yield system
    finally:
        system.close()


def state(system: SmallSystem, release_id: str) -> str:
    return str(system.ledger.releases.get(release_id).state)


@pytest.mark.parametrize("stage", [State.WATCHING, State.HEALTH])
def test_an_outage_is_rolled_back_once_and_the_guard_ends(system: SmallSystem, service: Probed, stage: State) -> None:
    """Also before it is live: the triggers are armed from the first change of production on."""
    deploy(system)
    release = put_under_watch(system, state=stage)
    with guarding() as ended:
        wait_until(lambda: len(probes_of(system, release)) > 5)
        service.status = 500
        wait_until(lambda: state(system, release) == State.ROLLED_BACK, 40)
    assert ended == [1]
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    assert system.serving() == "v1"
    assert system.ledger.leases.seen("guard")[2] is False
    row = system.ledger.releases.get(release)
    assert row.automatic_rollback_at is not None
    judged = [look.source for look in system.ledger.evidence.looks(release)]
    assert [one for one in judged if one in {"guard", "monitor"}] == ["guard"]
    again = [one for one in system.ledger.evidence.probes(release) if one.source == "again"]
    assert again, "nothing looked again between two ticks that failed"
    assert {one.outcome for one in again if one.at > row.automatic_rollback_at - timedelta(seconds=0.5)} <= {"failed"}


def test_errors_are_confirmed_and_rolled_back(system: SmallSystem, service: Probed) -> None:
    watch_file(system, service, rollback={"when": [{"kind": "errors", "above": "20%", "for": "1s"}]})
    deploy(system)
    release = put_under_watch(system)
    service.failing_share = [200, 500]
    with guarding():
        wait_until(lambda: state(system, release) == State.ROLLED_BACK, 40)
    assert re.search(r"automatic: errors .*; n: \d+ of \d+ probes failed", system.notes(release))


def test_errors_that_are_over_are_not_acted_on(system: SmallSystem, service: Probed) -> None:
    from tasks import watching
    from tasks.domain import judging
    from tasks.domain.triggers import Alarm, Finding

    release = put_under_watch(system)
    watched = watching.observe(system.ledger.releases.get(release))
    finding = Finding("errors", Alarm.FIRES, "too many")
    holds, probes = watching.confirm(watched, finding)
    assert not holds
    assert len(probes) == judging.ERROR_CONFIRMATIONS
    service.status = 500
    holds, probes = watching.confirm(watched, finding)
    assert holds
    assert len(probes) == 1


def test_a_person_is_asked_once_where_golive_may_not_act(system: SmallSystem, service: Probed) -> None:
    watch_file(system, service, rollback={"when": [{"kind": "down", "for": "500ms"}], "automatic": False})
    release = put_under_watch(system)
    service.status = 500
    with guarding() as ended:
        wait_until(lambda: state(system, release) == State.NEEDS_PERSON)
    assert ended == [1]
    assert moves_of(system, release)[-2:] == [State.WATCHING, State.NEEDS_PERSON]
    replies = [one.text for one in system.ledger.outbox.messages(release) if one.kind == "reply" and "down" in one.text]
    assert len(replies) == 1
    assert re.search(r"; n: \d+ probes? in a row failed, of \d+ due", replies[0])


def test_nobody_is_asked_about_a_release_that_is_being_rolled_back_by_then(
    system: SmallSystem, service: Probed
) -> None:
    """A person may have begun while a trigger was confirmed; that rollback must not lose its release."""
    from flows.answer import answer
    from tasks.watching import Fired

    release = put_under_watch(system)
    system.ledger.releases.seize(release, State.WATCHING, State.ROLLING_BACK, "elsewhere:1:ann", note="ann: down")
    said = run(answer(Fired(release, system.name, "down: for long", "guard", automatic=False)))
    assert "is rolling_back" in said
    assert moves_of(system, release)[-1] == State.ROLLING_BACK


def test_a_rollback_that_fails_is_not_tried_again_and_the_others_stay_guarded(
    system: SmallSystem, service: Probed
) -> None:
    with probed() as healthy:
        second_system(system, "store", healthy)
        # Nothing serves, so there is no version to go back to.
        doomed, other = put_under_watch(system), put_under_watch(system, name="store")
        service.status = 500
        with guarding() as ended:
            wait_until(lambda: state(system, doomed) == State.NEEDS_PERSON, 30)
            before = len(probes_of(system, other))
            wait_until(lambda: len(probes_of(system, other)) > before + 30)
            assert moves_of(system, doomed).count(State.ROLLING_BACK) == 1
            end_watch(system, other)
    assert ended == [1]
    made = probes_of(system, other)
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(made)]
    assert max(gaps) < 20 * EVERY, "the other release was left alone during the rollback"


def test_a_release_that_cannot_be_guarded_keeps_nobody_from_guarding_the_others(
    system: SmallSystem, service: Probed
) -> None:
    with probed() as healthy:
        second_system(system, "store", healthy)
        hindered, other = put_under_watch(system), put_under_watch(system, name="store")
        os.environ.pop("SHOP_DSN")  # which both name: nothing can be looked at
        with guarding():
            wait_until(lambda: len(alerts_of(system, hindered)) > 0)
            os.environ["SHOP_DSN"] = system.dsn
            wait_until(lambda: len(probes_of(system, hindered)) > 3 and len(probes_of(system, other)) > 3)
            end_watch(system, hindered)
            end_watch(system, other)
    assert len(alerts_of(system, hindered)) == 1


def test_files_are_read_a_few_at_a_time_and_messages_of_each_go_out_as_they_come(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file at each reading: the guard does not end for having found nothing to probe in the first."""
    monkeypatch.setattr("tasks.desk.READ_FOR", 0.0)
    monkeypatch.setattr("tasks.guarding.DELIVER_EVERY", 0.2)
    watch_file(system, service, rollback={"when": []})
    with probed() as healthy:
        second_system(system, "store", healthy)
        store = put_under_watch(system, name="store")
        watch_file(system, service, watch={"every": "1h", "for": "24h"}, rollback={"when": []})
        second_system(system, "unprobed", healthy)
        unprobed = put_under_watch(system, name="unprobed")
        watch_file(system, service, rollback={"when": []})
        shop = put_under_watch(system)
        outbox = system.ledger.outbox
        with guarding():
            for _ in range(2):
                wait_until(lambda: not any(outbox.waits("console", name) for name in ("shop", "store")), 60)
                count = len(probes_of(system, store))
                wait_until(lambda seen=count: len(probes_of(system, store)) > seen + 3, 60)
                for release in (shop, store):
                    system.ledger.releases.tell(release, Note("reply", "one more", {}))
            wait_until(lambda: not any(outbox.waits("console", name) for name in ("shop", "store")), 60)
            for release in (unprobed, store, shop):
                end_watch(system, release)
    assert len(probes_of(system, shop)) > 0
    assert not probes_of(system, unprobed)


def test_a_probe_that_the_version_before_could_not_pass_counts_only_once_live(
    system: SmallSystem, service: Probed
) -> None:
    service.status = 500
    release = put_under_watch(system, state=State.DEPLOY)
    system.ledger.evidence.baseline(release, "it answers", {"latencies": []})
    with guarding() as ended:
        wait_until(lambda: len(probes_of(system, release)) > 25)
        assert state(system, release) == State.DEPLOY
        system.ledger.releases.seize(release, State.DEPLOY, State.NEEDS_PERSON, "the test")
    assert ended == [0]


@pytest.mark.parametrize("own", [True, False], ids=["golive's own ledger", "another ledger"])
def test_probes_are_kept_while_the_ledger_is_away_and_written_once(
    open_directory: Path, pg_server: RunningServer, service: Probed, own: bool
) -> None:
    """The ledger's PostgreSQL is killed with all its processes; golive's own is started again by the guard."""
    from tasks.adapters.pg_server import EmbeddedServer
    from tasks.context import ledger

    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    place = open_directory / "golive" / "ledger"
    server = EmbeddedServer(place)
    try:
        system.ledger.close()
        ledger.cache_clear()
        server.ensure_running()
        os.environ["GOLIVE_LEDGER_URL"] = server.dsn("golive")
        if own:
            del os.environ["GOLIVE_LEDGER_URL"]
        system.add_version("v2")
        watch_file(system, service, rollback={"when": []})
        release = put_under_watch(system)
        with guarding() as ended:
            wait_until(lambda: len(probes_of(system, release)) > 5)
            _kill_server(place)
            before = service.asked
            if not own:
                wait_until(lambda: service.asked > before + 25)
                assert not ended
                server.ensure_running()
            wait_until(lambda: _asked_again(system, release, before + 25), 40)
            end_watch(system, release)
        made = system.ledger.evidence.probes(release)
        assert len({one.at for one in made}) == len(made)
        # The test itself asks nothing: each question is a probe, up to those under way at the end.
        assert service.asked - len(made) <= 2
        assert system.ledger.leases.seen("guard")[2] is False
    finally:
        system.close()
        server.stop()


def test_probes_are_written_once_though_the_ledger_goes_away_right_after_each_writing(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.desk import Desk, News

    read, readings = Desk.read, 0

    def reading(self: Desk, known: Iterable[str], *, may_end: bool) -> News:
        nonlocal readings
        readings += 1
        if readings % 2 == 0:
            raise LedgerUnreachable("away", do="wait")
        return read(self, known, may_end=may_end)

    monkeypatch.setattr(Desk, "read", reading)
    monkeypatch.setattr("tasks.guarding.READ_EVERY", 0.2)
    release = put_under_watch(system)
    with guarding():
        wait_until(lambda: readings > 5 and len(probes_of(system, release)) > 10, 60)
        end_watch(system, release)
    made = [one.at for one in probes_of(system, release)]
    assert len(set(made)) == len(made)


def _asked_again(system: SmallSystem, release: str, count: int) -> bool:
    try:
        return len(probes_of(system, release)) > count
    except LedgerError:
        return False


def _kill_server(directory: Path) -> None:
    postmaster = int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        with suppress(ProcessLookupError):  # a session may have ended by itself
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (postmaster, *children)))


def test_of_two_guards_one_stands(system: SmallSystem, service: Probed) -> None:
    release = put_under_watch(system)
    with guard_process(system.home) as first:
        wait_until(lambda: len(probes_of(system, release)) > 3, 40)
        with guard_process(system.home) as second:
            assert second.wait(40) == 0
            assert first.poll() is None
        end_watch(system, release)
        assert first.wait(20) == 0


def test_a_guard_that_was_presumed_dead_and_wakes_up_does_not_act(system: SmallSystem, service: Probed) -> None:
    """It sleeps for longer than its lease, while another guard sees the outage and asks a person; then it wakes up."""
    watch_file(system, service, rollback={"when": [{"kind": "down", "for": "1s"}], "automatic": False})
    release = put_under_watch(system)
    with guard_process(system.home, "desk.LEASE_SECONDS, guarding.READ_EVERY = 1.0, 0.3") as sleeper:
        wait_until(lambda: len(probes_of(system, release)) > 3, 40)
        service.status = 500
        wait_until(lambda: len([one for one in probes_of(system, release) if one.outcome == "failed"]) > 3)
        sleeper.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        with guarding() as ended:
            wait_until(lambda: system.ledger.leases.seen("guard")[0].split(":")[1] == str(os.getpid()))
            sleeper.send_signal(signal.SIGCONT)
            wait_until(lambda: state(system, release) == State.NEEDS_PERSON, 30)
        assert ended == [1]
        assert sleeper.wait(20) == 0
    last = system.ledger.releases.moves(release)[-1]
    assert last.by.split(":")[1] == str(os.getpid())
    assert len([look for look in system.ledger.evidence.looks(release) if look.source == "guard"]) == 1


def test_the_guard_rolls_back_without_prefect_and_the_command_starts_without_it(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ensure_guard` starts the command; Prefect's server is away all the time."""
    from tasks.guard import ensure_guard
    from tests.watched import NO_PREFECT

    deploy(system)
    release = put_under_watch(system)
    monkeypatch.setenv("PREFECT_API_URL", NO_PREFECT)
    log = system.home / "golive" / "guard.log"
    assert ensure_guard.fn().startswith("started as process")
    assert ensure_guard.fn() == "on its way"
    pid = int((system.home / "golive" / "guard.pid").read_text())
    try:
        wait_until(lambda: len(probes_of(system, release)) > 3, 60)
        assert ensure_guard.fn() == "alive"
        service.status = 500
        wait_until(lambda: state(system, release) == State.ROLLED_BACK, 60)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30)
    except BaseException:
        sys.stderr.write(log.read_text()[-5000:])
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
        raise
    assert system.serving() == "v1"


def test_no_guard_is_started_where_nothing_can_be_probed(system: SmallSystem, service: Probed) -> None:
    from tasks.guard import ensure_guard

    assert ensure_guard.fn() == "nothing to guard"
    watch_file(system, service, watch={"every": "1h", "for": "24h"}, rollback={"when": []})
    put_under_watch(system)
    assert ensure_guard.fn() == "nothing to guard"
    assert not (system.home / "golive" / "guard.pid").exists()


@pytest.mark.parametrize("noticed_by", ["monitor", "keep-guard", "keeper"])
def test_a_guard_that_was_killed_is_replaced_and_people_are_told_once(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch, noticed_by: str
) -> None:
    """By the flows themselves; what they would start is counted instead."""
    from deployments.keeper import Keeper
    from flows.keep_guard import keep_guard
    from flows.monitor import monitor
    from tasks.adapters.host import LocalHost
    from tasks.settings import Settings

    keeper = Keeper(Settings.from_environment())
    release = put_under_watch(system)
    started: list[str] = []

    def spawn(_host: object, command: Command, _log: Path) -> int:
        assert alerts_of(system, release), "it was started before the death was on record"
        started.append(command.argv[-1])
        return os.getpid()

    def notice() -> None:
        if noticed_by == "keeper":
            keeper.look()
            return
        with without_prefect():
            run(keep_guard() if noticed_by == "keep-guard" else monitor())

    monkeypatch.setattr(LocalHost, "spawn", spawn)
    with guard_process(system.home) as process:
        wait_until(lambda: len(probes_of(system, release)) > 3, 40)
        notice()
        kill_wait(process)
    # At once, not only when the lease has run out: the process is known to have ended.
    assert not started
    notice()
    notice()
    assert started == ["guard"]
    assert ["guard has died" in text for text in alerts_of(system, release)].count(True) == 1
