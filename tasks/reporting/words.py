"""The words of a report: states, outcomes, figures and evidence as a person reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.domain.filling import Standing
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.units import show_bytes, show_seconds
from tasks.reporting.values import Tone, Verdict

NO_DATA = "no data"
SYMBOL = {Outcome.PASSED: "✓", Outcome.FAILED: "✕", Outcome.UNKNOWN: "?"}
TONE_SYMBOL = {Tone.GOOD: "✓", Tone.BAD: "✕", Tone.WARN: "!", Tone.PLAIN: "●"}
_TONES = {
    "passed": Tone.GOOD,
    "done": Tone.GOOD,
    "stable": Tone.GOOD,
    "quiet": Tone.GOOD,
    "approve": Tone.GOOD,
    Standing.SIGNED: Tone.GOOD,
    Standing.WAIVED: Tone.PLAIN,
    Standing.NOT_REACHED: Tone.PLAIN,
    "failed": Tone.BAD,
    "fires": Tone.BAD,
    "reject": Tone.BAD,
    "rolled back": Tone.BAD,
    "ended": Tone.PLAIN,
}
_SIGNS = {Standing.WAIVED: "–", Standing.NOT_REACHED: "…", Standing.OPEN: "○"}
PLAN_WORDS = {
    "keep": "the old version runs on the new schema, which stays",
    "downgrade": "the schema is taken back by the migrator's own way down",
    "restore": "the backup is restored; what was written since is lost",
}
LABELS = {
    State.AWAITING_GO: "go / no-go",
    State.WATCHING: "watch",
    State.ROLLING_BACK: "roll back",
    State.NEEDS_PERSON: "waiting for a person",
}
CHECKED_IN = {"rehearse old": "rehearse: the old version", "rehearse new": "rehearse: the new version"}
"""Phases of checks that are parts of a phase."""
_SIZES = frozenset({"bytes", "free", "needed", "headroom"})
_DURATIONS = frozenset({"took", "seconds"})
_SERVERS = frozenset({"server_version", "schema_version"})
"""Numbers of PostgreSQL versions, as the server itself gives them."""
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_VERDICTS = {
    State.STABLE: (Tone.GOOD, "Live and stable"),
    State.ROLLED_BACK: (Tone.BAD, "Rolled back"),
    State.NEEDS_PERSON: (Tone.WARN, "Waiting for a person"),
    State.WATCHING: (Tone.PLAIN, "Live, under watch"),
    State.ROLLING_BACK: (Tone.BAD, "Being rolled back"),
    State.SUPERSEDED: (Tone.PLAIN, "Superseded by a later release"),
    State.DONE: (Tone.GOOD, "Done"),
    State.PLANNED: (Tone.PLAIN, "Planned, not begun"),
    State.AWAITING_GO: (Tone.WARN, "Waiting for go or no-go"),
}


def label(state: str) -> str:
    """Return a state's name as it is told."""
    return LABELS.get(State(state), state) if state in set(State) else state


def check_phase(name: str) -> str:
    """Return a phase of checks as it is told."""
    return CHECKED_IN.get(name, label(name))


def verdict_of(state: str, text: str | None, note: str, *, touched: bool) -> Verdict:
    """Return the verdict in words; ``text`` is the one on record, ``note`` the last move's, ``touched`` production."""
    if state == State.STOPPED:
        words = "Stopped" if touched else "Stopped before production was touched"
        tone = Tone.BAD if touched else Tone.WARN
    else:
        tone, words = _VERDICTS.get(State(state), (Tone.PLAIN, f"Under way: {label(state)}"))
    why = text if text and text != state else ""
    if note and note not in why:
        why = f"{why}; {note}" if why else note
    return Verdict(tone, words, why)


def tone_of(outcome: str) -> Tone:
    """Return how an outcome, of whichever vocabulary, is to be taken; what is not known to be good or bad warns."""
    return _TONES.get(outcome, Tone.WARN)


def sign_of(tone: Tone, text: str) -> str:
    """Return the sign that says a state without its colour."""
    if text.startswith(Outcome.UNKNOWN):
        return SYMBOL[Outcome.UNKNOWN]
    return _SIGNS[Standing(text)] if text in _SIGNS else TONE_SYMBOL[tone]


def moment(at: datetime | None) -> str:
    """Return a time with its date and zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else NO_DATA


def stamp(at: datetime | None) -> str:
    """Return a time with its date, for columns that name the zone in their head."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else NO_DATA


def duration(value: float | None) -> str:
    """Return a duration as a person reads it, or say that there is none."""
    return show_seconds(value) if value is not None and math.isfinite(value) else NO_DATA


def count(value: float | None) -> str:
    """Return a number with its thousands apart, by a narrow space at which no line breaks."""
    return f"{value:,}".replace(",", "\u202f") if value is not None else NO_DATA


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 table``, ``14 tables``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def percent(share: float | None) -> str:
    """Return a share as a percentage with the digits that it needs."""
    if share is None or not math.isfinite(share):
        return NO_DATA
    return f"{share:.0%}" if share in {0, 1} else f"{share:.2%}" if share < 0.1 else f"{share:.1%}"


def change(before: float, now: float) -> str:
    """Return how much longer or shorter something takes than before."""
    if not (math.isfinite(before) and math.isfinite(now)) or before <= 0:
        return NO_DATA
    return f"{now / before - 1:+.0%}".replace("-", "−")


def cut(text: str, most: int = 240) -> str:
    """Return a text no longer than what is taken in at a glance."""
    plain = " ".join(text.split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def told(value: Any) -> str:
    """Return a piece of evidence as text; a long row of numbers is told by its length."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {told(one)}" for key, one in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > 8 and all(isinstance(one, int | float) for one in value):
            return f"{len(value)} values"
        return ", ".join(f"({told(one)})" if isinstance(one, Mapping) else told(one) for one in value) or "none"
    return _scalar(value)


def figure(key: str, value: Any) -> str:
    """Return a piece of evidence in the unit that its name tells: a size, a duration, a time or a version."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if key in _SIZES or key.endswith("_bytes"):
            return show_bytes(int(value))
        if key in _DURATIONS or key.endswith("_seconds"):
            return duration(float(value))
        if key in _SERVERS and value >= 100_000:
            return f"{int(value) // 10_000}.{int(value) % 10_000}"
    if isinstance(value, str) and _ISO.fullmatch(value):
        return moment(datetime.fromisoformat(value))
    return told(value)


def _scalar(value: Any) -> str:
    if value is None or value == "":
        return NO_DATA
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else NO_DATA
    return str(value)


def findings_of(findings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the findings of a look as pairs of name and sentence, whichever form they were recorded in."""
    lines: list[tuple[str, str]] = []
    for key, value in findings.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(v, Mapping) for v in value):
            lines += [_finding(key, one) if isinstance(one, Mapping) else (key, told(one)) for one in value]
        elif isinstance(value, Mapping):
            lines.append(_finding(key, value))
        else:
            lines.append((key, told(value)))
    return tuple(lines)


def _finding(key: str, value: Mapping[str, Any]) -> tuple[str, str]:
    name = next((str(value[k]) for k in ("kind", "check", "name") if value.get(k)), key)
    state = next((str(value[k]) for k in ("state", "outcome") if value.get(k)), "")
    seen = str(value.get("seen") or "")
    if not seen:
        return key, told(value)
    return name, f"{state}: {seen}" if state else seen
