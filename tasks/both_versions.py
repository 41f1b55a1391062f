"""Old and new version on the migrated copy: whether each holds there, and what its start does to the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tasks.checking import look_at, require
from tasks.context import Context
from tasks.domain.errors import GoliveError, RehearsalFailed
from tasks.domain.outcome import Outcome, verdict
from tasks.domain.schema_text import changed_lines, changes_told
from tasks.domain.target import Target
from tasks.everywhere import everywhere
from tasks.platforms import Instance
from tasks.rehearsing import PHASE, copy_of, schema_of
from tasks.rollouts import Place
from tasks.scratch import REHEARSAL, Scratch
from tasks.sources import placed

OLD, NEW = "rehearsal-old", "rehearsal-new"
"""The slots in which they run."""


def run_both(ctx: Context) -> dict[str, Any]:
    """Run both versions on the migrated copy, each with the checks of both, and return how the old one did.

    Raises `ChecksFailed` or `RolloutFailed` if the new version does not hold there, and `RehearsalFailed` if its start
    changes the schema: nothing of that would be rehearsed, nor be measured and limited in production.
    """
    before = _schema(ctx)
    with ThreadPoolExecutor(1, thread_name_prefix="old version") as beside:
        old = beside.submit(_run_old, ctx)
        found = _run_new(ctx, old.result)
    after = _schema(ctx)
    return found if after == before else _judge_starts(ctx, found, _Change(before, after))


@dataclass(frozen=True)
class _Change:
    """A schema before and after something started on it."""

    before: str
    after: str

    @property
    def lines(self) -> frozenset[str]:
        return changed_lines(self.before, self.after)

    def __str__(self) -> str:
        return changes_told(self.before, self.after)


def _judge_starts(ctx: Context, found: dict[str, Any], change: _Change) -> dict[str, Any]:
    """Find out whose start changed the schema, and return what that means for the way back.

    What the old version's start does in production as well, such as making the partition of the day, changes nothing.
    """
    old, new = ctx.release.previous_version, ctx.release.version
    usual = _changed_by_start(ctx, old, OLD).lines if old else frozenset()
    if change.lines <= usual:
        return found
    by_new = _changed_by_start(ctx, new, NEW, migrated=True)
    if not by_new.lines <= usual:
        return _judge_new(ctx, found, by_new)
    by_old = _changed_by_start(ctx, old, OLD, migrated=True) if old else None
    if by_old is None or by_old.lines <= usual:
        return {**found, "changed_while_asked": _told(ctx, change)}  # by what a request led to, which any may do
    return {"old": Outcome.FAILED, "why": f"{old} changes the schema when it starts:\n{_told(ctx, by_old)}"}


def _judge_new(ctx: Context, found: dict[str, Any], by_new: _Change) -> dict[str, Any]:
    old, new = ctx.release.previous_version, ctx.release.version
    changed = {"changed_at_start": _told(ctx, by_new)}
    if not old and "\nCREATE TABLE " not in by_new.before:
        return {**found, **changed}  # the first version fills its database
    if ctx.file.rehearsal.changes_at_start == "refuse":
        raise RehearsalFailed(
            f"{new} changes the schema when it starts:\n{by_new}",
            expected="all that changes the schema in the migration, where it is measured, limited, and has a way back",
            do="let the migration do it ahead, by 'migration: {kind: at_start}' or a command, as "
            "docs/how-to/a-service-that-migrates-itself.md shows; where it may be done at any start, write "
            "'rehearsal: {changes_at_start: tell}'",
        )
    # The old version is asked once more: before, it may have been asked ahead of the change.
    found = _run_old(ctx)
    if old and found["old"] is not Outcome.PASSED:
        raise RehearsalFailed(
            f"{new} changes the schema when it starts, and {old} does not hold there: {found['why']}",
            expected="a start that leaves a schema on which the old version works, as there is no other way back",
            do="let the migration do it ahead, by 'migration: {kind: at_start}' or a command",
        )
    return {**found, **changed}


def _told(ctx: Context, change: _Change) -> str:
    return ctx.world.secrets.mask(str(change))


def _changed_by_start(ctx: Context, version: str, slot: str, *, migrated: bool = False) -> _Change:
    """Start a version on a new copy, by itself, and return what that changed; nothing where it does not get ready."""
    Scratch(ctx).clone()
    if migrated:
        ctx.file.migration.upgrade(copy_of(ctx))
    before = _schema(ctx)
    try:
        with private_instance(ctx, version, slot):
            pass
    except GoliveError:
        # The new one has been ready before, so what it did until now counts; of the old one nothing is usual then.
        if not migrated:
            return _Change(before, before)
    return _Change(before, _schema(ctx))


def _schema(ctx: Context) -> str:
    dsn = Scratch(ctx).dsn(REHEARSAL)
    with ctx.world.databases.session(dsn, read_only=True) as session:
        version = session.server_version
    return schema_of(ctx, dsn, version)


def _run_new(ctx: Context, old: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Hold the new version to what every version must pass, and once the old one has ended to the rest."""
    version, checks = ctx.release.version, ctx.file.checks
    with private_instance(ctx, version, NEW) as target:
        require(
            look_at(ctx, f"{PHASE} new", checks.compatibility, target), f"{version} on the migrated copy", needed=True
        )
        found = old()
        require(look_at(ctx, "rehearsal", checks.rehearsal, target), f"{version} alone on the migrated copy")
        return found


