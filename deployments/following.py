"""The commands that follow releases: those of the past, and one that is under way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands import AsJson, System, book, command, either_like, print_json, settings
from deployments.output import console, masked, note, say
from tasks.domain.errors import LedgerError, NotFound
from tasks.domain.release import State

if TYPE_CHECKING:
    from tasks.ledger.ledger import Ledger

_ENDED_WELL = frozenset({State.STABLE, State.DONE, State.SUPERSEDED})


@command("history")
def history(
    system: System,
    *,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many releases at most.")] = 20,
) -> None:
    """List a system's releases: when, by whom, how each came out, how long it took, and why one was taken back."""
    from deployments import looking_back
    from deployments.commands import require_known

    past = looking_back.history_of(book(), system, limit)
    if not past:
        require_known(system)
    if as_json:
        print_json(past)
    elif past:
        console().print(looking_back.history_table(past))
    else:
        say(f"no release of {system} yet")


@command("watch")
def watch(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|ID", help="A release, or a system's.", show_default=False, autocompletion=either_like
        ),
    ],
    *,
    as_json: AsJson = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, max=3600, help="How often the ledger is read.")
    ] = 2.0,
) -> None:
    """Follow a release until it ends: its state, steps, probes and looks, and how near its triggers are.

    Where the output is no terminal a line is printed for each change. Ends with exit code 1 if the release did not
    end well.
    """
    ledger = book()
    release_id = _release_of(ledger, what)
    follow = _in_lines if as_json or not console().is_terminal else _on_screen
    ended = follow(ledger, release_id, every, as_json=as_json)
    if State(ended["state"]) not in _ENDED_WELL:
        raise typer.Exit(1)


def _release_of(ledger: Ledger, what: str) -> str:
    """Return the id of a release that is named, or of a system's that is under way, else its newest."""
    from tasks.spec.loading import systems_in

    try:
        return ledger.releases.get(what).id
    except NotFound:
        active = ledger.releases.active(what)
        newest = [active] if active else ledger.releases.latest(what, 1)
        if newest:
            return newest[0].id
    known = systems_in(settings().systems)
    raise NotFound(
        f"{what!r} is neither the id of a release nor a system that has one",
        expected=f"an id, or one of {', '.join(known) or 'no system yet'}",
        do="golive status lists the releases",
    )


def _in_lines(ledger: Ledger, release_id: str, every: float, *, as_json: bool) -> dict[str, Any]:
    from deployments.looking_on import lines_since

    before: dict[str, Any] | None = None
    while True:
        now = _seen(ledger, release_id, before)
        lines = lines_since(before, now)
        if as_json and lines:
            typer.echo(masked(json.dumps(now, ensure_ascii=False)))
        for line in () if as_json else lines:
            say(masked(line))
        if now["ended"]:
            return now
        before = now
        _wait(every)


def _on_screen(ledger: Ledger, release_id: str, every: float, *, as_json: bool) -> dict[str, Any]:  # noqa: ARG001
    from rich.live import Live

    from deployments.looking_on import screen_of

    now = _seen(ledger, release_id, None)
    with Live(screen_of(now), console=console(), auto_refresh=False) as live:
        while not now["ended"]:
            _wait(every)
            now = _seen(ledger, release_id, now)
            live.update(screen_of(now), refresh=True)
    return now


def _seen(ledger: Ledger, release_id: str, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return how the release stands; a ledger that is away for a while is told, and what was seen before stays."""
    from tasks.following import seen_of

    try:
        return seen_of(ledger, release_id)
    except LedgerError as error:
        if before is None or not error.retryable:
            raise
        note(f"the ledger does not answer: {masked(error.seen)}")
        return before


def _wait(seconds: float) -> None:
    from tasks.context import world

    world().clock.sleep(seconds)
