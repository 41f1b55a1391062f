"""How long the version that was replaced stays up for going back by a switch of the router alone."""

from __future__ import annotations

import math
from datetime import datetime

from tasks.acting import do
from tasks.context import Context, context_of, holder
from tasks.domain.errors import Refused
from tasks.domain.release import State

STOP_OLD = "stop the old version"


def kept_long_enough(ctx: Context, now: datetime) -> bool:
    """Tell whether the old version has been kept up for as long as the release file asks, and may still be up."""
    kept_for, live = ctx.file.rollout.kept_for, ctx.release.live_at
    if not 0 < kept_for < math.inf or live is None or (now - live).total_seconds() < kept_for:
        return False
    steps = ctx.ledger.releases.steps(ctx.release.id)
    return not any((one.phase, one.name, one.event) == ("watch", STOP_OLD, "done") for one in steps)


def end_old(ctx: Context) -> None:
    """Stop the old version of a release that is under watch; does nothing if somebody else is at the release.

    A rollback that begins meanwhile takes the release over and waits for the end of this.
    """
    releases = ctx.ledger.releases
    try:
        claim = releases.take(ctx.release.id, holder())
    except Refused:
        return
    try:
        mine = context_of(claim)
        if State(mine.release.state) is State.WATCHING:
            do(mine, "watch", mine.file.rollout.finish(mine.site(mine.release.version)))
    finally:
        releases.let_go(claim)
