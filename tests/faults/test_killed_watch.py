"""A watch whose guard, monitor and ledger are killed at moments drawn from a seed: it goes on, and acts exactly once.

Every few rounds the service fails and stays so, and what is killed then is killed around the rollback.
``GOLIVE_KILL_ROUNDS`` says how many rounds each seed is given, ``GOLIVE_KILL_SEEDS`` which seeds there are (``1,2,3``).
With ``GOLIVE_KILL_PREFECT=1`` all that ``golive up`` runs is what is killed, Prefect's server and worker too; a round
then takes a minute.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.pg_server import EmbeddedServer
from tasks.domain.errors import GoliveError
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, wait_until
from tests.watch_nursery import PrefectWatch, WatchNursery, a_watch_nursery, a_watch_under_prefect
from tests.watched import Probed, alerts_of, deploy, moves_of, probed, probes_of, put_under_watch, second_system
from tests.watched import watch_file as write_file

ROUNDS = int(os.environ.get("GOLIVE_KILL_ROUNDS", "3"))
SEEDS = [int(one) for one in os.environ.get("GOLIVE_KILL_SEEDS", "1").split(",")]
WITH_PREFECT = os.environ.get("GOLIVE_KILL_PREFECT") == "1"
KINDS = ("guard", "ledger", "sweep", "guard and ledger", "guard and sweep")
IF_PREFECT = (
    "server", "guard and server", "worker", "guard and worker", "sweep and worker", "server and worker",
    "guard and keeper",
)  # fmt: skip
WITHIN = 300.0 if WITH_PREFECT else 120.0

pytestmark = pytest.mark.timeout(300 + 300 * ROUNDS if WITH_PREFECT else 60 + 90 * ROUNDS)


@dataclass
class Watch:
    """Two systems under watch: ``shop``, whose service fails now and then, and ``store``, which is always well."""

    system: SmallSystem
    service: Probed
    place: Path
    store: str
    shop: str = ""
    guards_killed: int = 0
    seen: set[int] = field(default_factory=set)

    def kill(self, what: str, nursery: WatchNursery | PrefectWatch) -> None:
        """Kill what a round is about, after a look at what is on record."""
        for one in what.split(" and "):
            if one == "ledger":
                self.server_killed()
            elif nursery.kill(one) and one == "guard":
                self.guards_killed += 1

    def server_killed(self) -> None:
        """Kill the ledger's PostgreSQL with what it has begun."""
        pid = int((self.place / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def remember(self) -> None:
        """Take note of the probes that are on record: they must stay."""
        for release in (self.shop, self.store):
            self.seen |= {one.id for one in probes_of(self.system, release)}

    def is_guarded(self) -> bool:
        """Tell whether both are probed by a guard that is alive, right now."""
        from tasks.beside import guard_is_alive

        def newest() -> list[Any]:
            return [probes_of(self.system, one)[-1:] for one in (self.store, self.shop)]

        before = newest()
        time.sleep(1.0)
        return guard_is_alive(self.system.ledger) and all(
            new and new[-1].id not in {one.id for one in old} for old, new in zip(before, newest(), strict=True)
        )


def holds(condition: Callable[[], object]) -> Callable[[], bool]:
    """Return a condition that does not hold while the ledger is away."""

    def tried() -> bool:
        try:
            return bool(condition())
        except GoliveError:
            return False

    return tried


@pytest.fixture
def watch(open_directory: Path, pg_server: RunningServer) -> Iterator[Watch]:
    """Both systems, v1 deployed, v2 of ``store`` under watch, on a ledger that golive runs by itself."""
    from tasks.context import ledger

    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    server = EmbeddedServer(open_directory / "golive" / "ledger")
    try:
        with probed() as service, probed() as healthy:
            system.ledger.close()
            ledger.cache_clear()
            server.ensure_running()
            del os.environ["GOLIVE_LEDGER_URL"]
            system.add_version("v2")
            system.write({"rollout.ready": {"every": "50ms", "within": "60s"}})
            write_file(system, service, watch={**WATCHED, "every": "200ms"}, rollback=DOWN)
            deploy(system)
            second_system(system, "store", healthy)
            yield Watch(system, service, open_directory / "golive" / "ledger", put_under_watch(system, name="store"))
    finally:
        system.close()
        server.stop()


WATCHED = {"for": "24h", "probe": {"every": "500ms", "check": "it answers"}}
DOWN = {"when": [{"kind": "down", "for": "4s"}], "automatic": True}
"""An outage is seven answers in a row that fail or take longer than half a second: no busy machine comes to that."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_watch_that_is_killed_at_random_goes_on_loses_nothing_and_rolls_back_once(watch: Watch, seed: int) -> None:
    drawn, kinds = random.Random(seed), (*KINDS, *IF_PREFECT) if WITH_PREFECT else KINDS
    fired = []
    with (a_watch_under_prefect if WITH_PREFECT else a_watch_nursery)(watch.system.home) as nursery:
        for number in range(ROUNDS):
            if not watch.shop:
                watch.shop = new_release(watch, f"v{number + 10}")
            wait_until_or_tell(holds(watch.is_guarded), nursery)
            watch.remember()
            what = kinds[(number + seed) % len(kinds)]
            sys.stderr.write(f"round {number + 1}: {what}{', while the service fails' if number % 2 else ''}\n")
            if number % 2:
                watch.service.status = 500
                time.sleep(drawn.uniform(0, 8))
                watch.kill(what, nursery)
                wait_until_or_tell(holds(lambda: is_back(watch)), nursery)
                watch.service.status = 200
                fired.append(watch.shop)
                watch.shop = ""
            else:
                time.sleep(drawn.uniform(0, 1))
                watch.kill(what, nursery)
        if not watch.shop:
            watch.shop = new_release(watch, "v99")
        wait_until_or_tell(holds(watch.is_guarded), nursery)
        watch.remember()
        judge(watch, fired)


def new_release(watch: Watch, version: str) -> str:
    """Put another version of ``shop`` under watch."""
    watch.system.add_version(version)
    made: list[str] = []
    wait_until(holds(lambda: watch.system.ledger.releases.latest()), WITHIN)
    made.append(put_under_watch(watch.system, version))
    return made[0]


def wait_until_or_tell(condition: Callable[[], bool], nursery: WatchNursery | PrefectWatch) -> None:
    try:
        wait_until(condition, WITHIN)
    except TimeoutError as error:
        raise AssertionError(nursery.said) from error


def is_back(watch: Watch) -> bool:
    """Tell whether the release that failed was taken back, without a person, also if the rollback was killed."""
    return bool(watch.system.ledger.releases.get(watch.shop).state == State.ROLLED_BACK)


def judge(watch: Watch, fired: list[str]) -> None:
    """Require that all was done exactly once, and that nothing that was seen is lost."""
    system, evidence = watch.system, watch.system.ledger.evidence
    on_record = {one.id for release in [watch.shop, watch.store, *fired] for one in evidence.probes(release)}
    assert watch.seen <= on_record
    for release in fired:
        assert moves_of(system, release).count(State.ROLLING_BACK) == 1
        assert moves_of(system, release)[-1] == State.ROLLED_BACK
        made = [one.at for one in evidence.probes(release)]
        assert len(set(made)) == len(made)
    for release in (watch.store, watch.shop):
        assert moves_of(system, release)[-1] == State.WATCHING
        assert State.ROLLING_BACK not in moves_of(system, release)
    deaths = [text for text in alerts_of(system, watch.store) if "guard has died" in text]
    # A machine that is busy with all of Prefect may keep a guard from its lease for half a minute.
    assert len(deaths) >= watch.guards_killed if WITH_PREFECT else len(deaths) == watch.guards_killed
    if fired:
        assert system.serving() == "v1"
