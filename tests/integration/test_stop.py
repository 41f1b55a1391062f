"""A person ends a release that has not touched production."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tasks.domain.errors import NotFound, Refused, Unreachable
from tasks.domain.release import State
from tasks.release import stop_by_person
from tests.flows import GROW, SmallSystem
from tests.watched import alerts_of, put_under_watch

KILLED_IN_REHEARSAL = """
import asyncio, os, signal
from tasks.rollouts import Rollout

Rollout.wait_ready = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from flows.release import release
asyncio.run(release("shop", "{version}"))
"""


def rehearsing_slots(shop: SmallSystem) -> list[str]:
    """Return the rehearsal's slots that the platform still knows."""
    return [path.name for path in shop.home.rglob("slots/rehearsal-*.conf")]


def test_a_release_killed_in_rehearsal_is_stopped_and_what_it_had_set_up_is_removed(shop: SmallSystem) -> None:
    shop.add_version("v2.1", up={"1_grow": GROW})
    script = KILLED_IN_REHEARSAL.format(version="v2.1")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    release = shop.latest().id
    assert shop.latest().state == State.REHEARSE
    assert rehearsing_slots(shop)
    assert stop_by_person(release, person_name="bob", reason="not today") == "stopped by bob: not today"
    row = shop.latest()
    assert (row.state, row.mutation_started_at, row.holder) == (State.STOPPED, None, "")
    assert "stopped by bob: not today" in shop.notes(release)
    assert rehearsing_slots(shop) == []
    shop.no_scratch_is_left()
    assert shop.ledger.releases.active("shop") is None
    assert shop.serving() == "v1"
    with pytest.raises(Refused, match="is stopped"):
        stop_by_person(release, person_name="bob", reason="once more")


def test_a_release_that_waits_for_its_go_is_stopped_by_a_command(shop: SmallSystem) -> None:
    shop.write({"sign_off": {"go": ["dba"]}})
    shop.add_version("v2.2")
    shop.release("v2.2")
    release = shop.latest().id
    from deployments.cli import app

    done = CliRunner().invoke(app, ["stop", release, "--by", "bob", "--reason", "nobody signs"])
    assert done.exit_code == 0, done.output
    assert f"{release}: stopped by bob: nobody signs" in done.output
    assert shop.latest().state == State.STOPPED
    shop.no_scratch_is_left()


KILLED_RUN = """
import asyncio, os, signal
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from tasks.rollouts import Rollout

if {kill}:
    Rollout.wait_ready = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from flows.release import release
with get_client(sync_client=True) as client:
    run = client.read_flow_run("{run}")
print(asyncio.run(run_flow(release, flow_run=run)))
"""


def test_a_retry_in_prefect_of_a_run_whose_process_was_killed_goes_on_with_its_release(shop: SmallSystem) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry

    from flows.release import release

    def attempt(run: object, *, kill: bool) -> subprocess.CompletedProcess[bytes]:
        script = KILLED_RUN.format(run=run, kill=kill)
        return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=200)

    shop.add_version("v2.4", up={"1_grow": GROW})
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(release, parameters={"system": "shop", "version": "v2.4"})
        done = attempt(run.id, kill=True)
        assert done.returncode == -9, done.stderr.decode()[-2000:]
        begun = shop.latest().id
        assert shop.latest().state == State.REHEARSE
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        done = attempt(run.id, kill=False)
    assert f"{begun} is live and watched" in done.stdout.decode(), done.stderr.decode()[-2000:]
    assert shop.latest().id == begun
    moves = [move.after for move in shop.ledger.releases.moves(begun)]
    assert moves.count(State.BACKUP) == 1, "what was done is not done again"
    shop.rollback(reason="the test is over", release=begun)
    assert shop.serving() == "v1"


CANCELLED = """
import asyncio
from flows.release import release
asyncio.run(release("shop", "{version}"))
"""


