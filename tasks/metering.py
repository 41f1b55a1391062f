"""Golive's own metrics: where each system's newest release stands, how it is watched, which messages still wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks import closing, watching
from tasks.acting import act_once
from tasks.beside import guard_is_alive
from tasks.context import ledger, world
from tasks.domain.errors import GoliveError
from tasks.domain.exposition import Family, exposed
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.watch import watch_verdict
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.part import GUARD
from tasks.settings import METRICS_VARIABLE, Settings
from tasks.staging import LOOK
from tasks.telling import courier_for
from tasks.watching import Watched

READABLE = 0o644
"""The mode of the file: node_exporter runs under another account."""
_OF = ("system",)


@dataclass(frozen=True)
class Standing:
    """What is told of one system: its newest release, and what its ledger says of the watch over it."""

    row: Release
    numbers: Mapping[str, Any]
    """The numbers of its watch so far, or of the verdict on it."""
    looked: datetime | None
    outcome: str
    waiting: int


def metrics_text(book: Ledger) -> str:
    """Return the metrics as Prometheus reads them."""
    now = book.evidence.now()
    found = [_standing(book, row, now) for row in book.releases.newest()]
    return exposed([*_of_releases(found), *_of_watches(found), *_of_golive(book, found)])


@act_once
def publish_metrics() -> str:
    """Write the metrics to the file that ``GOLIVE_METRICS_FILE`` names, if it does, and return its path.

    Raises nothing but for trouble with the ledger: a file that cannot be written is told and holds up no look.
    """
    settings = Settings.from_environment()
    if settings.metrics_file is None:
        return ""
    try:
        world().host.write(settings.metrics_file, metrics_text(ledger(settings)), READABLE)
    except GoliveError as error:
        world().progress(f"{METRICS_VARIABLE}: {error}")
        return ""
    return str(settings.metrics_file)


def _standing(book: Ledger, row: Release, now: datetime) -> Standing:
    looks = book.evidence.looks(row.id)
    mine = [look for look in looks if look.source in {"monitor", LOOK}]
    numbers: Mapping[str, Any] = {}
    waiting = 0
    try:
        watched = watching.observe(row)
        routes = courier_for(watched.ctx).routes
        waiting = sum(book.outbox.waiting(one.name, row.system, one.refused_by) for one in routes)
        numbers = _numbers(book, watched, now)
    except GoliveError as error:
        # A release file that this golive cannot read any more; all else of the system is told.
        world().progress(f"{row.id}: {world().secrets.mask(str(error))}")
    if not numbers:
        verdicts = [look.findings for look in looks if look.source == closing.SOURCE]
        numbers = verdicts[-1] if verdicts else {}
    last = mine[-1] if mine else None
    return Standing(row, numbers, last.at if last else None, last.outcome if last else "", waiting)


def _numbers(book: Ledger, watched: Watched, now: datetime) -> Mapping[str, Any]:
    row = watched.release
    if State(row.state) is not State.WATCHING or row.live_at is None or watched.ctx.file.watch.probe is None:
        return {}
    probes = watching.counting(book.evidence.probes(row.id, row.live_at))
    until = min(now, row.watch_until or now)
    return watch_verdict(probes, row.live_at, until, watched.interval).evidence


def _of_releases(found: list[Standing]) -> Iterator[Family]:
    yield Family(
        "golive_release_info",
        "The newest release of each system, and where it stands.",
        ("system", "version", "state"),
        [((one.row.system, one.row.version, one.row.state), 1.0) for one in found],
    )
    yield _moments("golive_release_started_timestamp_seconds", "When it was opened.", found, "created_at")
    yield _moments("golive_release_live_timestamp_seconds", "When it went live, if it has.", found, "live_at")
    yield _moments("golive_watch_until_timestamp_seconds", "Until when its first stage goes.", found, "watch_until")


def _moments(name: str, about: str, found: list[Standing], column: str) -> Family:
    moments = [((one.row.system,), getattr(one.row, column)) for one in found]
    return Family(name, about, _OF, [(labels, at.timestamp()) for labels, at in moments if at is not None])


def _of_watches(found: list[Standing]) -> Iterator[Family]:
    looked = [((one.row.system,), one.looked.timestamp()) for one in found if one.looked is not None]
    yield Family("golive_last_look_timestamp_seconds", "When the monitor last looked at it.", _OF, looked)
    outcomes = [
        ((one.row.system, outcome.value), float(one.outcome == outcome))
        for one in found
        for outcome in Outcome
        if one.outcome
    ]
    yield Family("golive_last_look_outcome", "How that look came out: 1 for one.", ("system", "outcome"), outcomes)
    for name, about, key in (
        ("golive_watch_coverage_ratio", "Which share of the expected probes of the first stage was made.", "coverage"),
        ("golive_watch_probes", "How many probes of the first stage came to a result.", "made"),
        ("golive_watch_probes_failed", "How many of those failed.", "failed"),
    ):
        yield Family(
            name, about, _OF, [((one.row.system,), float(one.numbers[key])) for one in found if key in one.numbers]
        )


def _of_golive(book: Ledger, found: list[Standing]) -> Iterator[Family]:
    seen = book.leases.seen(GUARD)
    heard = [((), seen[1].timestamp())] if seen is not None else []
    about = "When a guard last gave a sign of life; it gives one every few seconds while there is something to guard."
    yield Family("golive_guard_heartbeat_timestamp_seconds", about, (), heard)
    yield Family("golive_guard_alive", "Whether a guard is alive.", (), [((), float(guard_is_alive(book)))])
    waiting = [((one.row.system,), float(one.waiting)) for one in found]
    yield Family("golive_messages_undelivered", "How many messages for people wait to go out.", _OF, waiting)
    dead = float(book.outbox.count_dead())
    yield Family("golive_messages_dead", "How many messages were given up.", (), [((), dead)])
    back = [((system, by), float(count)) for system, by, count in book.releases.rolled_back()]
    about = "How many releases were rolled back, by golive itself or by a person."
    yield Family("golive_rollbacks", about, ("system", "by"), back, counts=True)
