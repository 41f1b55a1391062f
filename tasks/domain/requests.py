"""The messages by which people are asked to sign, and told what came of it; a chat shows their buttons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from tasks.domain import parts
from tasks.domain.gates import CONTROLS, GO, LIVE, STABLE, Standing
from tasks.domain.messages import About, Figures, Note, made
from tasks.domain.parts import Button, Part, Run
from tasks.domain.plain_text import clip, one_line


class Act(StrEnum):
    """What a button asks for."""

    APPROVE = "golive_approve"
    REJECT = "golive_reject"
    ACKNOWLEDGE = "golive_acknowledge"
    ROLL_BACK = "golive_roll_back"
    EXTEND = "golive_extend"


NEEDS_REASON = frozenset({Act.REJECT, Act.ROLL_BACK})
"""What is asked for with a reason, in a dialog."""


@dataclass(frozen=True)
class Request:
    """What people are asked at a gate, for what was shown; ``until`` is when the request expires."""

    about: About
    gate: str
    shown: str
    until: datetime
    standing: Standing
    figures: Figures = ()

    @property
    def title(self) -> str:
        """The question, as text."""
        return f"{self.about.title}: {_TITLES.get(self.gate, f'{self.gate}: review')}"


_TITLES = {
    GO: "may it go live?",
    LIVE: "is it well, now that it serves?",
    STABLE: "is it stable?",
    CONTROLS: "is live and watched",
}
_DID = {"approve": "signed", "waive": "waived"}
_MOST_SIGNED = 20


def request_note(request: Request, nonce: str) -> Note:
    """Return the message that asks people to sign, with buttons."""
    awaits = ", ".join(request.standing.awaits)
    how = f"golive approve {request.about.release_id} --role ROLE" if awaits else ""
    shown = [f"{name} {value}" for name, value in request.figures]
    asked = f"{request.title} awaits {awaits}" if awaits else request.title
    line = "; ".join(part for part in (asked, how, *shown) if part)
    return made("request", line, [*_head(request), parts.buttons(_buttons(request, nonce))], nonce=nonce)


def changed_note(request: Request, nonce: str) -> Note:
    """Return what a request says once somebody has signed and others are missing."""
    line = f"{request.title} {_signed(request)}; awaits {', '.join(request.standing.awaits)}"
    return made("request_edit", line, [*_head(request), parts.buttons(_buttons(request, nonce))], nonce=nonce)


def over_note(request: Request, nonce: str, outcome: str) -> Note:
    """Return what a request says once it is over: the outcome, and who signed when, without buttons."""
    line = f"{request.title} {outcome}"
    signed = f" ({_signed(request)})" if request.standing.signed else ""
    blocks = [
        *_head(replace(request, standing=replace(request.standing, missing={}))),
        parts.text(parts.bold(outcome)),
    ]
    return made("request_edit", f"{line}{signed}", blocks, nonce=nonce)


def reminder_note(request: Request, since: str) -> Note:
    """Return the message that tells people again what they are asked."""
    awaits = ", ".join(request.standing.awaits)
    how = f"golive approve {request.about.release_id} --role ROLE"
    line = f"{request.title} still awaits {awaits}, asked {since} ago; {how}"
    return made("reminder", line, [parts.text(parts.bold(request.title), f"\nstill awaits {awaits}")])


def _signed(request: Request) -> str:
    return ", ".join(
        f"{one.role}: {_DID.get(one.decision, one.decision)} by {one.person}" for one in request.standing.signed
    )


def _head(request: Request) -> list[Part]:
    standing = request.standing
    lines: list[Run] = []
    for one in standing.signed[:_MOST_SIGNED]:
        reason = f" – {one_line(one.reason, 200)}" if one.reason else ""
        did = f"✓ {one.role}: {_DID.get(one.decision, one.decision)} by {one.person} "
        lines += [f"\n{did}" if lines else did, parts.moment(one.at), *([reason] if reason else [])]
    shown: list[tuple[str, str | list[Run]]] = []
    if standing.awaits:
        shown += [("awaits", ", ".join(standing.awaits)), ("expires", [parts.moment(request.until)])]
    shown += [(name, clip(value, 500)) for name, value in request.figures]
    runbook = [parts.link(request.about.runbook, "runbook")] if request.about.runbook else []
    return [
        parts.heading(request.title),
        *parts.pairs(shown),
        *([parts.text(*lines)] if lines else []),
        parts.small_print(f"release {request.about.release_id}", f"for {request.shown[:12]}", *runbook),
    ]


def _buttons(request: Request, nonce: str) -> list[Button]:
    title = request.about.title
    row: list[Button] = []
    if request.gate != CONTROLS:
        sure = f"You sign for {title}, gate {request.gate}."
        row.append(parts.button("Approve", Act.APPROVE, nonce, style="primary", question=sure))
        row.append(parts.button("Reject …", Act.REJECT, nonce, style="danger"))
    if request.gate != GO:
        row.append(parts.button("Roll back …", Act.ROLL_BACK, nonce, style="danger"))
    if request.gate in (LIVE, STABLE, CONTROLS):
        longer = f"The watch of {title} goes on for longer."
        row.append(parts.button("Watch longer", Act.EXTEND, nonce, question=longer))
    if request.gate != CONTROLS:
        row.append(parts.button("Acknowledge", Act.ACKNOWLEDGE, nonce))
    return row
