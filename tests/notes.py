"""Every message that golive writes to people, with text from outside in each place where some may stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.domain.gates import CONTROLS, GO, LIVE, Standing
from tasks.domain.messages import (
    About,
    Alert,
    Mark,
    Note,
    PhaseLine,
    alert_note,
    announcement_note,
    digest_note,
    evidence_note,
    final_note,
    reply_note,
    report_note,
    root_note,
)
from tasks.domain.release import State
from tasks.domain.requests import Request, changed_note, over_note, reminder_note, request_note

AT = datetime(2026, 11, 22, 2, 5, 11, tzinfo=UTC)
EVIL = "<!channel> & <@U123> <https://evil.example|click> \x00\x1b[31mred\x1b[0m \ud800 @here #general"


@dataclass
class Signed:
    """Somebody's signature."""

    role: str
    person: str
    decision: str = "approve"
    reason: str = ""
    plan_hash: str = "plan"
    at: datetime = AT


def about(**what: str) -> About:
    """Return a release to tell of."""
    return About(
        **{
            "release_id": "ordinaut-20261122-0205-k3f9",
            "system": "ordinaut",
            "version": "2.1.0",
            "previous": "2.0.0",
            "started_by": "ana",
            "reason": "new scheduler",
            "runbook": "https://wiki.example/ordinaut?a=1&b=2",
            **what,
        }
    )


def alert(**what: Any) -> Alert:
    """Return an alert."""
    given: dict[str, Any] = {
        "title": "errors above the limit",
        "seen": "31 % of 180 probes",
        "limit": "20 %",
        "since": AT,
        "next_act": "roll back to 2.0.0",
        "next_at": AT.replace(minute=20),
        "evidence": ("GET /health: 503",),
    }
    return Alert(**{**given, **what})


def request(gate: str, who: About, outside: str = "keep", *, many: int = 3) -> Request:
    """Return a request at a gate, with signatures that are there and some that are missing."""
    signed = tuple(Signed(outside, outside, reason=outside) for _ in range(many))
    standing = Standing({"dba": 2, outside: 1}, {"dba": 1, outside: 1}, signed)
    return Request(who, gate, "0123456789abcdef", AT, standing, [(outside, outside)] * many)


def every_note(outside: str) -> list[Note]:
    """Return a message of each kind."""
    who = about(previous=outside, started_by=outside, reason=outside, runbook=outside, version=outside)
    phases = [PhaseLine(outside, mark, 3.2, outside) for mark in Mark]
    figures = [(outside, outside)] * 23
    many = [outside] * 60
    return [
        root_note(who, State.WATCHING, phases, figures),
        root_note(who, State.WATCHING, phases, figures, edit=True),
        root_note(who, State.PLANNED, []),
        reply_note(who, State.MIGRATE, State.DEPLOY, outside, figures),
        reply_note(who, State.MIGRATE, State.DEPLOY),
        report_note(who, outside, outside, figures),
        alert_note(who, alert(title=outside, seen=outside, limit=outside, next_act=outside, counted=outside)),
        alert_note(who, alert(evidence=many, moved=many, help=many)),
        alert_note(who, alert(next_at=None, evidence=())),
        final_note(who, "rolled_back", figures, outside),
        final_note(who, State.STABLE),
        digest_note(who, outside, figures),
        announcement_note(who, AT, outside, busy=outside),
        evidence_note(who, outside, outside),
        evidence_note(who, outside, outside, figures, many),
        *(request_note(request(gate, who, outside), "the-nonce") for gate in (GO, LIVE, CONTROLS)),
        request_note(request(LIVE, who, outside, many=40), "the-nonce"),
        changed_note(request(GO, who, outside), "the-nonce"),
        over_note(request(GO, who, outside), "the-nonce", outside),
        reminder_note(request(GO, who, outside), outside),
    ]
