"""How people sign: what is shown to them and its hash, who may sign, and what a signature comes to.

One way in for all: the form in Prefect, ``golive approve`` and a button in Slack end in `sign`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.context import Context, ledger, observing
from tasks.domain import requests
from tasks.domain.errors import GoliveError, NotFound, Refused
from tasks.domain.gates import CONTROLS, GO, LIVE, Decision, Standing, same_person, standing, state_of
from tasks.domain.messages import Note
from tasks.domain.release import State
from tasks.domain.requests import Request
from tasks.ledger.gates import Signed, Signing
from tasks.ledger.models import Approval, GateEvent
from tasks.reporting.request import to_markdown
from tasks.settings import Settings
from tasks.showing import put_markdown, seen_by_nobody
from tasks.telling import about
from tasks.to_sign import evidence_hash, figures, plan_hash


def observed(release_id: str) -> Context:
    """Return the context of a release for a process that does not drive it."""
    return observing(ledger(Settings.from_environment()).releases.get(release_id))


def shown_at(ctx: Context, gate: str) -> str:
    """Return the hash of what is shown at a gate: the plan as it is now, or the evidence when people were asked."""
    if gate == GO:
        return plan_hash(ctx)
    asked = ctx.ledger.gates.opened(ctx.release.id, gate)
    return asked.plan_hash if asked is not None else ""


def standing_of(ctx: Context, gate: str) -> Standing:
    """Return how a gate stands now. One that was passed once stays so, except for "go"."""
    gates, of, wanted = ctx.ledger.gates, ctx.release.id, ctx.file.signers(gate)
    now, expires = ctx.ledger.evidence.now(), _expires(ctx)
    if gate != GO and gates.has_passed(of, gate):
        expires = timedelta.max
    return standing(wanted, gates.signatures(of, gate), shown_at(ctx, gate), now, expires)


def waiting_gates(ctx: Context) -> list[str]:
    """Return the gates at which a release waits for somebody now."""
    state, gates = State(ctx.release.state), ctx.ledger.gates
    found = []
    for gate in ctx.file.gates():
        asked = gate in (GO, LIVE) or gates.opened(ctx.release.id, gate) is not None
        if state_of(gate) is state and asked and not standing_of(ctx, gate).passed:
            found.append(gate)
    return found


def roles_missing(ctx: Context) -> list[str]:
    """Return the roles whose signature a release lacks now; one that was rejected lacks none."""
    stands = [standing_of(ctx, gate) for gate in waiting_gates(ctx)]
    return list(dict.fromkeys(role for one in stands if one.rejected is None for role in one.missing))


def ask(ctx: Context, gate: str) -> GateEvent | None:
    """Ask people to sign at a gate, for what there is to be shown now, unless they were asked already.

    Returns the request, or nothing where nobody signs there.
    """
    if gate != CONTROLS and not ctx.file.signers(gate):
        return None
    gates, of = ctx.ledger.gates, ctx.release.id
    before, now = gates.opened(of, gate), ctx.ledger.evidence.now()
    if gate != GO and before is not None and gates.has_passed(of, gate):
        return before
    until = now + _expires(ctx)
    stands = gate != GO and before is not None and (before.until is None or before.until > now)
    shown = before.plan_hash if before is not None and stands else plan_hash(ctx) if gate == GO else evidence_hash(ctx)

    def notes(nonce: str) -> list[Note]:
        signatures = gates.signatures(of, gate)
        request = _request(
            ctx, gate, shown, until, standing(ctx.file.signers(gate), signatures, shown, now, _expires(ctx))
        )
        over = [requests.over_note(request_of(ctx, before), before.nonce or "", "is asked anew")] if before else []
        return [*over, requests.request_note(request, nonce)]

    asked = gates.open(of, gate, shown, until, notes, state=state_of(gate), now=now)
    _show(ctx, asked)
    return asked


def _show(ctx: Context, asked: GateEvent | None) -> None:
    """Put into Prefect's UI what people are asked to sign there, and who has; a view, for which nothing waits."""
    if asked is None or asked.gate == CONTROLS or seen_by_nobody():
        return
    try:
        request = request_of(ctx, asked)
        shown = ctx.world.secrets.mask(to_markdown(request))
    except GoliveError as error:
        ctx.world.progress(f"{ctx.release.id}: what is to be signed is not in Prefect's UI: {error.seen}")
        return
    put_markdown(f"{ctx.release.id}-signatures", shown, request.title)


def _expires(ctx: Context) -> timedelta:
    return timedelta(seconds=ctx.file.sign_off.expires)


def request_of(ctx: Context, asked: GateEvent, stands: Standing | None = None) -> Request:
    """Return a request that is on record as people are shown it."""
    until = asked.until or asked.at + _expires(ctx)
    return _request(ctx, asked.gate, asked.plan_hash, until, stands or standing_of(ctx, asked.gate))


