"""The steps of a partial rollback: one switch of a system is turned off, or on again, and the system is checked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from tasks.acting import act, act_once, do_one
from tasks.apart import file_of, open_apart
from tasks.checking import look_at, require
from tasks.context import Context, context_of, ledger, production, site_of, world
from tasks.domain.errors import ActiveRelease, GoliveError, NotFound, Refused, UserError
from tasks.domain.ports import Command
from tasks.domain.release import TERMINAL, State
from tasks.domain.target import Target
from tasks.driving import advance, take_over
from tasks.everywhere import everywhere
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Claim
from tasks.rollouts import Step
from tasks.settings import Settings
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile
from tasks.spec.switches import Rename, Switch

SCOPE = "switch"
To = Literal["off", "on"]
ACTS: Mapping[To, str] = {"off": "disable", "on": "enable"}
"""What a person calls it."""
_BUSY = frozenset({State.MIGRATE, State.DEPLOY, State.HEALTH, State.ROLLING_BACK, State.RUNNING})
"""States in which a release itself changes production."""


def open_switch(system: str, name: str, to: To, *, started_by: str, reason: str) -> Claim:
    """Put the turning of a switch on record, and end those of it that a dead process has left behind.

    A release may be under watch meanwhile. Raises `NotFound` for an unknown switch, `ActiveRelease` while a release
    changes production, and `Refused` while another process turns a switch of the system, or nothing serves.
    """
    if not reason.strip():
        raise UserError(f"no reason to {ACTS[to]} {name}", expected="one in a sentence", do="say why")
    settings, at = Settings.from_environment(), world()
    book = ledger(settings)
    path, text = file_of(book, settings, system)
    file = loading.parse(text, path)
    switch_of(file, name)
    active = book.releases.active(system)
    if active is not None and State(active.state) in _BUSY:
        raise ActiveRelease(
            f"{active.id} ({active.version}) is {active.state}",
            expected="no release that changes production now",
            do=f"wait for it, or look at it with: golive status {active.id}",
        )
    _end_what_was_left(book, system)
    target = production(file, settings, at, "")
    serving = file.rollout.serving(site_of(file, settings, target))
    if not serving and to == "on":
        serving = _switched_off(book, system, name)
    if not serving:
        expected = "one whose part is switched" + (", or one that was switched off" if to == "on" else "")
        raise Refused(f"no version of {system} serves", expected=expected, do="release one")
    why = f"{ACTS[to]} {name}: {reason.strip()}"
    return open_apart(system, SCOPE, version=serving, started_by=started_by, reason=why)


def _switched_off(book: Ledger, system: str, name: str) -> str | None:
    """Return the version that this switch keeps from serving, as far as is on record.

    That is so if it was turned off last, or its turning broke off, and no release has touched production since.
    """
    names = {f"{act} {name}" for act in ACTS.values()}
    turned = [one for one in book.releases.events_of(SCOPE) if one[0].system == system and one[1].name in names]
    if not turned:
        return None
    row, step = turned[-1]
    if (step.name, step.event) == (f"{ACTS['on']} {name}", "done"):
        return None
    since = (one.mutation_started_at for one in book.releases.latest(system, limit=100))
    return None if any(at is not None and at > step.at for at in since) else row.version


def _end_what_was_left(book: Ledger, system: str) -> None:
    for row in book.releases.latest(system, limit=100):
        if row.scope == SCOPE and State(row.state) not in TERMINAL:
            advance(take_over(book, row), State.STOPPED, "its process died; it is begun anew")


def switch_of(file: ReleaseFile, name: str) -> Switch:
    """Return a switch by its name; raises `NotFound` with the nearest."""
    for one in file.switches:
        if one.name == name:
            return one
    known = [one.name for one in file.switches]
    near = get_close_matches(name, known, n=3) or known
    raise NotFound(
        f"{file.system} has no switch {name!r}",
        expected=f"one of {', '.join(near)}" if near else "switches in its release file",
        where="switches",
        do="correct it, or add the switch",
    )


@act
def turn(claim: Claim, name: str, to: To) -> Mapping[str, Any]:
    """Turn the switch of the version that serves; done already is fine."""
    ctx = context_of(claim)
    switch = switch_of(ctx.file, name)
    # It does not count as an act of a release: none is rolled back for it.
    return do_one(ctx, SCOPE, Step(f"{ACTS[to]} {name}", lambda: _turned(ctx, switch, to), mutates=False))


def _turned(ctx: Context, switch: Switch, to: To) -> Mapping[str, Any]:
    """Turn the switch on every machine that runs the version, and return what was done on the first."""
    running = {name: one for name, one in ctx.targets(ctx.release.version).items() if name}
    done = everywhere(running or {"": ctx.target()}, lambda target: _turned_on(ctx, target, switch, to))
    return next(iter(done.values()))


def _turned_on(ctx: Context, target: Target, switch: Switch, to: To) -> Mapping[str, Any]:
    directory = Path(target.fill(switch.directory))
    done: dict[str, Any] = {"version": ctx.release.version}
    try:
        if switch.rename is not None:
            done["renamed"] = _renamed(target, directory, switch.rename, to)
        for argv in switch.off if to == "off" else switch.on:
            words = tuple(target.fill(word) for word in argv)
            secret = {key: target.fill(value) for key, value in switch.environment.items()}
            target.world.host.run(Command(words, cwd=directory, secret_env=secret, timeout=switch.timeout))
    except GoliveError as error:
        again = f"golive {ACTS[to]} {ctx.file.system} {switch.name} once more"
        error.do = f"{error.do}; then {again}" if error.do else f"mend that, then {again}"
        raise
    return done


def _renamed(target: Target, directory: Path, rename: Rename, to: To) -> bool:
    """Rename the file unless it has its name already, and return whether it had to be."""
    host = target.world.host
    before, after = (rename.from_, rename.to) if to == "off" else (rename.to, rename.from_)
    there = host.exists(directory / before), host.exists(directory / after)
    if there == (False, True):
        return False
    if there != (True, False):
        raise Refused(
            f"both {before} and {after} are there" if all(there) else f"neither {before} nor {after} is there",
            expected="one of them",
            where=str(directory),
            do="remove the wrong one" if all(there) else "correct the switch's rename in the release file",
        )
    host.run(Command(("mv", "-T", "--", str(directory / before), str(directory / after))))
    return True


@act_once
def confirm(claim: Claim, name: str, to: To) -> str:
    """Make the switch's check, and return what holds now; raises `ChecksFailed` or `Inconclusive`."""
    ctx = context_of(claim)
    switch = switch_of(ctx.file, name)
    seen = look_at(ctx, SCOPE, [ctx.file.check(switch.check)], ctx.target())
    require(seen, f"{ctx.file.system} with {name} {to}", needed=True)
    return f"{name} of {ctx.file.system} {ctx.release.version} is {to}; {switch.check}: {seen[0].reading.seen}"
