"""No gate is passed by: not by a phase that names a release, not by a wrong id, not by golive's own trouble."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.errors import Refused, RolloutFailed, UserError
from tasks.domain.release import State
from tasks.release import open_or_resume
from tasks.rollouts import Site, Step
from tasks.rollouts.recreate import Recreate
from tests.flows import SmallSystem, wait_until
from tests.watched import put_under_watch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(shop: SmallSystem) -> Iterator[SmallSystem]:
    """The system that v1 serves, where a DBA must sign; what awaits a signature is ended afterwards."""
    shop.write({"sign_off": {"go": ["dba"]}})
    yield shop
    end_what_waits(shop)


def end_what_waits(shop: SmallSystem) -> None:
    row = shop.latest()
    if row.state == State.AWAITING_GO:
        shop.ledger.releases.seize(row.id, State.AWAITING_GO, State.STOPPED, "the test")


def a_release_that_waits(shop: SmallSystem) -> Any:
    version = f"w{uuid.uuid4().hex[:6]}"
    shop.add_version(version)
    assert "the signature of dba" in shop.release(version, started_by="ann")
    return shop.latest()


_SIGN_AND_DIE = """
import os, signal, sys
from tasks.signing import sign

sign(sys.argv[1], role="dba", person_name="bob", decision="reject", reason="not on a Friday")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_process_killed_right_after_a_signature_left_undone_is_done_by_another(shop):
    from tasks.gatekeeping import see_to_gates
    from tests.waiting import waiting_for_go

    shop.add_version(version := f"k{uuid.uuid4().hex[:6]}")
    release = waiting_for_go(shop, version)
    died = subprocess.run([sys.executable, "-c", _SIGN_AND_DIE, release], check=False, timeout=120, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    assert shop.ledger.releases.get(release).state == State.AWAITING_GO
    assert any(release in line and "goes on as process" in line for line in see_to_gates())
    wait_until(lambda: shop.ledger.releases.get(release).state == State.STOPPED, 120)
    assert "bob (dba) said no: not on a Friday" in shop.notes(release)


@pytest.mark.parametrize("phase", ["migrate", "deploy"])
def test_a_phase_that_names_a_waiting_release_changes_nothing(shop, phase):
    row = a_release_that_waits(shop)
    with shop.untouched(), pytest.raises(Refused) as caught:
        shop.phase(phase, row.version, release=row.id)
    assert "leave release empty" in caught.value.do
    now = shop.ledger.releases.get(row.id)
    assert (now.state, now.mutation_started_at, now.epoch) == ("awaiting_go", None, row.epoch)


@pytest.mark.parametrize("phase", ["migrate", "deploy"])
def test_a_phase_alone_does_not_do_without_the_signatures(shop, phase):
    shop.add_version(version := f"a{uuid.uuid4().hex[:6]}")
    with shop.untouched(), pytest.raises(Refused, match="without the signatures of dba"):
        shop.phase(phase, version)


def test_the_id_of_a_release_of_another_version_is_refused(shop):
    row = a_release_that_waits(shop)
    with pytest.raises(UserError, match=row.version):
        shop.release("v1", resume=row.id)


def test_the_id_of_another_systems_release_is_not_rolled_back(shop):
    from tasks.rollback import release_to_roll_back

    row = a_release_that_waits(shop)
    with pytest.raises(UserError, match="is a release of shop"):
        release_to_roll_back("glad-labs", row.id)


def test_a_guard_that_cannot_be_started_does_not_take_a_healthy_release_back(shop, monkeypatch):
    def broken() -> str:
        raise OSError("no more processes")

    import flows.release  # noqa: F401 - before the step is replaced, or the phases would keep the broken one

    shop.write({"sign_off": {"go": []}})
    shop.add_version(version := f"g{uuid.uuid4().hex[:6]}")
    monkeypatch.setattr("tasks.guard.ensure_guard", broken)
    assert "is live" in shop.release(version)
    row = shop.latest()
    assert (row.state, shop.serving()) == ("watching", version)
    assert any("nobody guards this release" in one.text for one in shop.ledger.outbox.messages(row.id))
    shop.rollback(reason="the test is over")


def test_what_is_superseded_is_let_go_and_trouble_with_its_remains_holds_the_next_one_up_not(shop, monkeypatch):
    def finish(_self: Recreate, _site: Site) -> list[Step]:
        def act() -> dict[str, Any]:
            raise RolloutFailed("the old version does not stop")

        return [Step("stop the old version", act)]

    shop.add_version(version := f"s{uuid.uuid4().hex[:6]}")
    old = put_under_watch(shop, "v1")
    monkeypatch.setattr(Recreate, "finish", finish)
    claim = open_or_resume(shop.name, version, reason="", started_by="ann", supersede=True, resume="")
    row = shop.ledger.releases.get(old)
    assert (row.state, row.holder) == ("superseded", "")
    assert shop.steps(old)[-1] == ("watch", "stop the old version", "failed")
    alerts = [one.text for one in shop.ledger.outbox.messages(old) if one.kind == "alert"]
    assert "the old version does not stop" in alerts[-1]
    shop.ledger.releases.move(claim, State.PLANNED, State.STOPPED)
