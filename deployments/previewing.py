"""The command that makes a system's checks before anything is released."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands import AsJson, System, command, print_json
from deployments.output import console, masked, note, say
from tasks.domain.errors import ChecksFailed, Inconclusive
from tasks.domain.outcome import Outcome


@command("check")
def check(
    system: System,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="By default the one that serves.", show_default=False)
    ] = "",
    *,
    phase: Annotated[
        list[str] | None,
        typer.Option("--phase", metavar="PHASE", help="Only the checks of this phase of the file; may be repeated."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only this check, whatever it does; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the checks of a system's release file now, all at once, without a release.

    Nothing is put on record, nobody is told, and production stays as it is: a check that does more than look (sends a
    test alert, a load, a message, a request that is no GET, runs a command outside preflight) is left out and named,
    and made only where --only names it. So is one that compares with what a release records, while none has.

    Checks of preflight look at the version, whose code is brought to a place of its own for as long; those of other
    phases ask what serves. By default preflight, compatibility, health and watch are made; of a version that does not
    serve yet, preflight and compatibility.

    Ends with exit code 4 if a check that decides has failed, and with 5 if one came to no result, or none was made.
    """
    from deployments import looking_at_checks
    from tasks.preview import preview

    found = preview(system, version, phase or (), only or ())
    if as_json:
        print_json(looking_at_checks.as_json(found))
    else:
        for title, table in looking_at_checks.tables(found):
            say(title, "bold")
            console().print(table)
        if found.left_out:
            console().print(looking_at_checks.left_out_table(found))
            note(f"made all the same by: golive check {system} --only NAME")
        say(masked(looking_at_checks.summary(found)), "bold")
    if found.outcome is not Outcome.PASSED:
        raise typer.Exit(_ENDS_WITH[found.outcome])


_ENDS_WITH = {Outcome.FAILED: ChecksFailed.exit_code, Outcome.UNKNOWN: Inconclusive.exit_code}
