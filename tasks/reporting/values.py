"""What a report is made from: frozen values, in seconds, bytes and aware times in UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, TypeVar, cast

from tasks.domain.filling import Filled
from tasks.domain.moved import Moved
from tasks.domain.outcome import Outcome
from tasks.domain.statistics import Summary, summarise
from tasks.domain.units import show_seconds

T = TypeVar("T")


class Tone(StrEnum):
    """How a state is to be taken; it is always said in words too."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    PLAIN = "plain"


@dataclass(frozen=True)
class Verdict:
    """How the release stands, in words a person would use."""

    tone: Tone
    words: str
    why: str


@dataclass(frozen=True)
class Period:
    """The time that a release spent in one state; ``ended`` is None while it lasts."""

    name: str
    label: str
    began: datetime
    ended: datetime | None
    seconds: float
    outcome: Outcome
    ending: str


@dataclass(frozen=True)
class StepRun:
    """One run of a step: ``event`` is ``done``, ``failed``, or ``started`` if no end is on record."""

    phase: str
    name: str
    event: str
    began: datetime
    took: float | None
    mutates: bool
    epoch: int
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class CheckRun:
    """Looks of one check that came out the same one after the other; all but ``times`` and ``first`` is the last's."""

    phase: str
    name: str
    kind: str
    outcome: Outcome
    seen: str
    first: datetime
    at: datetime
    times: int
    took: float
    advisory: bool
    covers: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Lock:
    """A lock that the migration held, in rehearsal or on production."""

    relation: str
    mode: str
    held: float
    where: str


@dataclass(frozen=True)
class Outage:
    """Three or more failed probes of one check in a row, from the first of them to the next success.

    ``seconds`` is how long it lasted, right to ``off`` either way; without ``off`` it is the least that it lasted.
    """

    check: str
    began: datetime
    ended: datetime | None
    seconds: float
    off: float | None
    probes: int

    @property
    def lasted(self) -> str:
        """How long it lasted, and how exactly that is known."""
        if self.off is None:
            return f"at least {show_seconds(self.seconds)}"
        return f"{show_seconds(self.seconds)} ± {show_seconds(self.off)}"


@dataclass(frozen=True)
class ProbePoint:
    """One probe of the guard; ``outcome`` is unknown where the control failed too."""

    at: datetime
    check: str
    outcome: Outcome
    elapsed: float | None


@dataclass(frozen=True)
class Probing:
    """The guard's probes, what they add up to, and when nobody looked; all lists are in order of time."""

    points: tuple[ProbePoint, ...] = ()
    failed: int = 0
    unknown: int = 0
    at_most: float | None = None
    interval: float | None = None
    outages: tuple[Outage, ...] = ()
    gaps: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def counted(self) -> int:
        """How many probes came to a result."""
        return len(self.points) - self.unknown

    @property
    def downtime(self) -> float:
        """The seconds in which any check was out."""
        total, until = 0.0, 0.0
        for one in sorted(self.outages, key=lambda outage: outage.began):
            begin = max(until, one.began.timestamp())
            until = max(until, one.began.timestamp() + one.seconds)
            total += max(0.0, until - begin)
        return total


@dataclass(frozen=True)
class Comparison:
    """What a check's answers took before the release and now, in seconds; ``source`` says where the latter are from."""

    check: str
    before: tuple[float, ...]
    now: tuple[float, ...]
    source: str

    @property
    def was(self) -> Summary:
        """The percentiles before."""
        return summarise(self.before)

    @property
    def has(self) -> Summary:
        """The percentiles now."""
        return summarise(self.now)


@dataclass(frozen=True)
class Limits:
    """What the probes of the watch are held against.

    ``before`` and ``slower`` are the median before the release and the limit for it, in seconds; ``errors`` is a share,
    counted over ``window`` seconds.
    """

    before: float | None = None
    slower: float | None = None
    errors: float | None = None
    window: float = 900.0


@dataclass(frozen=True)
class LookRun:
    """Judgements of one source that came out the same one after the other, with the findings of the last."""

    source: str
    outcome: str
    first: datetime
    at: datetime
    times: int
    findings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StageRun:
    """A stage of the watch that is over: ``stable``, ``inconclusive``, ``extended``, ``rolled back`` or ``ended``."""

    name: str
    verdict: str
    seen: str
    at: datetime
    final: bool


