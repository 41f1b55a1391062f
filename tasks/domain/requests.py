"""The messages by which people are asked to sign, and told what came of it; a chat shows their buttons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from tasks.domain import block_kit as kit
from tasks.domain.gates import CONTROLS, GO, LIVE, STABLE, Standing
from tasks.domain.messages import About, Figures, Note, made


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


def request_note(request: Request, nonce: str) -> Note:
    """Return the message that asks people to sign, with buttons."""
    awaits = ", ".join(request.standing.awaits)
    how = f"golive approve {request.about.release_id} --role ROLE" if awaits else ""
    shown = [f"{name} {value}" for name, value in request.figures]
    asked = f"{request.title} awaits {awaits}" if awaits else request.title
    line = "; ".join(part for part in (asked, how, *shown) if part)
    return made("request", line, [*_head(request), kit.actions(_buttons(request, nonce))], nonce=nonce)


def changed_note(request: Request, nonce: str) -> Note:
    """Return what a request says once somebody has signed and others are missing."""
    line = f"{request.title} {_signed(request)}; awaits {', '.join(request.standing.awaits)}"
    return made("request_edit", line, [*_head(request), kit.actions(_buttons(request, nonce))], nonce=nonce)


def over_note(request: Request, nonce: str, outcome: str) -> Note:
    """Return what a request says once it is over: the outcome, and who signed when, without buttons."""
    line = f"{request.title} {outcome}"
    signed = f" ({_signed(request)})" if request.standing.signed else ""
    blocks = [
        *_head(replace(request, standing=replace(request.standing, missing={}))),
        kit.section(f"*{kit.escape(outcome)}*"),
    ]
    return made("request_edit", f"{line}{signed}", blocks, nonce=nonce)


def reminder_note(request: Request, since: str) -> Note:
    """Return the message that tells people again what they are asked."""
    awaits = ", ".join(request.standing.awaits)
    how = f"golive approve {request.about.release_id} --role ROLE"
    line = f"{request.title} still awaits {awaits}, asked {since} ago; {how}"
    return made("reminder", line, [kit.section(f"*{kit.escape(request.title)}*\nstill awaits {kit.escape(awaits)}")])


def _signed(request: Request) -> str:
    return ", ".join(
        f"{one.role}: {_DID.get(one.decision, one.decision)} by {one.person}" for one in request.standing.signed
    )


def _head(request: Request) -> list[kit.Block]:
    standing = request.standing
    lines = [
        f"✓ {kit.escape(one.role)}: {_DID.get(one.decision, one.decision)} by {kit.escape(one.person)} "
        f"{kit.moment(one.at)}" + (f" – {kit.clip(kit.escape(one.reason), 200)}" if one.reason else "")
        for one in standing.signed
    ]
    pairs = (
        [("awaits", ", ".join(map(kit.escape, standing.awaits))), ("expires", kit.moment(request.until))]
        if standing.awaits
        else []
    )
    pairs += [(name, kit.clip(kit.escape(value), 500)) for name, value in request.figures]
    return [
        kit.header(request.title),
        *kit.fields(pairs),
        *([kit.section("\n".join(lines[:20]))] if lines else []),
        kit.context(
            f"release {kit.escape(request.about.release_id)}",
            f"for {kit.escape(request.shown[:12])}",
            *([kit.link(request.about.runbook, "runbook")] if request.about.runbook else []),
        ),
    ]


def _buttons(request: Request, nonce: str) -> list[kit.Block]:
    title = request.about.title
    buttons: list[kit.Block] = []
    if request.gate != CONTROLS:
        buttons += [
            kit.button(
                "Approve", Act.APPROVE, nonce, style="primary", confirm=f"You sign for {title}, gate {request.gate}."
            ),
            kit.button("Reject …", Act.REJECT, nonce, style="danger"),
        ]
    if request.gate != GO:
        buttons.append(kit.button("Roll back …", Act.ROLL_BACK, nonce, style="danger"))
    if request.gate in (LIVE, STABLE, CONTROLS):
        buttons.append(
            kit.button("Watch longer", Act.EXTEND, nonce, confirm=f"The watch of {title} goes on for longer.")
        )
    if request.gate != CONTROLS:
        buttons.append(kit.button("Acknowledge", Act.ACKNOWLEDGE, nonce))
    return buttons
