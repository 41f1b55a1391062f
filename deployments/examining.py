"""The command that looks at what golive itself rests on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands import AsJson, command, print_json, settings, systems_like
from deployments.output import masked, say
from tasks.domain.errors import ChecksFailed, Inconclusive
from tasks.domain.outcome import Outcome

if TYPE_CHECKING:
    from deployments.doctor.finding import Finding


@command("doctor")
def doctor(
    systems: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYSTEM", help="By default all.", show_default=False, autocompletion=systems_like),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Look at all that golive rests on: programs, ledger, Prefect, guard, disk, clock, secrets, databases, hosts.

    Nothing is started or changed. Ends with exit code 4 if something is wrong, and 5 if only something is not known.
    """
    from deployments.doctor.examine import examine
    from tasks.spec.loading import systems_in

    found = examine(settings(), systems or systems_in(settings().systems))
    outcomes = {one.outcome for one in found}
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            _show_finding(one)
    if Outcome.FAILED in outcomes:
        raise typer.Exit(ChecksFailed.exit_code)
    if Outcome.UNKNOWN in outcomes:
        raise typer.Exit(Inconclusive.exit_code)


def _show_finding(one: Finding) -> None:
    sign, style = {"passed": ("✓", ""), "failed": ("✗", "bold red"), "unknown": ("?", "yellow")}[one.outcome]
    say(masked(f"{sign} {one.about}: {one.seen}"), style)
    if one.expected and one.outcome != "passed":
        say(masked(f"    expected {one.expected}" + (f"; → {one.do}" if one.do else "")), "dim")
