"""The steps of the rollout: bring the code, hand over to the new version, say which one serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks import sources
from tasks.acting import act, do, do_one
from tasks.checking import measure_all
from tasks.context import Context, context_of
from tasks.domain.errors import Refused, RolloutFailed
from tasks.domain.outcome import Measurement
from tasks.domain.target import Target
from tasks.everywhere import everywhere
from tasks.ledger.releases import Claim
from tasks.rollouts import Step
from tasks.sources import Fetched

PHASE = "deploy"
_MOST_LOOKED_AT = 1000
"""Releases of a system that are looked through for a version."""


@act
def fetch_code(claim: Claim, phase: str = PHASE) -> Mapping[str, Any]:
    """Bring the version's code to golive's machine and to every host, at once, in a directory of its own.

    What an earlier try has built in another way, and nothing ever ran in production, makes room for it.

    Raises `Refused` if the source gives other code for it than it had when the release was opened.
    """
    ctx = context_of(claim)

    def bring(target: Target) -> Fetched:
        before = sources.placed(target, ctx.release.version)
        if before is not None and before.identity != ctx.release.identity and _never_served(ctx):
            target.world.progress(f"{before.directory} was built in another way, and never served: it is built anew")
            target.world.host.remove_tree(before.directory)
        fetched = ctx.file.source.fetch(target, ctx.release.version)
        if fetched.identity != ctx.release.identity:
            raise Refused(
                f"{ctx.release.version} is now {fetched.identity}",
                expected=f"{ctx.release.identity}, for which the release was opened and is signed",
                where=str(fetched.directory),
                do="open a new release under a version of its own, such as a new tag or the commit",
            )
        return fetched

    def fetch() -> Mapping[str, Any]:
        fetched = everywhere(ctx.targets(ctx.release.version), bring)
        evidence: dict[str, Any] = {"directory": str(fetched[""].directory), "identity": fetched[""].identity}
        if hosts := {name: str(one.directory) for name, one in fetched.items() if name}:
            evidence["hosts"] = hosts
        return evidence

    return do_one(ctx, phase, Step("fetch the code", fetch, mutates=False))


def _never_served(ctx: Context) -> bool:
    """Tell whether nothing shows that the version has ever run in production: neither the ledger nor the platform."""
    version, site = ctx.release.version, ctx.site(ctx.release.version)
    for one in ctx.ledger.releases.latest(ctx.release.system, limit=_MOST_LOOKED_AT):
        if one.previous_version == version or (one.version == version and one.mutation_started_at is not None):
            return False
    rollout = ctx.file.rollout
    return all(rollout.version_in(site, place) != version for place in rollout.places(site))


@act
def roll_out(claim: Claim) -> list[Mapping[str, Any]]:
    """Hand over to the new version by the release file's rollout."""
    ctx = context_of(claim)

    def ask(names: Sequence[str], target: Target) -> Sequence[Measurement]:
        # The application's role may be allowed less than golive's.
        return measure_all([ctx.file.check(name) for name in names], target.at(dsn=ctx.target().dsn))

    site = replace(ctx.site(ctx.release.version), ask=ask)
    return do(ctx, PHASE, ctx.file.rollout.steps(site, ctx.release.version))


@act
def confirm_serving(claim: Claim) -> str:
    """Ask the platform and the router which version serves; raises `RolloutFailed` if it is not the new one."""
    ctx = context_of(claim)
    version = ctx.release.version

    def confirm() -> Mapping[str, Any]:
        serving = ctx.file.rollout.serving(ctx.site(version))
        if serving != version:
            raise RolloutFailed(f"{serving or 'nothing'} serves", expected=version, do="look at the platform's log")
        return {"serving": serving}

    do_one(ctx, PHASE, Step("confirm which version serves", confirm, mutates=False))
    return version


@act
def show_current(claim: Claim) -> Mapping[str, Any]:
    """Let the link that shows people what serves lead to the new version."""
    ctx = context_of(claim)

    def show() -> Mapping[str, Any]:
        version = ctx.release.version
        return everywhere(ctx.targets(version), lambda target: sources.show_current(target, version))[""]

    return do_one(ctx, PHASE, Step("show which version is current", show, mutates=False))


@act
def prune_releases(claim: Claim) -> Mapping[str, Any]:
    """Remove the oldest releases from every machine, never the one that serves or the one before it."""
    ctx = context_of(claim)
    in_use = [one for one in (ctx.release.version, ctx.release.previous_version) if one]

    def prune() -> Mapping[str, Any]:
        gone = everywhere(ctx.targets(ctx.release.version), lambda target: list(ctx.file.source.prune(target, in_use)))
        hosts = {name: removed for name, removed in gone.items() if name}
        return {"removed": gone[""], **({"hosts": hosts} if hosts else {})}

    return do_one(ctx, PHASE, Step("remove old releases", prune, mutates=False))
