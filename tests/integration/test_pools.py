"""Several pools that share a ledger: each sees to its own systems, and none drives those of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.context import part_of
from tasks.domain.errors import Refused, UserError
from tasks.domain.release import State
from tasks.ledger.ledger import Ledger
from tasks.ledger.part import GUARD, MONITOR, Part
from tasks.ledger.releases import Claim, Opening
from tasks.settings import Settings

To = tuple[State, ...]
WATCHED: To = (
    State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.AWAITING_GO, State.MIGRATE, State.DEPLOY, State.HEALTH,
    State.WATCHING,
)  # fmt: skip


@pytest.fixture
def pool(database: str) -> Iterator[Callable[..., Ledger]]:
    """Opens the ledger as a machine of a pool does that has the release files of some systems."""
    found: list[Ledger] = []

    def opened(name: str = "", *systems: str) -> Ledger:
        found.append(Ledger(database, Part(name, lambda: systems)))
        return found[-1]

    opened().ensure_ready()
    yield opened
    for one in found:
        one.close()


def under_watch(book: Ledger, system: str) -> Claim:
    """Put a release of a system on record that has come to its watch."""
    given = Opening(f"{system}-1", system, "v2", "release", True, "ann", "", "x", "x", "v1")
    book.releases.open(given)
    claim = book.releases.take(given.id, "host:1")
    before = State.PLANNED
    for after in WATCHED:
        book.releases.move(claim, before, after)
        before = after
    return claim


def test_what_is_to_be_done_with_all_releases_is_done_with_those_of_the_pool(pool: Callable[..., Ledger]) -> None:
    north, south = pool("north", "shop"), pool("south", "depot", "yard")
    under_watch(north, "shop")
    under_watch(south, "depot")
    for book, own in ((north, {"shop-1"}), (south, {"depot-1"}), (pool(), {"shop-1", "depot-1"})):
        assert {row.id for row in book.releases.in_state(State.WATCHING)} == own
        assert {row.id for row in book.releases.newest_of_each()} == own
        assert {row.id for row in book.releases.armed()} <= own
        # Anybody may look at any of them.
        assert {row.id for row in book.releases.latest()} == {"shop-1", "depot-1"}
        assert book.releases.active("shop") is not None


def test_a_machine_drives_no_release_of_a_system_that_it_has_no_release_file_of(pool: Callable[..., Ledger]) -> None:
    north, south = pool("north", "shop"), pool("south", "depot")
    claim = under_watch(north, "shop")
    north.releases.let_go(claim)
    epoch = north.releases.get("shop-1").epoch
    with pytest.raises(Refused, match="no release file"):
        south.releases.take("shop-1", "host:2", force=True)
    with pytest.raises(Refused, match="the pool south"):
        south.releases.seize("shop-1", State.WATCHING, State.ROLLING_BACK, "host:2")
    row = north.releases.get("shop-1")
    assert (row.state, row.epoch) == (State.WATCHING, epoch)
    north.releases.seize("shop-1", State.WATCHING, State.ROLLING_BACK, "host:3")


def test_each_pool_has_a_guard_and_a_monitor_of_its_own_and_all_else_is_one_for_all(
    pool: Callable[..., Ledger],
) -> None:
    north, south, nobody = pool("north", "shop"), pool("south", "depot"), pool()
    for job in (GUARD, MONITOR):
        assert [book.leases.take(job, f"host:{book}", 60) for book in (north, south, nobody)] == [1, 1, 1]
        assert north.leases.take(job, "host:other", 60) is None
    assert north.leases.take("look shop-1", "host:1", 60) == 1
    assert south.leases.take("look shop-1", "host:2", 60) is None
    north.leases.give_back(GUARD, f"host:{north}")
    assert (north.leases.seen(GUARD) or ("", "", True))[2] is False
    assert (south.leases.seen(GUARD) or ("", "", False))[2] is True


def test_a_pool_that_is_named_sees_to_the_systems_of_its_directory_as_they_are_now(tmp_path: Path) -> None:
    named = Settings.from_environment({"GOLIVE_POOL": "golive-north", "GOLIVE_SYSTEMS": str(tmp_path)})
    part = part_of(named)
    assert list(part.systems()) == []
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "release.yaml").touch()
    assert (part.pool, list(part.systems())) == ("golive-north", ["shop"])
    assert named.environment["GOLIVE_POOL"] == "golive-north"
    assert part_of(Settings.from_environment({"GOLIVE_SYSTEMS": str(tmp_path)})) == Part()


@pytest.mark.parametrize("name", ["Golive", "a b", "a;b", "-a", "%(x)s", "a" * 64, "a/b"])
def test_a_pool_is_not_called_what_a_file_or_a_form_would_read_otherwise(name: str) -> None:
    with pytest.raises(UserError, match="GOLIVE_POOL"):
        Settings.from_environment({"GOLIVE_POOL": name})
