"""Releases on record that wait at a gate of a system which v1 serves."""

from __future__ import annotations

from typing import Any

from tasks.domain.release import State
from tests.flows import SmallSystem
from tests.watched import put_under_watch


def waiting_for_go(system: SmallSystem, version: str = "v2") -> str:
    """Put a release on record that waits for its go, which no process drives, and ask for it."""
    from tasks.signing import ask, observed

    release = put_under_watch(system, version, state=State.AWAITING_GO)
    system.ledger.releases.let_go(system.ledger.releases.take(release, "the test", force=True))
    ask(observed(release), "go")
    return release


def live_and_asked(system: SmallSystem, left: float = 3600.0, gate: str = "live") -> str:
    """Put a release on record that is live, and ask at a gate whether that is well."""
    from tasks.signing import ask, observed

    release = put_under_watch(system, left=left)
    ask(observed(release), gate)
    return release


def end_active(system: SmallSystem) -> None:
    """End what is left of a release, so that the next one may begin."""
    book = system.ledger
    if (row := book.releases.active(system.name)) is None:
        return
    state, claim = State(row.state), book.releases.take(row.id, "the test", force=True)
    if state is State.AWAITING_GO:
        book.releases.move(claim, state, State.STOPPED)
        return
    if state is not State.ROLLING_BACK:
        book.releases.move(claim, state, State.ROLLING_BACK)
    book.releases.move(claim, State.ROLLING_BACK, State.ROLLED_BACK)


def messages(system: SmallSystem, release: str, kind: str) -> list[str]:
    """Return what people were told by messages of a kind."""
    return [one.text for one in system.ledger.outbox.messages(release) if one.kind == kind]


def nonce_of(system: SmallSystem, release: str, gate: str) -> Any:
    """Return the nonce of the newest request at a gate."""
    return system.ledger.gates.opened(release, gate).nonce
