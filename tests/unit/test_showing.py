from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tasks.domain.release import FORWARD, State
from tasks.ledger.models import Move, Release
from tasks.showing import how_far, in_words

BEGAN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def moves(*states: State) -> list[Move]:
    return [
        Move(release_id="shop-1", before=before, after=after, note="", at=BEGAN + timedelta(minutes=number))
        for number, (before, after) in enumerate(pairwise(states))
    ]


@pytest.mark.parametrize(
    ("way", "percent"),
    [
        ((State.PLANNED,), 0.0),
        ((State.PLANNED, State.PREFLIGHT), 12.5),
        (FORWARD[: FORWARD.index(State.AWAITING_GO) + 1], 50.0),
        (FORWARD[: FORWARD.index(State.WATCHING) + 1], 100.0),
        (FORWARD, 100.0),
        ((*FORWARD[:3], State.STOPPED), 25.0),
        ((*FORWARD[:6], State.ROLLING_BACK), 62.5),
        ((*FORWARD[:6], State.ROLLING_BACK, State.NEEDS_PERSON), 62.5),
        ((*FORWARD[:6], State.ROLLING_BACK, State.ROLLED_BACK), 0.0),
        ((*FORWARD[:9], State.SUPERSEDED), 100.0),
    ],
)
def test_the_bar_tells_how_much_of_the_way_to_being_live_is_behind(way: tuple[State, ...], percent: float) -> None:
    assert how_far(way[-1], moves(*way)) == percent


def test_the_words_beside_it_name_each_phase_and_what_it_took() -> None:
    row = Release(id="shop-1", system="shop", version="v2", previous_version="v1", state=State.BACKUP)
    said = in_words(row, moves(State.PLANNED, State.PREFLIGHT, State.BACKUP))
    assert said.startswith("shop v1 → v2: **backup**")
    assert "✓ preflight (1 min)" in said
    assert "… backup" in said
    assert "· migrate" in said
    assert said.endswith("`golive status shop-1`")
