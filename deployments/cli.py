"""The command line ``golive``; what takes time to import is imported by the command that needs it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

# Each module registers its commands when it is imported, in the order in which the help lists them.
from deployments import (
    checklists,
    describing,
    examining,
    following,
    keeping,
    planned,
    previewing,
    releasing,
    replaying,
    viewing,
)
from deployments.commands import AsJson, app, command, print_json, settings
from deployments.output import note, say

__all__ = [
    "app",
    "checklists",
    "describing",
    "examining",
    "following",
    "keeping",
    "main",
    "planned",
    "previewing",
    "releasing",
    "replaying",
    "viewing",
]


@command("up")
def up(*, as_json: AsJson = False) -> None:
    """Start Prefect's server and a worker, and register all deployments; what runs already stays."""
    from deployments.serving import bring_up

    there = bring_up(settings(), note)
    if as_json:
        print_json({**asdict(there), "password_file": str(there.password_file)})
        return
    say(f"Prefect's UI: {there.ui}")
    say(f"it asks for the password that is in {there.password_file}")
    say(f"{len(there.deployments)} deployments: {', '.join(there.deployments)}")
    say(f"systems: {', '.join(there.systems) or f'none in {settings().systems}'}")
    if there.systems:
        say(f"next: {there.ui}/deployments, release, Run; or: golive release {there.systems[0]} VERSION", "bold")
    else:
        say("next: golive init NAME, then golive up once more", "bold")


@command("register")
def register(*, as_json: AsJson = False) -> None:
    """Register all deployments, for the pool of this machine, with the Prefect server that PREFECT_API_URL names."""
    from deployments.registering import register_there

    there = register_there(settings(), note)
    if as_json:
        print_json(asdict(there))
        return
    say(f"{len(there.deployments)} deployments at {there.api}: {', '.join(there.deployments)}")
    say(f"systems: {', '.join(there.systems) or f'none in {settings().systems}'}")
    say(f"next, on each machine of the pool {there.pool}: golive worker", "bold")


@command("worker")
def worker(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs it may have at the same time.")] = 8,
) -> None:
    """Work for the Prefect server that PREFECT_API_URL names, in the pool of this machine, until it is ended."""
    from deployments.registering import become_worker

    become_worker(settings(), limit)


@command("down")
def down(
    *,
    keep_ledger: Annotated[bool, typer.Option("--keep-ledger", help="Let the embedded ledger run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even while a release is on its way.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop what up has started, the guard and the embedded ledger; nothing on record is lost."""
    from deployments.serving import take_down

    take_down(settings(), note, keep_ledger=keep_ledger, force=force)
    said = "golive is down"
    if as_json:
        print_json({"said": said})
    else:
        say(said)


def main() -> None:
    """Run the command line."""
    app(prog_name="golive")


if __name__ == "__main__":
    main()
