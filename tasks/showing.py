"""Shows in Prefect's UI how far a release is, and where people talk of it; a view, for which nothing ever waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

from tasks.acting import alone, prefect_answers
from tasks.context import Context, world
from tasks.courier import Outlet
from tasks.domain.errors import GoliveError
from tasks.domain.release import FORWARD, State
from tasks.domain.units import show_seconds
from tasks.ledger.models import Move, Release
from tasks.telling import phase_lines

LOOK_EVERY = 2.0
"""Seconds between two looks at where the release stands."""
AT_EXIT = 3.0
"""Seconds that the last of them gets when the process lets the release go."""
_LINK_WITHIN = 10.0
_WAY = FORWARD[: FORWARD.index(State.WATCHING) + 1]


def put_markdown(key: str, markdown: str, description: str) -> None:
    """Put a text into Prefect's UI, beside the run that is under way; without one, or without Prefect, nowhere."""
    _put(create_markdown_artifact, description, key=key, markdown=markdown)


def put_table(key: str, rows: Sequence[Mapping[str, str]], description: str) -> None:
    """Put a table into Prefect's UI as `put_markdown` does a text; ``rows`` are cells by the heads of their columns."""
    _put(create_table_artifact, description, key=key, table=list(rows))


def _put(create: Any, description: str, **what: Any) -> None:  # the stubs do not know _sync
    if seen_by_nobody() or not prefect_answers():
        return
    try:
        create(description=description, _sync=True, **what)
    except Exception as error:  # noqa: BLE001 - whatever keeps the view from being drawn, the release goes on
        world().progress(f"not in Prefect's UI: {description}: {type(error).__name__}")


@contextmanager
def shown_in_prefect(ctx: Context) -> Iterator[None]:
    """Keep a release's progress bar in Prefect's UI up to date while the block runs, beside the work."""
    if ctx.release.scope != "release" or seen_by_nobody():
        yield
        return
    bar, ended = _Bar(ctx), threading.Event()

    def keep() -> None:
        bar.look()
        while not ended.wait(LOOK_EVERY):
            bar.look()
        bar.look()

    # With the caller's context variables, by which Prefect finds the run that the bar belongs to.
    thread = threading.Thread(target=copy_context().run, args=(keep,), name="progress bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(AT_EXIT)


def seen_by_nobody() -> bool:
    """Tell whether no run of Prefect is under way here, so that its UI would show nothing."""
    return alone() or FlowRunContext.get() is None


def how_far(state: State, moves: Sequence[Move]) -> float:
    """Return how much of the way to being live a release has gone, in percent; one that was taken back is at its start.

    One that stopped, or waits for a person, is where it got to.
    """
    if state is State.ROLLED_BACK:
        return 0.0
    reached = [_WAY.index(State(move.after)) for move in moves if move.after in _WAY]
    return round(100 * max(reached, default=0) / (len(_WAY) - 1), 1)


def in_words(row: Release, moves: Sequence[Move]) -> str:
    """Return how a release stands as Markdown: each phase with its sign, and how long it took."""
    state = State(row.state)
    lines = [
        f"{line.mark} {line.name}" + (f" ({show_seconds(line.took)})" if line.took is not None else "")
        for line in phase_lines(moves, state)
    ]
    head = f"{row.system} {row.previous_version or 'nothing'} → {row.version}: **{state.replace('_', ' ')}**"
    return "\n\n".join([head, "  \n".join(lines), f"Where it stands: `golive status {row.id}`"])


class _Bar:
    """The progress bar of one release, and the link to where people are told of it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._id: UUID | None = None
        self._shown: tuple[float, str] | None = None
        self._unlinked = {one.address: one for one in ctx.file.notify}

    def look(self) -> None:
        """Draw what has changed since the last look; what cannot be drawn now is drawn by the next. Raises nothing."""
        for draw in (self._draw, self._link):
            with suppress(Exception):  # as in `put_markdown`
                draw()

    def _draw(self) -> None:
        book, release_id = self._ctx.ledger.releases, self._ctx.release.id
        row, moves = book.get(release_id), book.moves(release_id)
        now = how_far(State(row.state), moves), in_words(row, moves)
        if now == self._shown or not prefect_answers():
            return
        create: Any = create_progress_artifact  # the stubs do not know _sync
        update: Any = update_progress_artifact
        try:
            if self._id is not None:
                update(self._id, now[0], description=now[1], _sync=True)
        except ObjectNotFound:
            self._id = None  # somebody has removed it
        if self._id is None:
            self._id = create(now[0], key=f"{release_id}-progress", description=now[1], _sync=True)
        self._shown = now

    def _link(self) -> None:
        ctx = self._ctx
        outlet = Outlet(ctx.world.secrets, lambda _line: None, ctx.world.http)
        outlet.within = _LINK_WITHIN
        for address, notifier in list(self._unlinked.items()):
            ref = ctx.ledger.outbox.root_ref(ctx.release.id, address)
            if not ref:
                continue
            try:
                link = notifier.link(ref, outlet)
            except GoliveError as error:
                if not error.retryable:
                    del self._unlinked[address]
                continue
            create: Any = create_link_artifact
            if link and prefect_answers():
                about, text = f"Where people are told of {ctx.release.id}", f"The thread in {address}"
                create(link, link_text=text, key=f"{ctx.release.id}-thread", description=about, _sync=True)
            del self._unlinked[address]
