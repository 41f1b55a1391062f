"""A preview of a system's checks: what they see now, without a release and with nothing put on record."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tasks.checking import measure_each
from tasks.checks import Check
from tasks.context import ledger, production, production_everywhere, site_of, world_of
from tasks.domain.errors import GoliveError, NotFound, OutsideError, RolloutFailed, UserError
from tasks.domain.outcome import Measurement, Outcome, unknown, verdict
from tasks.domain.release import check_version
from tasks.domain.target import Target
from tasks.everywhere import everywhere
from tasks.preflight import foundations
from tasks.settings import Settings
from tasks.sources import placed
from tasks.spec import loading
from tasks.spec.release_file import PHASES, ReleaseFile

CODE = "preflight"
"""The phase whose checks look at the version that is to be released; those of the others ask what serves."""
OF_ANY = ("preflight", "compatibility")
"""The phases that are made by default where another version serves than the one that is named."""
OF_SERVING = ("preflight", "compatibility", "health", "watch")
"""The phases that are made by default where the version serves that is named."""


@dataclass(frozen=True)
class Seen:
    """What a check saw, for which phase and of which version."""

    phase: str
    version: str
    measurement: Measurement


@dataclass(frozen=True)
class LeftOut:
    """A check that was not made, and why."""

    phase: str
    check: Check
    because: str


@dataclass(frozen=True)
class Preview:
    """What the checks of a system see now; ``serving`` is empty where golive does not know what serves."""

    system: str
    version: str
    serving: str
    compared_with: str
    """The release whose baselines were compared with; empty if there is none."""
    seen: Sequence[Seen] = ()
    left_out: Sequence[LeftOut] = ()

    @property
    def outcome(self) -> Outcome:
        """What all add up to; advisory checks decide nothing, and no check at all is unknown."""
        return verdict(one.measurement for one in self.seen)


@dataclass(frozen=True)
class _Before:
    """What is on record of the newest release that recorded anything before it began."""

    release: str = ""
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counted: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)


def preview(system: str, version: str = "", phases: Sequence[str] = (), only: Sequence[str] = ()) -> Preview:
    """Make a system's checks now, all at once, by the code that makes them in a release.

    A check that does more than look is left out unless ``only`` names it, and so is one that compares with what a
    release records before it where none has. Raises `NotFound` for a name in ``only`` that no check has, and
    `UserError` where no version is named and none serves.
    """
    settings = Settings.from_environment()
    file = loading.load(loading.find_release_file(settings.systems, system))
    require_checks(file, phases or PHASES, only)
    at = world_of(file)
    serving = _serving(file, settings, production(file, settings, at, check_version(version) if version else ""))
    of = version or serving
    if not of:
        raise UserError(f"no version of {system} serves", do=f"name the version: golive check {system} VERSION")
    by_default = PHASES if only else OF_ANY if serving and serving != of else OF_SERVING
    chosen = [(phase, check) for phase, check in file.checks.every() if phase in (phases or by_default)]
    before = _recorded(settings, file)
    made, left_out = _sorted(chosen, only, before)
    with _code(file, production_everywhere(file, settings, at, of)) as there:
        asked = production_everywhere(file, settings, at, serving or of)
        seen, basic = _basic(file, settings, there) if CODE in (phases or by_default) and not only else ([], [])
        looks = [(CODE, check, there) for check in basic]
        looks += [(phase, check, there if phase == CODE else asked) for phase, check in made]
        found = measure_each(
            [
                (check, target.at(baseline=before.baselines, earlier=before.counted.get(phase, {})))
                for phase, check, target in looks
            ]
        )
    seen += [Seen(phase, target.version, one) for (phase, _, target), one in zip(looks, found, strict=True)]
    return Preview(system, of, serving, before.release, seen, left_out)


def require_checks(file: ReleaseFile, phases: Sequence[str], names: Sequence[str]) -> None:
    """Raise `NotFound`, with the likely one, for a phase that there is not, or a name that no check of them has."""
    known = [check.name for phase, check in file.checks.every() if phase in phases]
    _require("phase", phases, PHASES, "checks")
    _require("check", names, known, f"checks of {', '.join(phases)}")


def _require(what: str, names: Sequence[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 3) or known
            expected = " or ".join(map(repr, near)) or "a phase that has checks"
            raise NotFound(f"there is no {what} {name!r}", expected=expected, where=where)


def _serving(file: ReleaseFile, settings: Settings, own: Target) -> str:
    try:
        return file.rollout.serving(site_of(file, settings, own)) or ""
    except (OutsideError, RolloutFailed) as error:
        own.world.progress(f"which version serves is not known: {own.world.secrets.mask(str(error))}")
        return ""


def _recorded(settings: Settings, file: ReleaseFile) -> _Before:
    try:
        book = ledger(settings)
        for row in book.releases.latest(file.system, limit=20):
            if baselines := book.evidence.baselines(row.id):
                counted = {
                    phase: book.evidence.counted(row.id, phase, [one.name for one in file.checks.of(phase)])
                    for phase in PHASES
                }
                return _Before(row.id, baselines, counted)
    except GoliveError as error:
        world_of(file).progress(f"nothing can be compared with: {error}")
    return _Before()


def _sorted(
    chosen: Sequence[tuple[str, Check]], only: Sequence[str], before: _Before
) -> tuple[list[tuple[str, Check]], list[LeftOut]]:
    made, left_out = [], []
    for phase, check in chosen:
        if only:
            made += [(phase, check)] if check.name in only else []
        elif because := check.acts(phase) or _lacks(phase, check, before):
            left_out.append(LeftOut(phase, check, because))
        else:
            made.append((phase, check))
    return made, left_out


def _lacks(phase: str, check: Check, before: _Before) -> str:
    known = check.name in before.baselines or check.name in before.counted.get(phase, {})
    if not check.compares or known:
        return ""
    return "compares with what a release records before it, and none is on record"


@contextmanager
def _code(file: ReleaseFile, target: Target) -> Iterator[Target]:
    """Give the target on which the version's code lies, brought to a place of its own for the block if need be.

    That is within ``releases``, by a name that the next release sweeps away should this process be killed.
    """
    version, machines = target.version, {"": target, **target.hosts}
    if all(placed(one, version) for one in machines.values()):
        yield target
        return
    name = f".preview-{secrets.token_hex(4)}.partial"
    target.world.progress(f"{version} is not here yet: its code is brought for this preview alone")
    try:
        brought = everywhere(
            machines,
            lambda one: file.source.fetch(one.at(root=one.root / "releases" / name), version).directory,
        )
        yield target.at(
            release_dir=brought[""],
            hosts={host: one.at(release_dir=brought[host]) for host, one in target.hosts.items()},
        )
    finally:
        everywhere(machines, lambda one: one.world.host.remove_tree(one.root / "releases" / name))


def _basic(file: ReleaseFile, settings: Settings, target: Target) -> tuple[list[Seen], list[Check]]:
    """Return the checks that every release needs, and what is known already where they cannot even be made."""
    try:
        return [], foundations(file, settings, target)
    except GoliveError as error:
        clock, said = target.world.clock, target.world.secrets.mask(f"{error.id}: {error}")
        found = Measurement("golive: what every release needs", "golive", unknown(said), clock.now(), 0.0)
        return [Seen(CODE, target.version, found)], []
