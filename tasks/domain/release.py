"""The states of a release, the moves between them, and the names it may carry."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from tasks.domain.errors import InvalidVersion

VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"
SYSTEM_PATTERN = r"^[a-z][a-z0-9-]{0,39}$"
MARKER = ".golive-release.json"
"""The file beside a release's code that says what golive put there; a directory without it is not golive's."""
IMAGE_FILE = ".golive-image"
"""The file in a release's directory that says what its container image is exactly, where it has one."""
BUILD_LOG = ".golive-build.log"
"""The file in a release's directory that holds what the builder of its container image printed, where it was built."""


class Phase(StrEnum):
    """The parts of a release, each a Prefect flow, in the order in which they are told."""

    PREFLIGHT = "preflight"
    BACKUP = "backup"
    REHEARSE = "rehearse"
    MIGRATE = "migrate"
    DEPLOY = "deploy"
    HEALTH = "health"
    WATCH = "watch"
    ROLLBACK = "rollback"


class State(StrEnum):
    """Where a release stands."""

    PLANNED = "planned"
    RUNNING = "running"
    PREFLIGHT = "preflight"
    BACKUP = "backup"
    REHEARSE = "rehearse"
    AWAITING_GO = "awaiting_go"
    MIGRATE = "migrate"
    DEPLOY = "deploy"
    HEALTH = "health"
    WATCHING = "watching"
    ROLLING_BACK = "rolling_back"
    NEEDS_PERSON = "needs_person"
    STABLE = "stable"
    STOPPED = "stopped"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    DONE = "done"


TERMINAL = frozenset({State.STABLE, State.STOPPED, State.ROLLED_BACK, State.SUPERSEDED, State.DONE})
"""States that end a release; every other state makes it the system's one active release."""

MUTATING = frozenset({State.MIGRATE, State.DEPLOY, State.HEALTH, State.WATCHING})
"""States in which production may already differ from what it was, so that the triggers are armed."""

DRIVEN = frozenset(
    {State.RUNNING, State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.ROLLING_BACK, *MUTATING} - {State.WATCHING}
)
"""States in which some process must be at work on the release."""

FORWARD = (
    State.PLANNED,
    State.PREFLIGHT,
    State.BACKUP,
    State.REHEARSE,
    State.AWAITING_GO,
    State.MIGRATE,
    State.DEPLOY,
    State.HEALTH,
    State.WATCHING,
    State.STABLE,
)
"""The states of a release that goes well, in their order."""

MOVES: dict[State, frozenset[State]] = {
    **{a: frozenset({b}) for a, b in pairwise(FORWARD)},
    State.NEEDS_PERSON: frozenset({State.ROLLING_BACK, State.STABLE, State.ROLLED_BACK, State.STOPPED}),
    State.ROLLING_BACK: frozenset({State.ROLLED_BACK, State.NEEDS_PERSON}),
}
for _state in FORWARD[:5]:
    MOVES[_state] |= {State.STOPPED}
for _state in MUTATING:
    MOVES[_state] |= {State.ROLLING_BACK, State.NEEDS_PERSON}
# A phase in production may still fail before its first act; the ledger refuses `stopped` once one is on record.
for _state in (State.MIGRATE, State.DEPLOY):
    MOVES[_state] |= {State.STOPPED}
MOVES[State.WATCHING] |= {State.SUPERSEDED}
# A phase that is started alone knows only that it runs, and how it ended; one that was killed may be taken back.
MOVES[State.PLANNED] |= {State.RUNNING}
MOVES[State.RUNNING] = frozenset({State.DONE, State.STOPPED, State.NEEDS_PERSON, State.ROLLING_BACK})
for _state in TERMINAL:
    MOVES[_state] = frozenset()
# After a release has ended well, a person may still take it back.
MOVES[State.STABLE] = frozenset({State.ROLLING_BACK})


def may_move(before: State, after: State) -> bool:
    """Tell whether a release may go from one state straight to the other."""
    return after in MOVES[before]


def check_version(version: str) -> str:
    """Return the version unchanged if it is safe to use as a name; raise `InvalidVersion` otherwise."""
    if not re.fullmatch(VERSION_PATTERN[1:-1], version) or ".." in version:
        raise InvalidVersion(
            f"{version!r} is not a version",
            expected="letters, digits, '.', '_', '+', '-', at most 100, beginning with a letter or digit",
            do="give a tag, a commit or a directory name",
        )
    return version


def new_release_id(system: str, at: datetime) -> str:
    """Return an id that sorts by time and can be read aloud, such as ``ordinaut-20261122-0205-k3f9``."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    tail = "".join(secrets.choice(alphabet) for _ in range(4))
    return f"{system}-{at:%Y%m%d-%H%M}-{tail}"


def limit_name(system: str) -> str:
    """Return the name of the concurrency limit that shows in Prefect's UI whether a system has a release under way."""
    return f"golive:{system}"
