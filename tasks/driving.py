"""How a process drives a release: opens or joins it, stays heard of, and says how it ended."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect.exceptions import TerminationSignal

from tasks.acting import log_to_run
from tasks.context import context_of, holder, is_gone, ledger, production, site_of, world
from tasks.courier import Courier, running
from tasks.domain.errors import GoliveError, LedgerError, OutsideError, Refused, RolloutFailed, SeveralServe
from tasks.domain.ports import World
from tasks.domain.release import State, check_version, new_release_id
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.releases import Claim, Opening
from tasks.rollouts import Site
from tasks.settings import Settings
from tasks.showing import shown_in_prefect
from tasks.slots import show_slot
from tasks.spec import loading
from tasks.spec.release_file import REFERENCE, ReleaseFile
from tasks.telling import courier_for, tell

BEAT_EVERY = 15.0
"""Seconds between two signs of life of the process that drives a release."""


def person(given: str = "") -> str:
    """Return who started it: the name given, or the operating system's name of the user."""
    return given.strip() or getpass.getuser()


def open_release(system: str, version: str, *, scope: str, mutates: bool, started_by: str, reason: str) -> Claim:
    """Put a new release on record, with what serves now as the version to go back to, and take hold of it.

    Raises `UnknownSystem`, `ReleaseFileError` or `InvalidVersion` before anything is on record, `Refused` if the
    version is blocked, and `ActiveRelease`.
    """
    settings, at = Settings.from_environment(), world()
    path = loading.find_release_file(settings.systems, system)
    file = loading.load(path)
    check_version(version)
    require_secrets(file, at)
    target = production(file, settings, at, version)
    identity = file.source.identify(target, version)
    if mutates and scope != "release" and file.sign_off.go:
        raise Refused(
            f"{scope} alone would change {system} without the signatures of {', '.join(file.signers('go'))}",
            expected="a whole release, which asks for them",
            do=f"golive release {system} {version}",
        )
    book = ledger(settings)
    if block := book.releases.blocked(system, version):
        raise Refused(
            f"{system} {version} is blocked since {block.at:%Y-%m-%d %H:%M} by {block.by}: {block.reason}",
            expected="a version that is not blocked",
            do=f"release another one, or: golive unblock {system} {version} --by NAME --reason WHY",
        )
    serving = _serving(file, site_of(file, settings, target), version, needed=mutates)
    row = book.releases.open(
        Opening(
            id=new_release_id(system, at.clock.now()),
            system=system,
            version=version,
            scope=scope,
            mutates=mutates,
            started_by=person(started_by),
            reason=reason.strip(),
            file=str(path),
            file_text=path.read_text(encoding="utf-8"),
            previous_version=serving if serving != version else _before(book, system, version),
            identity=identity,
            checklist_text=loading.checklist_text(path),
        )
    )
    return book.releases.take(row.id, holder())


def _serving(file: ReleaseFile, site: Site, version: str, *, needed: bool) -> str | None:
    """Return the version that serves; where production is not to be changed, it need not be known.

    One that serves in part is taken up where only it, or ``version``, is up at all: by such a release a system comes
    back to one version in all places. One that is about to be up counts as well, since without it there would be no
    way back.
    """
    try:
        return file.rollout.serving(site) or file.rollout.coming_up(site)
    except SeveralServe as error:
        if version in error.versions or len(error.versions) == 1:
            return version if version in error.versions else error.versions[0]
        if needed:
            raise
        seen: GoliveError = error
    except (OutsideError, RolloutFailed) as error:
        if needed:
            raise
        seen = error
    # A backup is wanted most when nothing runs any more.
    site.target.world.progress(f"which version serves is not known: {seen}")
    return None


def require_secrets(file: ReleaseFile, at: World) -> None:
    """Resolve every secret that the release file names; raises `SecretMissing`.

    A notifier's is left out: without its token messages go to the console, and nothing waits for them.
    """
    for reference in sorted(set(REFERENCE.findall(file.model_dump_json(exclude={"notify"})))):
        at.secrets.resolve(reference)