def _request(ctx: Context, gate: str, shown: str, until: datetime, stands: Standing) -> Request:
    return Request(about(ctx.release, ctx.file.runbook), gate, shown, until, stands, figures(ctx, gate))


@dataclass(frozen=True)
class Shown:
    """What somebody sees who is about to sign: at which gate, and the hash of it, empty where nobody was asked yet."""

    gate: str
    hash: str
    figures: Sequence[tuple[str, str]]


def shown_before(release_id: str, role: str, gate: str) -> Shown:
    """Return what somebody should see who is about to sign in a role, at a gate or the first that asks for it."""
    ctx = observed(release_id)
    gate = _gate_for(ctx, role, gate)
    return Shown(gate, shown_at(ctx, gate), figures(ctx, gate))


def sign(
    release_id: str,
    *,
    role: str,
    person_name: str,
    decision: Decision,
    reason: str,
    gate: str = "",
    shown: str = "",
    via: str = "",
) -> str:
    """Put a signature on record and return the gate that it is for: by default the first that asks for the role.

    With ``shown`` it is for what has a hash that begins so, and for nothing else. Raises `NotFound` for a role that
    nobody asks for, and `Refused` where this person may not sign, something else is shown by now, or nobody is asked.
    """
    ctx = observed(release_id)
    gate = _gate_for(ctx, role, gate)
    _require_allowed(ctx, role, person_name, decision)
    if decision != "approve" and not reason.strip():
        raise Refused(f"a {decision} without a reason", expected="why, in a sentence", do="give the reason")
    asked = ask(ctx, gate)
    now_shown = shown_at(ctx, gate)
    if not now_shown.startswith(shown):
        raise Refused(
            "what was shown is not what it is any more",
            expected=now_shown[:12],
            do="look at the newest request and sign that",
        )

    def then(rows: Sequence[Approval], now: datetime) -> Signed:
        stands = standing(ctx.file.signers(gate), rows, now_shown, now, _expires(ctx))
        return Signed(_told(ctx, asked, stands), "passed" if stands.passed else "ended" if stands.rejected else "")

    one = Signing(gate, role, person_name.strip(), decision, reason.strip(), now_shown, via)
    ctx.ledger.gates.sign(release_id, one, then, state=state_of(gate), expires=_expires(ctx))
    _show(ctx, asked)
    return gate


def _told(ctx: Context, asked: GateEvent | None, stands: Standing) -> list[Note]:
    if asked is None or asked.nonce is None:
        return []
    request = request_of(ctx, asked, stands)
    if stands.rejected is not None:
        return [requests.over_note(request, asked.nonce, stands.refusal)]
    if stands.passed:
        return [requests.over_note(request, asked.nonce, "is signed")]
    return [requests.changed_note(request, asked.nonce)]


def _gate_for(ctx: Context, role: str, gate: str) -> str:
    """Return the gate at which a role signs now."""
    open_ = waiting_gates(ctx)
    if gate:
        open_ = [one for one in open_ if one == gate]
    if not open_:
        state = State(ctx.release.state)
        last = [one for one in ctx.file.gates() if state_of(one) is state]
        if state in (State.AWAITING_GO, State.WATCHING) and last and not gate:
            open_ = last[:1]  # all have signed; whoever signs once more is welcome
        else:
            raise Refused(
                f"{ctx.release.id} is {ctx.release.state}",
                expected=f"a release that waits at the gate {gate}" if gate else "a release that asks for a signature",
                do="sign when it asks for it",
            )
    found = [one for one in open_ if role in ctx.file.signers(one)]
    if not found:
        known = ", ".join(role for one in open_ for role in ctx.file.signers(one)) or "none"
        raise NotFound(
            f"no role {role!r} signs here",
            expected=known,
            where=f"sign_off.{open_[0]}",
            do="sign in one of these roles",
        )
    missing = [one for one in found if role in standing_of(ctx, one).missing]
    return (missing or found)[0]


def _require_allowed(ctx: Context, role: str, person_name: str, decision: Decision) -> None:
    rules, row = ctx.file.sign_off, ctx.release
    if same_person(person_name, row.started_by) and not rules.starter_may_sign:
        raise Refused(
            f"{person_name} started {row.id}",
            expected="another person's signature",
            do="ask somebody else to look at it and sign",
        )
    listed: Sequence[str] | None = rules.people.get(role)
    if decision == "waive":
        listed = rules.waivers or (() if listed is not None else None)
    if listed is not None and not any(same_person(person_name, one) for one in listed):
        what = "waive the signature of" if decision == "waive" else "sign as"
        raise Refused(
            f"{person_name} may not {what} {role}",
            expected=f"one of {', '.join(listed)}" if listed else "somebody whom sign_off.waivers names",
            do="ask one of them",
        )
