"""The commands that tell where things stand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands import AsJson, ReleaseId, System, book, command, either_like, print_json, settings
from deployments.output import console, masked, note, say
from tasks.domain.counting import many
from tasks.domain.errors import LedgerError, NotFound, NotGenuine, OutsideError, ReleaseFileError, UserError

if TYPE_CHECKING:
    from tasks.reporting.bundle import Bundle


@command("status")
def status(
    what: Annotated[
        str, typer.Argument(metavar="SYSTEM|ID", help="By default all.", show_default=False, autocompletion=either_like)
    ] = "",
    *,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many releases at most.")] = 20,
) -> None:
    """Tell where releases stand, whether the guard is alive, and what could not be told to people."""
    from deployments import looking
    from tasks.spec.loading import systems_in

    ledger = book()
    try:
        row = ledger.releases.get(what)
    except NotFound:
        shown: Any = looking.releases_of(ledger, what or None, systems_in(settings().systems), limit)
    else:
        shown = looking.details_of(ledger, row)
        shown["awaits"] = _awaited(what) if row.scope == "release" else []
    health = looking.health_of(ledger)
    named = shown["system"] if isinstance(shown, dict) else what or None
    switches = looking.switches_of(ledger, named)
    if as_json:
        print_json({**({"releases": shown} if isinstance(shown, list) else shown), **health, "switches": switches})
        return
    if isinstance(shown, dict):
        _show_details(shown)
    elif shown:
        console().print(looking.releases_table(shown, ledger.evidence.now()))
    else:
        say("no release yet; begin with: golive release SYSTEM VERSION")
    for one in switches:
        _show_switch(one)
    _show_health(health)


def _show_switch(one: dict[str, Any]) -> None:
    at = f"{one['since'][:16].replace('T', ' ')} UTC"
    if one["state"] == "off":
        say(f"{one['system']}: {one['switch']} is off in {one['version']} since {at}, by {one['by']}", "yellow")
    else:
        say(f"{one['system']}: {one['switch']} is in an unclear state since {at}: switch it once more", "bold red")
    say(masked(f"  {one['reason']}"), "dim")


def _awaited(release_id: str) -> list[str]:
    from tasks.signing import observed, roles_missing

    try:
        return roles_missing(observed(release_id))
    except ReleaseFileError:
        return []  # on record by a form that this golive cannot read any more


def _show_details(one: dict[str, Any]) -> None:
    from deployments import looking

    say(f"{one['system']} {one['previous_version'] or '–'} → {one['version']} ({one['scope']}), by {one['started_by']}")
    if one["reason"]:
        say(masked(one["reason"]))
    console().print(looking.details_table(one))
    for signature in one["signatures"]:
        said = f": {signature['reason']}" if signature["reason"] else ""
        say(masked(f"{signature['gate']}: {signature['role']}: {signature['decision']} by {signature['person']}{said}"))
    say(f"way back: {one['way_back'] or 'not rehearsed'}{': ' + one['way_back_why'] if one['way_back_why'] else ''}")
    if one["checklist"]:
        say(f"checklist: {one['checklist']}")
    for stage in one["stages"]:
        say(masked(f"stage {stage['stage']}: {stage['verdict']}: {stage['seen']}"))
    if one["rollback_now"]:
        say(masked(one["rollback_now"]))
    if todo := looking.next_act(one, one["awaits"]):
        say(todo, "bold")


def _show_health(health: dict[str, Any]) -> None:
    guard_ = health["guard"]
    heard = f", last heard of at {guard_['seen_at'][:19]} UTC" if guard_["seen_at"] else ""
    say(f"guard: {'alive' if guard_['alive'] else 'none'}{heard}", "" if guard_["alive"] else "dim")
    letters = health["dead_letters"]
    if letters:
        count = many(len(letters), "message")
        say(f"{count} could not be delivered; the newest, by {letters[0]['notifier']}:", "yellow")
        say(masked(f"  {letters[0]['release']}: {letters[0]['error']}"), "yellow")


@command("logs")
def logs(
    system: System,
    *,
    lines: Annotated[int, typer.Option("--lines", min=1, max=10_000, help="How many of each process at most.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Show what runs in each place of a system's rollout, and the last lines that it wrote."""
    from tasks.instances import instances_of

    found = instances_of(system, lines)
    if as_json:
        print_json([{"place": one.place, **asdict(one.status), "lines": list(one.lines)} for one in found])
        return
    for seen in found:
        status = seen.status
        told = "; ".join(f"{name} {words}" for name, words in status.detail.items())
        version = f" {status.version} on port {status.port}" if status.version else ""
        note(f"{seen.place}: {status.running}{version}{f' ({told})' if told else ''}")
        for line in seen.lines:
            say(line)