def _before(book: Ledger, system: str, version: str) -> str | None:
    """Return what served before a version that already serves: what its own last release went away from."""
    for row in book.releases.latest(system, limit=100):
        if row.version == version and row.mutation_started_at is not None:
            return row.previous_version
    return None


def join(release_id: str) -> Claim:
    """Return this process's claim on a release, taking it over if whoever held it is silent; raises `Refused`."""
    book = ledger(Settings.from_environment())
    row = book.releases.get(release_id)
    if row.holder == holder():
        return Claim(row.id, row.epoch, row.holder)
    return take_over(book, row)


def take_over(book: Ledger, row: Release) -> Claim:
    """Take a release over if whoever held it is silent, at once if that process has ended.

    Raises `Refused`, also if another one has taken it over since it was read.
    """
    return book.releases.take(row.id, holder(), dead=row.holder if is_gone(row.holder) else "", epoch=row.epoch)


def advance(claim: Claim, after: State, note: str = "", **values: Any) -> None:
    """Move a release on to a state and tell people; being there already is fine.

    ``values`` are the columns of the release that the move sets.
    """
    ctx = context_of(claim)
    before = State(ctx.release.state)
    if before is not after:
        ctx.ledger.releases.move(claim, before, after, note=note, tell=tell(ctx, after, note), **values)


def shown(claim: Claim, error: BaseException) -> str:
    """Return what an error says in a form that may be told to anybody: secrets are hidden."""
    if isinstance(error, TerminationSignal):
        return "cancelled: its process was asked to end, as Prefect does when a run is cancelled there"
    return context_of(claim).world.secrets.mask(str(error) or type(error).__name__)


@contextmanager
def driving(claim: Claim) -> Iterator[Claim]:
    """Keep the release held, and its messages going out, until the block ends; then let it go."""
    ctx = context_of(claim)
    log_to_run()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_EVERY):
            # A ledger that is away for a moment is the next step's trouble; a lost claim stops the next step.
            with suppress(LedgerError, Refused):
                ctx.ledger.releases.beat(claim)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    courier: Courier = courier_for(ctx)
    show_slot(ctx.release.system)
    try:
        with running(courier), shown_in_prefect(ctx):
            yield claim
    finally:
        ended.set()
        with suppress(GoliveError):
            ctx.ledger.releases.let_go(claim)
            show_slot(ctx.release.system)


def _own(release: str, scope: str, system: str, version: str) -> Claim:
    """Return this process's claim on the release that a phase belongs to."""
    row = ledger(Settings.from_environment()).releases.get(release)
    in_turn = row.state in (scope, State.RUNNING) and (row.system, row.version) == (system, version)
    if row.holder != holder() or not in_turn:
        raise Refused(
            f"{release} ({row.system} {row.version}) is {row.state}, driven by {row.holder or 'nobody'}",
            expected=f"the release of {system} {version} whose own process has come to {scope}",
            do=f"leave release empty to run {scope} alone, or go on with: golive resume {release}",
        )
    return Claim(row.id, row.epoch, row.holder)


@contextmanager
def operation(
    scope: str, system: str, version: str, release: str = "", *, mutates: bool = False, started_by: str = ""
) -> Iterator[Claim]:
    """Run a phase: as part of ``release`` if that is named, else as an operation of its own, with its own record.

    A phase is part of a release only in the process that drives it, in its own turn: anybody else who names one is
    `Refused`, so that no gate is passed by.
    """
    if release:
        yield _own(release, scope, system, version)
        return
    reason = f"the phase {scope} alone"
    opened = open_release(system, version, scope=scope, mutates=mutates, started_by=started_by, reason=reason)
    with to_its_end(opened) as claim:
        yield claim


@contextmanager
def to_its_end(opened: Claim) -> Iterator[Claim]:
    """Drive an operation of its own, telling people: it runs, and then is done, stopped, or left to a person."""
    with driving(opened) as claim:
        advance(claim, State.RUNNING)
        try:
            yield claim
        except BaseException as error:
            ctx = context_of(claim)
            touched = ctx.release.mutation_started_at is not None
            with suppress(GoliveError):
                advance(claim, State.NEEDS_PERSON if touched else State.STOPPED, shown(claim, error))
            raise
        advance(claim, State.DONE)