def test_a_run_that_is_cancelled_in_prefect_once_production_was_touched_goes_back_by_itself(shop: SmallSystem) -> None:
    """Prefect's worker sends SIGTERM then, in the middle of whatever is done, and waits for half a minute."""
    shop.add_version("v2.3", up={"1_grow": GROW})
    cancels = {"kind": "command", "name": "a person cancels", "argv": ["sh", "-c", "kill -TERM $PPID; sleep 2"]}
    shop.write({"checks.health": [cancels]})
    script = CANCELLED.format(version="v2.3")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=150)
    shop.write({"checks": shop.plain_file()["checks"]})
    assert done.returncode != 0
    row = shop.latest()
    assert (row.state, row.holder) == (State.ROLLED_BACK, ""), done.stderr.decode()[-2000:]
    assert "cancelled: its process was asked to end" in shop.notes(row.id)
    assert shop.serving() == "v1"
    assert rehearsing_slots(shop) == []
    shop.no_scratch_is_left()
    assert shop.ledger.releases.active("shop") is None


@pytest.mark.parametrize("state", [State.PLANNED, State.RUNNING, State.MIGRATE, State.DEPLOY])
def test_a_dead_release_is_stopped_wherever_it_stands_as_long_as_production_is_untouched(
    shop: SmallSystem, state: State
) -> None:
    release = standing(shop, state)
    assert stop_by_person(release, person_name="bob", reason="its process died")
    assert shop.ledger.releases.get(release).state == State.STOPPED


def standing(shop: SmallSystem, state: State) -> str:
    """Put a release on record that stands in a state and has touched nothing; its process is gone."""
    from tasks.driving import open_release

    claim = open_release("shop", "v1", scope="release", mutates=True, started_by="ann", reason="")
    shop.sql_in_ledger(
        "UPDATE release SET state = %s, holder = 'elsewhere:1:x', holder_seen = now() - interval '2 minutes' "
        "WHERE id = %s RETURNING id",
        (state.value, claim.release_id),
    )
    return claim.release_id


def test_a_release_that_a_process_drives_is_not_stopped(shop: SmallSystem) -> None:
    release = standing(shop, State.BACKUP)
    shop.ledger.releases.take(release, "elsewhere:1:x")
    with pytest.raises(Refused, match="is driven by elsewhere:1:x"):
        stop_by_person(release, person_name="bob", reason="not today")
    assert shop.latest().state == State.BACKUP
    shop.ledger.releases.take(release, "", force=True)
    stop_by_person(release, person_name="bob", reason="now it is dead")


def test_a_release_that_touched_production_is_not_stopped_and_the_ways_out_are_named(shop: SmallSystem) -> None:
    release = put_under_watch(shop, "v1", state=State.MIGRATE)
    with pytest.raises(Refused, match="has touched production") as caught:
        stop_by_person(release, person_name="bob", reason="not today")
    assert f"golive rollback shop --release {release}" in caught.value.do
    assert f"golive accept {release}" in caught.value.do
    shop.ledger.releases.seize(release, State.MIGRATE, State.NEEDS_PERSON, "the test")
    shop.ledger.releases.seize(release, State.NEEDS_PERSON, State.STABLE, "the test")


def test_what_cannot_be_removed_is_told_and_does_not_keep_the_release(
    shop: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.scratch import Scratch

    def away(*_: object) -> None:
        raise Unreachable("the server of the copy does not answer")

    release = standing(shop, State.REHEARSE)
    monkeypatch.setattr(Scratch, "remove", away)
    stop_by_person(release, person_name="bob", reason="not today")
    assert shop.latest().state == State.STOPPED
    assert any("the server of the copy does not answer" in text for text in alerts_of(shop, release))


def test_an_id_that_is_not_on_record_is_not_found(shop: SmallSystem) -> None:
    with pytest.raises(NotFound):
        stop_by_person("shop-none", person_name="bob", reason="")


def test_a_rollback_of_an_untouched_release_names_the_command_that_ends_it(shop: SmallSystem) -> None:
    release = standing(shop, State.AWAITING_GO)
    with pytest.raises(Refused, match="has not touched production") as caught:
        shop.rollback(reason="not today", release=release)
    assert f"golive stop {release}" in caught.value.do
    stop_by_person(release, person_name="bob", reason="not today")
