"""Holding requests back at the router while production's schema changes, so that they are late instead of failing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from tasks.acting import act, do_one
from tasks.context import Context, context_of
from tasks.domain.errors import Fenced, GoliveError
from tasks.ledger.releases import Claim
from tasks.migrators import Migrator
from tasks.rollouts import Step, router_of

HOLD = "hold requests back while the schema changes"
LET_GO = "let requests go on"
_MARGIN = 0.5
"""Seconds before the router lets go by itself in which a migration that takes too long is stopped."""


@contextmanager
def held_back(ctx: Context, phase: str, *, changes: bool) -> Iterator[Migrator]:
    """Give the migrator with which to change production's schema, and hold requests back meanwhile if the file says so.

    Nothing is held where nothing ``changes``. The migrator gives up before the router lets the requests go by itself.
    However the block ends, they are let go on; after a kill the router does so at its limit, unless `let_go_on` or the
    next try of the migration comes first.
    """
    migration = ctx.file.migration
    if not migration.pause or not changes:
        if _left_held(ctx):
            _let_go(ctx, phase)
        yield migration
        return
    ends = ctx.world.clock.monotonic() + migration.pause - min(_MARGIN, migration.pause / 2)
    do_one(ctx, phase, Step(HOLD, lambda: _hold(ctx)))
    try:
        yield migration.until(ends)
    except Fenced:
        raise  # who holds the release now says what becomes of the requests
    except BaseException as error:
        try:
            _let_go(ctx, phase)
        except GoliveError as further:
            error.add_note(f"the requests were not let go on, which the router does by itself: {further}")
        raise
    _let_go(ctx, phase)


@act
def let_go_on(claim: Claim) -> None:
    """Let requests go on that a process held back for a migration and has not let go; else do nothing."""
    ctx = context_of(claim)
    if _left_held(ctx):
        _let_go(ctx, "rollback")


def _hold(ctx: Context) -> Mapping[str, Any]:
    site = ctx.site(ctx.release.version)
    router_of(site).pause(site.at_router, ctx.file.migration.pause)
    return {"limit": ctx.file.migration.pause}


def _let_go(ctx: Context, phase: str) -> None:
    site = ctx.site(ctx.release.version)

    def resume() -> Mapping[str, Any]:
        held = router_of(site).resume(site.at_router)
        return asdict(held) if held else {}

    try:
        do_one(ctx, phase, Step(LET_GO, resume))
    except KeyboardInterrupt:
        # A person wants no further step; that nobody is kept waiting is none.
        with suppress(GoliveError):
            resume()
        raise


def _left_held(ctx: Context) -> bool:
    """Tell whether it is on record that requests were held back for a migration, and not that they were let go on."""
    held = False
    for one in ctx.ledger.releases.steps(ctx.release.id):
        if (one.name, one.event) == (HOLD, "started"):
            held = True
        elif (one.name, one.event) == (LET_GO, "done"):
            held = False
    return held
