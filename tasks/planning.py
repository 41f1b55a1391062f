"""What a release would do, found out without changing anything: from the flows, the rollout's steps, and the world."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Flow

from tasks.context import Context, production, root_of, site_of, world_of
from tasks.deploy import roll_out
from tasks.domain.errors import GoliveError
from tasks.domain.off_peak import OffPeak
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.release import check_version
from tasks.domain.target import Target
from tasks.domain.triggers import limit_of
from tasks.domain.way_back import WayBack, choose
from tasks.driving import require_secrets
from tasks.ledger.ledger import Ledger
from tasks.off_peak import quietest
from tasks.outline import told_by
from tasks.reckoning import room_needed
from tasks.reporting.plan import UNKNOWN
from tasks.rollback import roll_code_back
from tasks.rollouts import Site, Step
from tasks.settings import Settings
from tasks.sources import Built, Fetched, Source, placed
from tasks.sources.image import Image
from tasks.spec import loading
from tasks.spec.commands import commands_in
from tasks.spec.release_file import ReleaseFile
from tasks.windows import is_open, next_opening


@dataclass(frozen=True)
class Phase:
    """A phase of the release by its name, with the flow that does it."""

    name: str
    flow: Flow[..., Any]
    changes_production: bool = True


def plan_of(system: str, version: str, phases: Sequence[Phase], back: Phase, book: Ledger | None) -> dict[str, Any]:
    """Return what a release would do, in values that JSON can hold; what cannot be known now says why.

    Nothing is changed: code that is not on the host yet is looked at in a temporary directory. Raises `UserError` for
    a system, a version or a secret that there is not.
    """
    settings = Settings.from_environment()
    path = loading.find_release_file(settings.systems, system)
    file = loading.load(path)
    at = world_of(file)
    check_version(version)
    require_secrets(file, at)
    target = production(file, settings, at, version)
    with tempfile.TemporaryDirectory(prefix="golive-plan-") as scratch:
        return _Looking(file, settings, at, target, site_of(file, settings, target), Path(scratch), book).at_all(
            path, phases, back
        )


def plan_on_record(ctx: Context, phases: Sequence[Phase], back: Phase) -> dict[str, Any]:
    """Return the plan of a release that has been opened, by the file on record with it; its code is not brought here.

    What the code would tell is thus not known before the phase preflight has brought it.
    """
    target = production(ctx.file, ctx.settings, ctx.world, ctx.release.version)
    looking = _Looking(
        ctx.file,
        ctx.settings,
        ctx.world,
        target,
        site_of(ctx.file, ctx.settings, target),
        None,
        ctx.ledger,
        opened=True,
    )
    return looking.at_all(Path(ctx.release.file), phases, back)


@dataclass(frozen=True)
class _Looking:
    """Looks at one release that is not begun."""

    file: ReleaseFile
    settings: Settings
    world: World
    target: Target
    site: Site
    scratch: Path | None
    """Where code that is not on the host yet may be brought, to be looked at."""
    book: Ledger | None
    opened: bool = False
    """Whether the release is on record already, so that it does not stand in its own way."""

    def at_all(self, path: Path, phases: Sequence[Phase], back: Phase) -> dict[str, Any]:
        file, version = self.file, self.target.version
        code, serving = self._code(), self.known(self._serving)
        migration = self.known(lambda: self._migration(code))
        return {
            "system": file.system,
            "version": version,
            "file": str(path),
            "identity": code.identity if isinstance(code, Fetched) else code,
            "serving": serving,
            "in_the_way": self.known(self._in_the_way),
            "window": self._window(),
            "traffic": self.known(self._traffic),
            "signatures": {
                "gates": {gate: dict(file.signers(gate)) for gate in file.gates()},
                "expires": file.sign_off.expires,
                "starter_may_sign": file.sign_off.starter_may_sign,
            },
            "told": [one.address for one in file.notify] or ["console"],
            "phases": [self._phase(one) for one in phases],
            "checks": {
                phase: [check.name for check in file.checks.of(phase)] for phase in type(file.checks).model_fields
            },
            "backup": self.known(self._backup),
            "migration": migration,
            "rollout": self._rollout(),
            "watch": self._watch(),
            "way_back": self._way_back(migration, serving, back),
            "commands": [{"where": where, "argv": list(argv)} for where, argv in commands_in(file)],
        }

    def known(self, look: Callable[[], Any]) -> Any:
        """Return what a look finds, or why it could not be made."""
        try:
            return look()
        except GoliveError as error:
            return {UNKNOWN: self.world.secrets.mask(str(error))}

    def _code(self) -> Fetched | dict[str, str]:
        """Return the version's code on the host, or else a copy of it that is gone once the plan is made."""
        if (found := placed(self.target, self.target.version)) is not None:
            return found
        unbuilt, scratch = _unbuilt(self.file.source), self.scratch
        if unbuilt is None or scratch is None:
            return {UNKNOWN: f"only the phase preflight brings the code of a {self.file.source.kind}"}
        found_or_not: Fetched | dict[str, str] = self.known(
            lambda: unbuilt.fetch(self.target.at(root=scratch), self.target.version)
        )
        return found_or_not

    def _serving(self) -> str | None:
        return self.file.rollout.serving(self.site)

    def _in_the_way(self) -> list[str]:
        if self.book is None or self.opened:
            return []
        releases, file = self.book.releases, self.file
        found = []
        if (active := releases.active(file.system)) is not None:
            found.append(f"{active.id} is {active.state}: only one release of a system may be under way")
        if (block := releases.blocked(file.system, self.target.version)) is not None:
            found.append(f"{self.target.version} is blocked by {block.by}: {block.reason}")
        return found

    def _window(self) -> dict[str, Any]:
        window, now = self.file.window, self.world.clock.now()
        opens = None if is_open(window, now) else next_opening(window, now)
        return {
            "open": is_open(window, now),
            "opens": opens.isoformat() if opens else None,
            "days": list(window.days),
            "between": window.between,
            "timezone": window.timezone,
        }

    def _traffic(self) -> dict[str, Any]:
        if self.book is None:
            return {UNKNOWN: "there is no ledger yet"}
        window, now = self.file.window, self.world.clock.now()
        begins = now if is_open(window, now) else next_opening(window, now)
        found = quietest(self.book, self.file, lambda: self.target, begins or now, earliest=now)
        return found.as_json() if isinstance(found, OffPeak) else {UNKNOWN: self.world.secrets.mask(found)}

    def _phase(self, phase: Phase) -> dict[str, Any]:
        steps: list[dict[str, Any]] = []
        for step in told_by(phase.flow):
            if step.task is roll_out:
                steps += self._steps(lambda: self.file.rollout.steps(self.site, self.target.version))
            else:
                steps.append({"does": step.does, **({"checks": list(step.groups)} if step.groups else {})})
        return {"phase": phase.name, "changes_production": phase.changes_production, "steps": steps}

    def _steps(self, of: Callable[[], Sequence[Step]]) -> list[dict[str, Any]]:
        found = self.known(of)
        if isinstance(found, dict):
            return [{"does": f"the rollout's steps are not known: {found[UNKNOWN]}"}]
        return [{"does": step.name, "changes_production": step.mutates} for step in found]

    def _backup(self) -> dict[str, Any]:
        plan, root = self.file.backup, self.target.root
        directory = root_of(self.file, self.settings, plan.directory.replace("{root}", str(root)))
        host = self.world.host
        needed = self.known(lambda: room_needed(self.world, self.file, self.settings, self.target.dsn))
        others = {} if UNKNOWN in needed else {path: size for path, size in needed.items() if path != directory}
        return {
            "kind": plan.kind,
            "directory": str(directory),
            "free": host.disk_free(directory),
            "needed": needed.get(directory, needed),
            "other_disks": {str(path): {"free": host.disk_free(path), "needed": size} for path, size in others.items()},
            "headroom": plan.headroom,
            "keep": plan.keep,
            "encrypted": plan.encrypt is not None,
            "stored": plan.storage.url if plan.storage is not None else None,
            "proven_in": self.file.database.scratch.place,
        }

    def _migration(self, code: Fetched | dict[str, str]) -> dict[str, Any]:
        plan = self.file.migration
        if not isinstance(code, Fetched):
            return {"kind": plan.kind, "pending": code, "pause": plan.pause}
        there = self.target.at(release_dir=code.directory)
        unbuilt = isinstance(self.file.source, Built) and self.file.source.build
        if unbuilt and self.scratch is not None and code.directory.is_relative_to(self.scratch):
            seen = self.known(lambda: list(plan.pending(there)))
            if isinstance(seen, dict):
                seen = {UNKNOWN: "that takes what the version's build makes, and a plan builds nothing; preflight does"}
                return {"kind": plan.kind, "pending": seen, "pause": plan.pause}
        return {
            "kind": plan.kind,
            "pending": self.known(lambda: list(plan.pending(there))),
            "way_down": self.known(lambda: plan.may_roll_back and plan.can_downgrade(there)),
            "limits": {"duration": plan.limits.duration, "lock": plan.limits.lock, "tries": plan.limits.tries},
            "pause": plan.pause,
        }

    def _rollout(self) -> dict[str, Any]:
        rollout, site = self.file.rollout, self.site
        router = site.router
        return {
            "kind": rollout.kind,
            "platform": self.file.platform.kind,
            "places": self.known(self._places),
            "goes_to": self.known(lambda: [one.name for one in rollout.goes_to(site, self.target.version)]),
            "router": router.kind if router else None,
            "requests_go_to": self.known(lambda: _slots(site)),
            "ends_with": [one["does"] for one in self._steps(lambda: rollout.finish(site))],
        }

    def _places(self) -> list[dict[str, Any]]:
        found = []
        for place in self.file.rollout.places(self.site):
            status = self.file.platform.status(self.site.on(place.host), place.slot)
            found.append(
                {
                    "place": place.name,
                    "host": place.host or None,
                    "port": place.port,
                    "running": str(status.running),
                    "version": status.version or None,
                }
            )
        return found

    def _watch(self) -> dict[str, Any]:
        watch, back = self.file.watch, self.file.rollback
        probe = watch.probe
        return {
            "every": watch.every,
            "for": watch.for_,
            "probe": {"every": probe.every, "check": probe.check} if probe else None,
            "traffic": {"kind": watch.traffic.kind, "every": watch.traffic.every} if watch.traffic else None,
            "then": [stage.name for stage in watch.then],
            "triggers": [{"kind": one.kind, "limit": limit_of(one)} for one in back.when],
            "automatic": back.automatic,
        }

    def _way_back(self, migration: Any, serving: Any, back: Phase) -> dict[str, Any]:
        pending = migration.get("pending") if isinstance(migration, dict) else None
        if pending == []:
            plan = choose(
                pending=[],
                old_on_new=Outcome.UNKNOWN,
                down_exact=Outcome.UNKNOWN,
                down_seconds=0,
                restore_seconds=0,
            )
            ways = {plan.way.value: plan.why}
        else:
            ways = {WayBack.KEEP.value: "if the version that serves passes checks.compatibility on the new schema"}
            down = migration.get("way_down") if isinstance(migration, dict) else None
            if down is not False:
                sure = "" if down is True else "there is a way down and "
                ways[WayBack.DOWNGRADE.value] = f"else, if {sure}going down on the copy leaves exactly what was there"
            ways[WayBack.RESTORE.value] = "else; it loses what is written after the backup, which a person must accept"
        return {
            "decided": pending == [],
            "ways": ways,
            "to": serving if isinstance(serving, str) else None,
            "steps": self._steps_back(back, serving),
        }

    def _steps_back(self, back: Phase, serving: Any) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        for step in told_by(back.flow):
            if step.task is roll_code_back and isinstance(serving, str):
                steps += self._steps(lambda: self.file.rollout.back(self.site, serving))
            else:
                steps.append({"does": step.does})
        return steps


def _slots(site: Site) -> list[str] | None:
    current = site.router.current(site.at_router) if site.router else None
    return list(current.slots) if current else None


def _unbuilt(source: Source) -> Source | None:
    """Return a source that brings the bare code, to be looked at; None where that takes more than copying files."""
    if isinstance(source, Image):
        source = source.code if source.code is not None else source
    return source.model_copy(update={"build": ()}) if isinstance(source, Built) else None