@command("metrics")
def metrics() -> None:
    """Print golive's own metrics as Prometheus reads them; the monitor writes them to GOLIVE_METRICS_FILE."""
    from tasks.metering import metrics_text

    typer.echo(metrics_text(book()), nl=False)


@command("report")
def report(
    release_id: ReleaseId,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="Where the bundle goes; only with --bundle.")
    ] = None,
    *,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Write all evidence as one archive too, and put its hash on record.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a release's report as one HTML file and print its path; with --bundle, the evidence as one archive."""
    if path is not None and not bundle:
        raise UserError(f"{path} is given without --bundle", do=f"golive report {release_id} --bundle {path}")
    from tasks.report import told_of, write_bundle, write_report

    written = write_report(release_id)
    archive, sha256 = write_bundle(release_id, path) if bundle else (None, None)
    line = told_of(release_id)
    if as_json:
        made = {"bundle": str(archive) if archive else None, "sha256": sha256, "checklist": line or None}
        print_json({"release": release_id, "report": str(written), **made})
    else:
        say(str(written))
        if archive:
            say(f"{sha256}  {archive}")
        if line:
            note(f"checklist: {line}")
    if show:
        typer.launch(written.as_uri())


@command("verify")
def verify(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="The archive that golive report --bundle wrote.", show_default=False),
    ],
    *,
    against_ledger: Annotated[
        bool | None,
        typer.Option(
            "--against-ledger/--offline",
            help="Require the ledger to have it on record, or do not ask; by default it is asked where it answers.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that an evidence bundle is as it was made, by itself and against the ledger; any fault is exit code 12."""
    from tasks.reporting.bundle import made_elsewhere, verified

    try:
        found = verified(bundle.read_bytes())
    except OSError as error:
        raise NotFound(f"cannot be read: {error.strerror}", where=str(bundle)) from error
    ledger_says = "not asked" if found.faults or against_ledger is False else _of_ledger(found, against_ledger)
    if as_json:
        faults = [{"file": one.file, "expected": one.expected, "seen": one.seen} for one in found.faults]
        print_json({"sha256": found.sha256, "manifest": found.manifest, "faults": faults, "ledger": ledger_says})
    for fault in found.faults:
        note(str(fault))
    if found.faults:
        raise NotGenuine(
            f"{len(found.faults)} {'thing is' if len(found.faults) == 1 else 'things are'} not as they were made, "
            f"the first: {found.faults[0]}",
            where=str(bundle),
            do="do not rely on it; take another copy, or have one made: golive report ID --bundle",
        )
    if as_json:
        return
    told, figures = found.manifest, found.manifest["figures"]
    say(f"{found.sha256}  {bundle}")
    say(f"{told['system']} {told['version']} ({told['release']}): {figures['verdict']}", "bold")
    say(f"{len(told['files'])} files, as of {told['as_of']}: whole, and the figures are those of the evidence")
    if made_elsewhere(told):
        made = ", ".join(f"{name} {number}" for name, number in told["made_with"].items())
        note(f"made with {made}, which are not these; so its reports were not made once more from the evidence")
    say(f"ledger: {ledger_says}")


def _of_ledger(found: Bundle, required: bool | None) -> str:
    """Return what the ledger says of a bundle; unless it is ``required``, it may be away or another one."""
    from tasks.reporting.bundle import on_record

    if not required and settings().ledger_url is None and not (settings().home / "ledger" / "data").exists():
        return "not asked: there is none here"
    try:
        return f"has it on record since {on_record(book(), found)}"
    except (NotFound, LedgerError, OutsideError) as error:
        if required:
            raise
        return masked(f"not held against it: {error.seen}")
