"""No gate is passed by: not by a phase that names a release, not by a wrong id, not by golive's own trouble."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.domain.errors import Refused, UserError
from tasks.domain.release import State
from tests.flows import SmallSystem


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

    shop.write({"sign_off": {"go": []}})
    shop.add_version(version := f"g{uuid.uuid4().hex[:6]}")
    monkeypatch.setattr("tasks.guard.ensure_guard", broken)
    assert "is live" in shop.release(version)
    row = shop.latest()
    assert (row.state, shop.serving()) == ("watching", version)
    assert any("nobody guards this release" in one.text for one in shop.ledger.outbox.messages(row.id))
    shop.rollback(reason="the test is over")
