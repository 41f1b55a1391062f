"""The commands that take systems live and back, sign, watch and forbid."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

import typer

from deployments.commands import (
    AsJson,
    By,
    MustBy,
    MustReason,
    Reason,
    ReleaseId,
    System,
    Version,
    book,
    command,
    connect_prefect,
    connect_prefect_if_it_answers,
    print_json,
    require_known,
    settings,
    tell,
)
from deployments.output import note, say
from tasks.domain.errors import NotFound, Refused, UserError
from tasks.domain.gates import Decision
from tasks.domain.release import State

_PATIENCE = 15.0
"""Seconds that Prefect's server gets to come up before something is taken back without it."""
Phase = Literal["preflight", "backup", "rehearse", "migrate", "deploy", "health"]


@command("release")
def release(
    system: System,
    version: Version,
    *,
    reason: Reason = "",
    by: By = "",
    supersede: Annotated[bool, typer.Option("--supersede", help="End the watch of what is live now.")] = False,
    resume: Annotated[str, typer.Option("--resume", metavar="ID", help="Go on with a release left behind.")] = "",
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="Announce it and begin then, as 2026-11-24T02:00+00:00.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take a system to a version through all phases, now or at a time that people are told of at once."""
    require_known(system, version)
    if at:
        connect_prefect()
        from deployments import starting as flows
        from tasks.announcing import announced

        said = flows.run(flows.announce(system, version, _moment(at), reason, by))
        (newest, _at), *_others = announced(book(), system, version)
        tell(said, as_json=as_json, release=newest.id)
        return
    if resume:
        row = book().releases.get(resume)
        if (row.system, row.version) != (system, version):
            raise UserError(f"{resume} is {row.system} {row.version}", expected=f"{system} {version}")
    connect_prefect()
    from deployments import starting as flows

    begun = flows.release(system, version, reason, by, supersede, resume)
    tell(flows.run(begun, phases=flows.PHASES), as_json=as_json)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UserError(f"{text!r} is not a moment", expected="date, time and zone, as in 2026-11-24T02:00+00:00")
    return found.astimezone(UTC)


@command("cancel")
def cancel(announcement: ReleaseId, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """Call a release off that was announced and has not begun."""
    book().releases.get(announcement)
    connect_prefect()
    from deployments import starting as flows

    tell(flows.run(flows.call_off(announcement, reason, by)), as_json=as_json, release=announcement)


@command("rollback")
def rollback(
    system: System,
    *,
    release_id: Annotated[
        str, typer.Option("--release", metavar="ID", help="By default the newest that touched production.")
    ] = "",
    reason: Reason = "",
    by: By = "",
    accept_loss: Annotated[
        int,
        typer.Option(
            "--accept-loss",
            metavar="ROWS",
            min=-1,
            help="How many changed rows may be lost, where a restore of the backup is the only way back; -1: none.",
            show_default=False,
        ),
    ] = -1,
    as_json: AsJson = False,
) -> None:
    """Take a system back to the version before, by the way that the rehearsal has proven."""
    from tasks.spec.loading import find_release_file

    # A release goes back by the file that is on record with it: one that is wrong by now must not hold that up.
    find_release_file(settings().systems, system)
    if release_id and (row := book().releases.get(release_id)).system != system:
        raise UserError(f"{release_id} is a release of {row.system}", expected=system)
    connect_prefect_if_it_answers(within=_PATIENCE)
    from deployments import starting as flows

    serving = flows.run(flows.rollback_anyway(system, reason, by, accept_loss, release_id))
    tell(f"{system} {serving} serves again", as_json=as_json)


Role = Annotated[str, typer.Option("--role", metavar="ROLE", help="The role in which you sign.", show_default=False)]
Gate = Annotated[
    str,
    typer.Option("--gate", metavar="GATE", help="go, live, stable or stage-N; by default the one that asks the role."),
]


@command("approve")
def approve(
    release_id: ReleaseId,
    *,
    role: Role,
    by: By = "",
    gate: Gate = "",
    reject: Annotated[bool, typer.Option("--reject", help="Say no, as golive reject does.")] = False,
    reason: Reason = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask in a terminal whether to sign for what is shown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a release that waits for it, for what is shown; with the last signature it goes on here."""
    decision: Decision = "reject" if reject else "approve"
    asks = sys.stdin.isatty() and decision == "approve" and not (yes or as_json)
    _decide(release_id, role, by, decision, reason, gate, as_json=as_json, asks=asks)


@command("reject")
def reject(
    release_id: ReleaseId, *, role: Role, reason: MustReason, by: By = "", gate: Gate = "", as_json: AsJson = False
) -> None:
    """Say no to a release: before it touches production it ends; what is live goes back, or a person is asked."""
    _decide(release_id, role, by, "reject", reason, gate, as_json=as_json)


@command("waive")
def waive(
    release_id: ReleaseId,
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help="The role without whose signature it goes on.", show_default=False)
    ],
    *,
    by: MustBy,
    reason: MustReason,
    gate: Gate = "",
    as_json: AsJson = False,
) -> None:
    """Do without the signature of a role; who did so, and why, stands in the report."""
    _decide(release_id, role, by, "waive", reason, gate, as_json=as_json)


def _decide(
    release_id: str,
    role: str,
    by: str,
    decision: Decision,
    reason: str,
    gate: str,
    *,
    as_json: bool,
    asks: bool = False,
) -> None:
    book().releases.get(release_id)
    connect_prefect()
    from deployments import starting as flows
    from tasks.signing import shown_before

    shown = shown_before(release_id, role, gate)
    for name, value in (("gate", shown.gate), ("for", shown.hash[:12] or "what is on record by now"), *shown.figures):
        note(f"{name}: {value}")
    if asks:
        typer.confirm(f"sign for that as {role}?", abort=True)
    person = by or getpass.getuser()
    try:
        said = flows.run(flows.approve(release_id, role, person, decision, reason, gate, shown.hash))
    except Refused as error:
        # The flow of a release that got a no ends so; whoever said it got what they asked for.
        if decision != "reject" or book().releases.get(release_id).state != State.STOPPED:
            raise
        said = f"{release_id} is stopped: {error.seen}"
    tell(said, as_json=as_json, release=release_id)


@command("accept")
def accept(release_id: ReleaseId, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """End a release that waits for a person: what serves now is taken to be stable."""
    row = book().releases.get(release_id)
    connect_prefect()
    from tasks.release import accept as accept_step
    from tasks.report import publish

    said = accept_step(release_id, person_name=by, reason=reason)
    publish(release_id)
    tell(f"{row.id}: {said}", as_json=as_json, release=row.id)


@command("stop")
def stop(release_id: ReleaseId, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """End a release that has not touched production and that no process drives, and remove what it had set up."""
    row = book().releases.get(release_id)
    connect_prefect_if_it_answers()
    from tasks.release import stop_by_person
    from tasks.report import publish

    said = stop_by_person(release_id, person_name=by, reason=reason)
    publish(release_id)
    tell(f"{row.id}: {said}", as_json=as_json, release=row.id)


@command("resume")
def resume_release(release_id: ReleaseId, *, by: By = "", as_json: AsJson = False) -> None:
    """Go on with a release, or its rollback, whose process has died."""
    if State(book().releases.get(release_id).state) is State.ROLLING_BACK:
        connect_prefect_if_it_answers(within=_PATIENCE)
    else:
        connect_prefect()
    from deployments import starting as flows

    tell(flows.resume(release_id, by), as_json=as_json, release=release_id)


@command("phase")
def phase(
    name: Annotated[Phase, typer.Argument(metavar="NAME", help=f"Which: {', '.join(get_args(Phase))}.")],
    system: System,
    version: Version,
    *,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Run one phase alone; migrate and deploy change production."""
    require_known(system, version)
    connect_prefect()
    from deployments import starting as flows

    result = flows.run(flows.PHASES[name](system, version, by))
    tell(f"{name} of {system} {version}: {result or 'done'}", as_json=as_json)


Switch = Annotated[
    str, typer.Argument(metavar="SWITCH", help="The switch, by its name in the release file.", show_default=False)
]


@command("disable")
def disable(system: System, switch: Switch, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """Switch one feature or provider of a system off, as its release file declares it, and check the system."""
    _turn(system, switch, "off", by, reason, as_json=as_json)


@command("enable")
def enable(system: System, switch: Switch, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """Switch a feature or provider on again, and check the system."""
    _turn(system, switch, "on", by, reason, as_json=as_json)


def _turn(system: str, switch: str, to: Literal["off", "on"], by: str, reason: str, *, as_json: bool) -> None:
    require_known(system)
    connect_prefect()
    from deployments import starting as flows

    tell(flows.run(flows.switch(system, switch, reason, to, by)), as_json=as_json)


@command("monitor")
def monitor(*, as_json: AsJson = False) -> None:
    """Look once at every release under watch, as Prefect's schedule does each hour."""
    connect_prefect(quiet=False)
    from deployments import starting as flows

    looks = flows.run(flows.monitor())
    if as_json:
        print_json({"looks": looks})
    else:
        say("\n".join(looks) or "nothing is due")


@command("guard")
def guard() -> None:
    """Probe every release under watch until none is left; a release starts this by itself."""
    connect_prefect_if_it_answers(quiet=False)
    from deployments import starting as flows

    say(f"nothing is left to guard, or another guard is at it; answered: {flows.run(flows.guard_anyway())}")


@command("keep-guard")
def keep_guard(
    once: Annotated[bool, typer.Option("--once", help="Look once, and see through what is to be done.")] = False,
) -> None:
    """See every few seconds that a guard is alive and no rollback left half done; golive up keeps this running."""
    if once:
        from deployments import starting as flows

        say("\n".join(flows.run(flows.keep_guard_anyway())))
        return
    import threading

    from deployments.keeper import keep

    keep(settings(), threading.Event(), note)


@command("slack")
def slack() -> None:
    """Listen to the buttons in Slack and remind who is to sign; golive up starts this where a file names an app."""
    connect_prefect_if_it_answers(quiet=False)
    import threading

    from tasks.listening import listen

    listen(threading.Event())


@command("block")
def block(system: System, version: Version, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """Forbid a version of a system to be released."""
    require_known(system, version)
    book().releases.block(system, version, by=by, reason=reason)
    _tell_block(system, version, f"{system} {version} is blocked", as_json=as_json)


@command("unblock")
def unblock(system: System, version: Version, *, by: MustBy, reason: MustReason, as_json: AsJson = False) -> None:
    """Allow a version that was blocked by a person or a rollback."""
    require_known(system, version)
    if book().releases.blocked(system, version) is None:
        raise NotFound(f"{system} {version} is not blocked")
    book().releases.block(system, version, by=by, reason=reason, action="unblock")
    _tell_block(system, version, f"{system} {version} may be released again", as_json=as_json)


def _tell_block(system: str, version: str, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"system": system, "version": version, "blocked": book().releases.blocked(system, version) is not None}
        )
    else:
        say(said)