def _run_old(ctx: Context) -> dict[str, Any]:
    """Return how the version that serves now does on the migrated copy; that it fails there is a finding, no error."""
    previous = ctx.release.previous_version
    if previous is None:
        return {"old": Outcome.UNKNOWN, "why": "no version was serving before"}
    if not ctx.file.checks.compatibility:
        return {"old": Outcome.UNKNOWN, "why": "the release file has no checks.compatibility"}
    try:
        with private_instance(ctx, previous, OLD) as target:
            seen = look_at(ctx, f"{PHASE} old", ctx.file.checks.compatibility, target)
    except GoliveError as error:
        return {"old": Outcome.FAILED, "why": ctx.world.secrets.mask(str(error))}
    failed = [one.check for one in seen if one.outcome is not Outcome.PASSED]
    return {"old": verdict(seen), "why": f"not passed: {', '.join(failed)}" if failed else f"{len(seen)} passed"}


@contextmanager
def private_instance(ctx: Context, version: str, slot: str) -> Iterator[Target]:
    """Run a version against the copy on a port of its own, ready to be asked, until the block ends.

    Where the system has hosts it runs on the first of them, and is looked at from golive's own machine all the same.
    """
    ctx = ctx.on_copy()
    site = ctx.site(version)
    host = site.target.world.host
    needed = dict(islice(ctx.targets(version).items(), 2))  # golive's own machine and the first host
    everywhere(needed, lambda one: _bring(ctx, one, version))
    port = host.free_port()
    with Scratch(ctx).lent_to(host, REHEARSAL) as copy, host.reach(port) as near:
        target = site.target.at(dsn=copy, port=port, slot=slot, base_url=f"http://127.0.0.1:{port}")
        instance = Instance(slot, version, target.release_dir, port, copy, background=False)
        try:
            ctx.file.platform.start(target, instance)
            ctx.file.rollout.wait_ready(site, Place(slot, port))
            first = {name: target for name in needed if name}
            yield ctx.target(version).at(
                dsn=Scratch(ctx).dsn(REHEARSAL),
                port=near,
                slot=slot,
                base_url=f"http://127.0.0.1:{near}",
                hosts=first,
            )
        finally:
            ctx.file.platform.stop(target, slot)


def _bring(ctx: Context, target: Target, version: str) -> None:
    # What serves is taken as it was built then, whatever the release file builds now.
    if version == ctx.release.version or placed(target, version) is None:
        ctx.file.source.fetch(target, version)
