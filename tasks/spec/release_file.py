"""The types of a release file: one file says all that golive must know of a system."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from tasks import backups, checks, migrators, notifiers, platforms, rollouts, routers, sources
from tasks.backups import Backup
from tasks.backups.dump import Dump
from tasks.checks import Check
from tasks.domain.checklist import Checklist
from tasks.domain.errors import ReleaseFileError
from tasks.domain.gates import GO, LIVE, STABLE, of_stage
from tasks.domain.kind import Strict
from tasks.domain.release import SYSTEM_PATTERN
from tasks.domain.silence import Silence
from tasks.domain.target import Within
from tasks.domain.triggers import FIFTHS, Errors, Trigger
from tasks.domain.units import show_seconds
from tasks.migrators import Migrator
from tasks.notifiers import Notifier
from tasks.platforms import Platform
from tasks.rollouts import Rollout
from tasks.routers import Router
from tasks.sources import Source
from tasks.spec.checklist import ChecklistSection, contradictions, strangers
from tasks.spec.database import Database
from tasks.spec.hosts import OWN_MACHINE, Machine
from tasks.spec.kinds import kinds_in, union_of
from tasks.spec.naming_secrets import ADVICE, written_out
from tasks.spec.rehearsal import Rehearsal
from tasks.spec.sign_off import SignOff, wanted
from tasks.spec.switches import Switch
from tasks.spec.watch import Watch
from tasks.spec.window import Window

if TYPE_CHECKING:
    AnyBackup = Backup
    AnyCheck = Check
    AnyMigrator = Migrator
    AnyNotifier = Notifier
    AnyPlatform = Platform
    AnyRollout = Rollout
    AnyRouter = Router
    AnySource = Source
else:
    AnyBackup = union_of(backups)
    AnyCheck = union_of(checks)
    AnyMigrator = union_of(migrators)
    AnyNotifier = union_of(notifiers)
    AnyPlatform = union_of(platforms)
    AnyRollout = union_of(rollouts)
    AnyRouter = union_of(routers)
    AnySource = union_of(sources)


REFERENCE = re.compile(r"\$\{(?:env|file|block):[^}]+\}")
"""How a release file names a secret."""


class Rollback(Strict):
    """When golive takes a release back."""

    when: tuple[Trigger, ...] = ()
    """The triggers, judged by the guard and the monitor."""
    automatic: bool = True
    """Whether golive acts on a trigger by itself, once per release; otherwise it asks a person. A phase that fails once
    production has been touched is taken back in either case."""


PHASES = ("preflight", "compatibility", "rehearsal", "migrate", "health", "watch", "review", "corruption")


class Checks(Strict):
    """The checks of each phase."""

    preflight: tuple[AnyCheck, ...] = ()
    """Before anything else; production is only read."""
    compatibility: tuple[AnyCheck, ...] = ()
    """What every version must pass: old and new on the migrated copy, and whichever serves in the end. At least one of
    them decides, which an advisory check does not."""
    rehearsal: tuple[AnyCheck, ...] = ()
    """What the new version must pass on the migrated copy, where nobody else asks it: what other traffic would hide in
    production."""
    migrate: tuple[AnyCheck, ...] = ()
    """After the migration, on the copy and on production: what the schema must look like."""
    health: tuple[AnyCheck, ...] = ()
    """After the new version has taken over, and after a rollback."""
    watch: tuple[AnyCheck, ...] = ()
    """At each look of the monitor."""
    review: tuple[AnyCheck, ...] = ()
    """Only where ``watch.at`` or a stage of ``watch.then`` names them."""
    corruption: tuple[AnyCheck, ...] = ()
    """At each look; a failure confirmed on a fresh connection is corruption."""

    def of(self, phase: str) -> tuple[Check, ...]:
        """Return the checks of a phase."""
        found: tuple[Check, ...] = getattr(self, phase)
        return found

    def every(self) -> Iterator[tuple[str, Check]]:
        """Yield each check with its phase."""
        for phase in PHASES:
            for check in self.of(phase):
                yield phase, check


def _misfit(message: str, *at: str | int) -> PydanticCustomError:
    """Return an error about parts that do not fit each other, with the place in the file where to mend it."""
    return PydanticCustomError("misfit", "{message}", {"message": message, "at": at})


def _routers() -> dict[str, type[Router]]:
    return {name: kind for name, kind in kinds_in(routers).items() if issubclass(kind, Router)}


def _dump_unless_told(value: Any) -> Any:
    return {"kind": backups.DEFAULT, **value} if isinstance(value, dict) else value


class ReleaseFile(Strict):
    """Everything that golive must know of a system to take it live, and back."""

    system: Annotated[str, Field(pattern=SYSTEM_PATTERN, examples=["ordinaut"])]
    """The system's name; also the name of the directory in which this file lies."""
    description: str = ""
    """What the system is, in a sentence."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", examples=["http://127.0.0.1:8080"])]
    """Where its clients reach it."""
    root: str = "{data}/systems/{system}"
    """Where golive keeps its releases, backups and logs; ``{data}`` is golive's own data directory."""
    hosts: tuple[Machine, ...] = ()
    """The machines that it runs on, reached over SSH; golive's own if there are none. Migrations, backups and checks
    run on golive's machine."""
    database: Database
    """Its database."""
    source: AnySource
    """Where the code of a version comes from."""
    platform: AnyPlatform
    """What runs its processes."""
    router: AnyRouter | None = None
    """What sends requests to it; needed for a rollout without downtime."""
    router_on: str = ""
    """The name of the host on which the router runs, ``golive`` for golive's own machine; the first host if empty."""
    rollout: AnyRollout
    """How a new version takes over."""
    migration: AnyMigrator
    """What changes the schema of its database."""
    rehearsal: Rehearsal = Rehearsal()
    """What the rehearsal of the migration does besides."""
    backup: Annotated[AnyBackup, BeforeValidator(_dump_unless_told)] = Dump()
    """The backup before the release; a ``dump`` where no kind is given."""
    sign_off: SignOff = SignOff()
    """Who signs, at which gate."""
    window: Window = Window()
    """When production may be changed."""
    checks: Checks = Checks()
    """What is checked, by phase."""
    checklist: ChecklistSection = ChecklistSection()
    """What accounts for the rows of the system's checklist, besides the checks that cover them."""
    watch: Watch = Watch()
    """How it is watched once live."""
    rollback: Rollback = Rollback()
    """When it is taken back."""
    silences: tuple[Silence, ...] = ()
    """Which alerts are silenced while a release changes production, from the migration until it is live or rolled back.
    An Alertmanager that is away is told of, and holds nothing up."""
    switches: tuple[Switch, ...] = ()
    """Features and providers that can be switched off alone, by ``golive disable``."""
    notify: tuple[AnyNotifier, ...] = ()
    """Where messages go; the console, if nowhere else."""
    digest: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^$", examples=["07:30"])] = ""
    """When people are told once a day how the system stands, in ``window.timezone``; golive looks each hour."""
    runbook: str = ""
    """The URL of the page that a person needs at 03:00."""

    @model_validator(mode="after")
    def _hosts_fit(self) -> Self:
        for index, machine in enumerate(self.hosts):
            if machine.name in {one.name for one in self.hosts[:index]}:
                raise _misfit(f"two hosts are named {machine.name!r}; expected each name once", "hosts", index, "name")
        known = {OWN_MACHINE, *(one.name for one in self.hosts)}
        if self.router_on and (self.router_on not in known or not self.hosts):
            raise _misfit(
                f"the router cannot be on {self.router_on!r}; expected "
                + (f"one of {', '.join(sorted(known))}" if self.hosts else "hosts to choose from"),
                "router_on",
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        names: set[str] = set()
        for phase in PHASES:
            for index, check in enumerate(self.checks.of(phase)):
                if check.name in names:
                    raise _misfit(
                        f"two checks are named {check.name!r}; expected each name once", "checks", phase, index, "name"
                    )
                names.add(check.name)
        if self.watch.probe is not None:
            probed = {check.name for phase in ("watch", "health") for check in self.checks.of(phase)}
            if self.watch.probe.check not in probed:
                raise _misfit(
                    f"watch.probe.check names {self.watch.probe.check!r}; expected the name of a check of phase watch "
                    f"or health: {', '.join(sorted(probed)) or 'there is none'}",
                    *("watch", "probe", "check"),
                )
        elif any(trigger.kind in ("down", "errors", "slower") for trigger in self.rollback.when):
            raise _misfit(
                "rollback.when needs watch.probe: without probes nothing can be judged between two looks",
                *("rollback", "when"),
            )
        if type(self.rollout).needs_router and self.router is None:
            raise _misfit(f"rollout {self.rollout.kind} needs a router", "rollout", "kind")
        if self.migration.stop and not type(self.rollout).stops_first:
            able = " or ".join(name for name, kind in kinds_in(rollouts).items() if getattr(kind, "stops_first", False))
            said = f"rollout {self.rollout.kind} keeps what serves up; expected {able}, or no stop"
            raise _misfit(said, "migration", "stop")
        if type(self.migration).starts_version and self.hosts:
            said = f"a migration {self.migration.kind} runs on golive's own machine; expected no hosts, or another kind"
            raise _misfit(said, "migration", "kind")
        return self

    @model_validator(mode="after")
    def _traffic_is_asked(self) -> Self:
        able = [check.name for _phase, check in self.checks.every() if check.kind == "prometheus"]
        if self.window.traffic and self.window.traffic not in able:
            said = (
                f"window.traffic names {self.window.traffic!r}; expected the name of a check of kind prometheus: "
                f"{', '.join(able) or 'there is none'}"
            )
            raise _misfit(said, "window", "traffic")
        return self

    @model_validator(mode="after")
    def _clients_can_be_counted(self) -> Self:
        source = self.watch.traffic
        if source is None:
            return self
        if source.of_router and (self.router is None or not type(self.router).counts):
            able = " or ".join(name for name, kind in _routers().items() if kind.counts)
            seen = f"the router {self.router.kind} does not count requests" if self.router else "there is no router"
            raise _misfit(f"{seen}; expected {able}, or another kind of traffic", "watch", "traffic", "kind")
        if self.watch.probe is None:
            raise _misfit("requests are counted along with watch.probe, which is missing", "watch", "traffic")
        for trigger in self.rollback.when:
            if isinstance(trigger, Errors) and source.every > trigger.for_ / FIFTHS:
                said = (
                    f"every {show_seconds(source.every)} is too rare for errors over {show_seconds(trigger.for_)}; "
                    f"expected at most {show_seconds(trigger.for_ / FIFTHS)}"
                )
                raise _misfit(said, "watch", "traffic", "every")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        phases = {check.name: phase for phase, check in self.checks.every()}
        for name, at, allowed in self.watch.named():
            if phases.get(name) not in allowed:
                known = ", ".join(sorted(one for one, phase in phases.items() if phase in allowed))
                seen = f"a check of phase {phases[name]}" if name in phases else "which is no check"
                raise _misfit(
                    f"{name!r} is named here, {seen}; expected one of phase {' or '.join(allowed)}: "
                    f"{known or 'there is none'}",
                    *("watch", *at),
                )
        named = {name for name, _at, _allowed in self.watch.named()}
        for index, check in enumerate(self.checks.review):
            if check.name not in named:
                raise _misfit(
                    f"{check.name!r} is never made; expected watch.at or a stage of watch.then to name it",
                    *("checks", "review", index, "name"),
                )
        return self

    @model_validator(mode="after")
    def _rehearsal_has_its_own_values(self) -> Self:
        known = self.platform.variables()
        for name in self.rehearsal.environment:
            if name not in known:
                near = get_close_matches(name, known, 3) or sorted(known)
                raise _misfit(
                    f"{name} is no variable of the platform; expected {', '.join(near) or 'none: it has none'}",
                    *("rehearsal", "environment", name),
                )
        return self

    @model_validator(mode="after")
    def _pauses_fit(self) -> Self:
        for part, seconds in (("migration", self.migration.pause), ("rollout", self.rollout.longest_hold)):
            if not seconds:
                continue
            if self.router is None or not type(self.router).holds:
                able = ", ".join(name for name, kind in _routers().items() if kind.holds)
                seen = (
                    f"the router {self.router.kind} cannot hold requests back" if self.router else "there is no router"
                )
                raise _misfit(f"{seen}; expected {able}, or no pause", part, "pause")
            try:
                self.router.require_hold(seconds)
            except ReleaseFileError as error:
                raise _misfit(f"{error.seen}; expected {error.expected}; {error.do}", part, "pause") from error
        return self

    @model_validator(mode="after")
    def _containers_fit(self) -> Self:
        asked: list[tuple[Within | None, tuple[str | int, ...]]] = [(self.migration.inside, ("migration",))]
        for phase in PHASES:
            asked += [(one.inside, ("checks", phase, index)) for index, one in enumerate(self.checks.of(phase))]
        for within, at in asked:
            if within is None:
                continue
            try:
                self.platform.require_within(within)
            except ReleaseFileError as error:
                raise _misfit(f"{error.seen}; expected {error.expected}", *at, "service") from error
        return self

    @model_validator(mode="after")
    def _switches_fit(self) -> Self:
        names, checks = [one.name for one in self.switches], {check.name for _phase, check in self.checks.every()}
        for index, one in enumerate(self.switches):
            if one.name in names[:index]:
                raise _misfit(f"two switches are named {one.name!r}", "switches", index, "name")
            if one.check not in checks:
                message = (
                    f"switch {one.name} names the check {one.check!r}; expected one of {', '.join(sorted(checks))}"
                )
                raise _misfit(message, "switches", index, "check")
        return self

    @model_validator(mode="after")
    def _rollout_names_checks(self) -> Self:
        if self.rollout.counts_traffic and self.router is not None and not type(self.router).counts:
            able = " or ".join(name for name, kind in _routers().items() if kind.counts)
            said = f"the router {self.router.kind} does not count requests; expected {able}, or no traffic"
            raise _misfit(said, "rollout", "traffic")
        known = {check.name for _phase, check in self.checks.every()}
        for index, name in enumerate(self.rollout.named_checks):
            if name not in known:
                near = get_close_matches(name, known, 3) or sorted(known)
                raise _misfit(f"there is no check {name!r}; expected {' or '.join(near)}", "rollout", "checks", index)
        return self

    @model_validator(mode="after")
    def _something_decides(self) -> Self:
        if all(check.advisory for check in self.checks.compatibility):
            raise _misfit(
                "no check here decides; expected at least one that is not advisory in checks.compatibility, which is "
                "made of every version in rehearsal, once it serves, and after a rollback",
                *(("checks", "compatibility") if "checks" in self.model_fields_set else ("checks",)),
            )
        return self

    @model_validator(mode="after")
    def _rows_are_accounted_for(self, info: ValidationInfo) -> Self:
        beside = (info.context or {}).get("checklist")
        faults = [*contradictions(self), *(strangers(self, beside) if isinstance(beside, Checklist) else ())]
        if faults:
            message, at = faults[0]
            more = f" (and {len(faults) - 1} more of the kind)" if len(faults) > 1 else ""
            raise _misfit(f"{message}{more}", *at)
        return self

    @model_validator(mode="after")
    def _secrets_are_named(self) -> Self:
        for at in written_out(self.model_dump(by_alias=True)):
            raise _misfit(ADVICE, *at)
        return self

    @model_validator(mode="after")
    def _people_sign(self) -> Self:
        known = {role for gate in self.gates() for role in self.signers(gate)}
        for role in self.sign_off.people:
            if role not in known:
                said = f"{role!r} signs nothing; expected a role that some gate asks for: {', '.join(sorted(known))}"
                raise _misfit(said, "sign_off", "people", role)
        return self

    def gates(self) -> list[str]:
        """Return the gates that ask for a signature, in their order."""
        of_stages = [of_stage(number) for number, stage in enumerate(self.watch.then) if stage.sign_off]
        return [*(gate for gate in (GO, LIVE, STABLE) if self.sign_off.of(gate)), *of_stages]

    def signers(self, gate: str) -> Mapping[str, int]:
        """Return how many people sign in each role at a gate."""
        stages = {of_stage(number): stage.sign_off for number, stage in enumerate(self.watch.then)}
        return wanted(stages[gate]) if gate in stages else self.sign_off.of(gate)

    def check(self, name: str) -> Check:
        """Return the check of that name; raises `KeyError`."""
        for _phase, check in self.checks.every():
            if check.name == name:
                return check
        raise KeyError(name)