@dataclass(frozen=True)
class Status:
    """A status report of a later stage; ``before`` is the median before the release, in seconds as all latencies."""

    stage: str
    number: int
    of: int
    missed: int
    at: datetime
    outcome: str
    checks: tuple[tuple[str, str], ...]
    failed: int
    made: int
    latencies: tuple[float, ...]
    before: float | None


@dataclass(frozen=True)
class Proof:
    """A backup and what proves it."""

    kind: str
    location: str
    bytes: int
    took: float
    at: datetime
    tables: tuple[tuple[str, int | None, str], ...]
    manifest: str
    restored: float | None
    rest: Mapping[str, Any]

    @property
    def rows(self) -> int | None:
        """The rows of all tables that were compared; None if any table's were not counted."""
        counts = [rows for _, rows, _ in self.tables if rows is not None]
        return sum(counts) if counts and len(counts) == len(self.tables) else None


@dataclass(frozen=True)
class WayBack:
    """The proven rollback plan, the seconds that it took in rehearsal, and those that it took in earnest.

    ``loss`` is what a rollback would have lost at the last look of the monitor.
    """

    plan: str
    words: str
    rehearsed: float | None
    taken: float | None
    loss: str = ""


@dataclass(frozen=True)
class Rehearsed:
    """What the rehearsal measured."""

    at: datetime
    fingerprint: str
    upgrade: float | None
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Signature:
    """Who signed what."""

    at: datetime
    gate: str
    role: str
    person: str
    decision: str
    reason: str
    plan_hash: str
    via: str = ""


@dataclass(frozen=True)
class Sent:
    """A message for people, as it was written; ``lost`` says which notifier has given it up, and why."""

    at: datetime
    kind: str
    text: str
    arrived: bool = False
    lost: str = ""


@dataclass(frozen=True)
class Decision:
    """A change of the release's state or a judgement that did not simply pass."""

    at: datetime
    what: str
    by: str
    note: str
    epoch: int = 0


@dataclass(frozen=True)
class Event:
    """A moment that the plots mark."""

    at: datetime
    label: str


@dataclass(frozen=True)
class ReleaseFacts:
    """All that a report tells of a release."""

    id: str
    system: str
    version: str
    previous: str | None
    scope: str
    state: str
    verdict: Verdict
    started_by: str
    reason: str
    file: str
    identity: str | None
    plan_hash: str | None
    created: datetime
    live: datetime | None
    ended: datetime | None
    gathered: datetime
    epochs: tuple[int, ...]
    periods: tuple[Period, ...] = ()
    steps: tuple[StepRun, ...] = ()
    checks: tuple[CheckRun, ...] = ()
    locks: tuple[Lock, ...] = ()
    lock_limit: float | None = None
    migration: float | None = None
    probing: Probing = field(default_factory=Probing)
    limits: Limits = field(default_factory=Limits)
    comparisons: tuple[Comparison, ...] = ()
    moved: tuple[Moved, ...] = ()
    not_held: tuple[str, ...] = ()
    looks: tuple[LookRun, ...] = ()
    stages: tuple[StageRun, ...] = ()
    statuses: tuple[Status, ...] = ()
    backup: Proof | None = None
    rehearsal: Rehearsed | None = None
    way_back: WayBack | None = None
    signatures: tuple[Signature, ...] = ()
    messages: tuple[Sent, ...] = ()
    decisions: tuple[Decision, ...] = ()
    events: tuple[Event, ...] = ()
    not_measured: tuple[str, ...] = ()
    checklist: tuple[Filled, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the release took, or has taken until now."""
        return ((self.ended or self.gathered) - self.created).total_seconds()

    @property
    def longest_lock(self) -> Lock | None:
        """The longest lock on production, or in rehearsal if none was measured there."""
        for where in ("production", "rehearsal"):
            if held := [lock for lock in self.locks if lock.where == where]:
                return max(held, key=lambda lock: lock.held)
        return None


def masked(value: T, mask: Callable[[str], str]) -> T:
    """Return the value with every text in it masked, however deep, keys of mappings too."""
    return cast("T", _masked(value, mask))


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, Enum) or value is None or isinstance(value, int | float | datetime):
        return value
    if isinstance(value, str):
        return mask(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _masked(getattr(value, f.name), mask) for f in fields(value)})
    if isinstance(value, Mapping):
        return {_masked(key, mask): _masked(one, mask) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_masked(one, mask) for one in value)
    return mask(str(value))
