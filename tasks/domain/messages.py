"""The messages that a release sends to people: its root, replies, alerts and the end."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tasks.domain import parts
from tasks.domain.parts import Part, Run
from tasks.domain.plain_text import one_line, plain, shorten, utc
from tasks.domain.ports import Attachment
from tasks.domain.release import State
from tasks.domain.units import show_seconds

Figures = Sequence[tuple[str, str]]
"""Names with their values, such as ``("down for", "4.2 s")``, as text."""


@dataclass(frozen=True)
class Note:
    """A message for people that goes into the outbox in the same transaction as what it tells of.

    ``kind`` is ``root`` (once for each release), ``root_edit`` (what the root shall say from now on), ``reply``,
    ``alert``, ``final``, ``evidence`` (the hash of its bundle), ``plots`` (files and nothing else), ``request`` (people
    are asked to sign), ``request_edit`` (what a request shall say from now on), ``reminder`` or ``digest``. ``text`` is
    one line and no markup; ``blocks`` holds what else is shown under the key ``parts``, files under ``files``, under
    ``state`` which state the release has moved to, where the message tells of that, the `Occasion` of an alert under
    ``occasion``, and the nonce of a request under ``nonce``.
    """

    kind: str
    text: str
    blocks: Mapping[str, Any]


class Mark(StrEnum):
    """How a phase stands."""

    DONE = "✓"
    FAILED = "✗"
    UNKNOWN = "?"
    RUNNING = "…"
    AHEAD = "·"
    SKIPPED = "–"


@dataclass(frozen=True)
class PhaseLine:
    """One phase in the root message; ``took`` is in seconds, ``seen`` a few words on what came of it."""

    name: str
    mark: Mark
    took: float | None = None
    seen: str = ""


@dataclass(frozen=True)
class About:
    """What every message of a release says of it; ``runbook`` is a URL, ``previous`` the version in service before."""

    release_id: str
    system: str
    version: str
    started_by: str
    previous: str = ""
    reason: str = ""
    runbook: str = ""

    @property
    def title(self) -> str:
        """The system and the version, as text."""
        return f"{self.system} {self.version}"


@dataclass(frozen=True)
class Alert:
    """What is wrong, and what golive does next; without ``next_at`` at once, or when a person has decided.

    ``counted`` is how many measurements ``seen`` rests on, empty where nothing was counted. ``moved`` is what moved
    most against before the release, ``help`` what a person should look at. ``over`` tells that what was wrong is over.
    """

    title: str
    seen: str
    limit: str
    since: datetime
    next_act: str
    next_at: datetime | None = None
    evidence: Sequence[str] = ()
    moved: Sequence[str] = ()
    help: Sequence[str] = ()
    over: bool = False
    counted: str = ""


def root_note(
    about: About, state: State, phases: Sequence[PhaseLine], figures: Figures = (), *, edit: bool = False
) -> Note:
    """Return the one message that stands for a release; ``edit`` makes it replace what the root said before."""
    marks = " ".join(f"{phase.mark} {phase.name}" for phase in phases)
    lines = "\n".join(_phase(phase) for phase in phases)
    return made(
        "root_edit" if edit else "root",
        f"{about.title}: {_words(state)}" + (f" ({marks})" if marks else ""),
        [
            parts.heading(f"{about.title} · {_words(state)}"),
            parts.small_print(*_origin(about)),
            *([parts.text(lines)] if lines else []),
            *parts.pairs(figures),
        ],
        state=str(state),
    )


def reply_note(about: About, before: State, after: State, text: str = "", figures: Figures = ()) -> Note:
    """Return the message that tells of a change of state."""
    line = f"{about.title}: {_words(before)} → {_words(after)}"
    moved = parts.bold(f"{_words(before)} → {_words(after)}")
    return made(
        "reply",
        f"{line}: {text}" if text else line,
        [
            parts.text(moved, *([f"\n{text}"] if text else [])),
            *parts.pairs(figures),
        ],
        state=str(after),
    )


def report_note(about: About, title: str, text: str, figures: Figures = ()) -> Note:
    """Return the message that reports how a release stands, without any change of its state."""
    return made(
        "reply",
        f"{about.title}: {title}: {text}",
        [
            parts.text(parts.bold(title), f"\n{text}"),
            *parts.pairs(figures),
        ],
    )


class Occasion(StrEnum):
    """What gives rise to an alert: something is wrong, still or again, or it is over."""

    WRONG = "wrong"
    STILL = "still"
    OVER = "over"


def alert_note(about: About, alert: Alert, occasion: Occasion = Occasion.WRONG) -> Note:
    """Return the message that tells what was seen against which limit, since when, and what golive does next."""
    when = f" at {utc(alert.next_at)}" if alert.next_at else ""
    then: list[Run] = ["\n", parts.moment(alert.next_at)] if alert.next_at else []
    counted = [("n", _short(alert.counted))] if alert.counted else []
    evidence = alert.evidence or ([] if alert.over else [f"golive status {about.release_id}"])
    return made(
        "alert",
        f"{about.title}: {alert.title}: {alert.seen}; limit {alert.limit}"
        + (f"; n: {alert.counted}" if alert.counted else "")
        + f"; since {utc(alert.since)}; next{when}: {alert.next_act}"
        + (f"; moved most: {alert.moved[0]}" if alert.moved else ""),
        [
            parts.heading(f"{about.title}: {alert.title}"),
            *parts.pairs(
                [
                    ("Seen", _short(alert.seen)),
                    ("Limit", _short(alert.limit)),
                    *counted,
                    ("Since", [parts.moment(alert.since)]),
                    ("Next", [_short(alert.next_act), *then]),
                ]
            ),
            parts.small_print(*_help(about)),
            *(parts.text(f"• {one}") for one in evidence),
            *(parts.text(f"• moved most: {one}") for one in alert.moved),
            *(parts.text(f"→ {one}") for one in alert.help),
        ],
        occasion=occasion,
    )


def final_note(about: About, verdict: str, figures: Figures = (), text: str = "") -> Note:
    """Return the message that ends a release with its verdict and figures."""
    line = f"{about.title}: {_words(verdict)}"
    shown = ", ".join(f"{name} {value}" for name, value in figures)
    return made(
        "final",
        "; ".join(part for part in (line, text, shown) if part),
        [
            parts.heading(line),
            parts.small_print(*_help(about)),
            *([parts.text(text)] if text else []),
            *parts.pairs(figures),
        ],
        state=verdict,
    )


def digest_note(about: About, text: str, figures: Figures) -> Note:
    """Return the message that tells once a day how a system stands."""
    shown = ", ".join(f"{name} {value}" for name, value in figures)
    return made(
        "digest",
        f"{about.system} today: {text}; {shown}",
        [
            parts.heading(f"{about.system} today: {text}"),
            *parts.pairs(figures),
            parts.small_print(*_help(about)),
        ],
    )


def announcement_note(about: About, at: datetime, text: str, *, edit: bool = False, busy: str = "") -> Note:
    """Return the one message that stands for an announced release; ``edit`` makes it say what came of it.

    ``busy`` says that so much goes on at that time that another one would be better.
    """
    line = f"{about.title} begins at {utc(at)}"
    return made(
        "root_edit" if edit else "root",
        f"{line}: {text}{f'; {busy}' if busy else ''}",
        [
            parts.heading(f"{about.title} is announced"),
            *parts.pairs([("Begins", [parts.moment(at)]), ("State", _short(text))]),
            *([parts.text(parts.bold("A busy hour"), f"\n{_short(busy)}")] if busy else []),
            parts.small_print(*_origin(about)),
        ],
    )


def evidence_note(about: About, sha256: str, path: str, figures: Figures = (), missing: Sequence[str] = ()) -> Note:
    """Return the message that names the evidence bundle of a release, by the hash that it can be held against.

    With it go the figures of the release, and what is ``missing`` of which there is no data.
    """
    gaps = "\n".join(f"• {one}" for one in missing)
    return made(
        "evidence",
        f"{about.title}: evidence bundle, SHA-256 {sha256}" + (f"; missing: {' '.join(missing)}" if missing else ""),
        [
            *parts.pairs(figures),
            *([parts.text(parts.bold("missing"), f"\n{gaps}")] if missing else []),
            parts.text(parts.bold("evidence bundle"), "\nSHA-256 ", parts.code(sha256), "\nin ", parts.code(path)),
            parts.small_print("check it with: golive verify BUNDLE", *_help(about)),
        ],
    )


def plots_note(about: About, plots: Sequence[Attachment]) -> Note:
    """Return the message that shows plots; it is apart from the texts, which go out whether plots can or not."""
    shown = "; ".join(one.title for one in plots)
    files = [
        {"name": one.name, "title": one.title, "alt": one.alt, "data": base64.b64encode(one.data).decode()}
        for one in plots
    ]
    return Note("plots", one_line(f"{about.title}: plots of {shown}"), {"files": files})


def files_of(blocks: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """Return the files that a message goes with, as the ledger keeps them."""
    return tuple(
        Attachment(one["name"], one["title"], one["alt"], base64.b64decode(one["data"]))
        for one in blocks.get("files", ())
    )


def made(kind: str, text: str, shown: Sequence[Part], **told: str) -> Note:
    """Return a message whose text is one line; what is ``shown`` besides, and what else is ``told``, goes with it."""
    return Note(kind, one_line(text) or "–", {"parts": list(shown), **told})


def parts_of(blocks: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what a message shows besides its line, as the ledger keeps it.

    A message that an earlier golive left in the outbox holds it as Block Kit.
    """
    shown: Sequence[Mapping[str, Any]] = blocks.get("parts") or blocks.get("blocks") or ()
    return shown


def _words(state: str) -> str:
    return str(state).replace("_", " ")


def _short(text: str) -> str:
    return shorten(plain(text), 500)


def _phase(phase: PhaseLine) -> str:
    took = f"  {show_seconds(phase.took)}" if phase.took is not None else ""
    seen = f"  {one_line(phase.seen, 200)}" if phase.seen else ""
    return f"{phase.mark} {phase.name}{took}{seen}"


def _origin(about: About) -> list[Run]:
    came = f"from {_short(about.previous)}" if about.previous else "the first release"
    reason = [f"reason: {_short(about.reason)}"] if about.reason else []
    return [came, f"started by {_short(about.started_by)}", *reason, *_help(about)]


def _help(about: About) -> list[Run]:
    runbook = [parts.link(about.runbook, "runbook")] if about.runbook else []
    return [*runbook, f"release {_short(about.release_id)}"]
