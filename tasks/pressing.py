"""What a button that somebody pressed in Slack comes to: who they are, what they may, and that it is done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tasks.beside import may_start, start_golive
from tasks.context import Context, ledger, world
from tasks.domain.errors import AccessDenied, GoliveError, Refused
from tasks.domain.gates import CONTROLS, same_person
from tasks.domain.messages import report_note
from tasks.domain.ports import ChatApi, Dialog, Press
from tasks.domain.release import State
from tasks.domain.requests import NEEDS_REASON, Act
from tasks.gatekeeping import LOG_FILE, START_WITHIN, acknowledge, go_on, watch_longer, what_follows
from tasks.ledger.models import GateEvent
from tasks.notifiers.slack import Slack, SlackUser
from tasks.settings import Settings
from tasks.signing import observed, sign, standing_of
from tasks.telling import about, courier_for

_MAY_GO_BACK = frozenset({State.MIGRATE, State.DEPLOY, State.HEALTH, State.WATCHING, State.NEEDS_PERSON, State.STABLE})
Chats = Callable[[Slack], ChatApi]


@dataclass(frozen=True)
class _Pressed:
    """A press with what it is about."""

    press: Press
    act: Act
    asked: GateEvent
    ctx: Context
    user: SlackUser


def heed(press: Press, app_token: str, chats: Chats) -> str:
    """Do what a button asks for, once, tell whoever pressed it what they must know, and return what came of it.

    Somebody who is not in the allow-list is refused and told so, and nobody else hears of it.
    """
    book = ledger(Settings.from_environment())
    if not book.gates.pressed(press.id, by=press.user, act=press.act, nonce=press.nonce):
        return "was heeded before"
    chat: ChatApi | None = None
    try:
        act = Act(press.act)
        asked = book.gates.by_nonce(press.nonce)
        ctx = observed(asked.release_id)
        where, user = _who(ctx, press, app_token)
        chat = chats(where)
        if user is None:
            raise AccessDenied(
                "you are not among those who may press this",
                expected="somebody in people of the Slack notifier",
                do="ask one of them, or have yourself put there",
            )
        said = _do(_Pressed(press, act, asked, ctx, user), chat)
    except (GoliveError, ValueError) as error:
        said = world().secrets.mask(str(error))
        _whisper(chat, press, f"This was not done: {said}")
        return f"refused: {said}"
    if said:
        _whisper(chat, press, said)
    return said


def _whisper(chat: ChatApi | None, press: Press, text: str) -> None:
    if chat is None:
        return
    try:
        chat.whisper(press.channel, press.user, text)
    except GoliveError as error:
        world().progress(f"{press.user} could not be told: {world().secrets.mask(str(error))}")


def _who(ctx: Context, press: Press, app_token: str) -> tuple[Slack, SlackUser | None]:
    """Return the notifier whose button was pressed, and whom it knows by the user's ID."""
    theirs = [one for one in ctx.file.notify if isinstance(one, Slack) and one.app_token == app_token]
    if not theirs:
        raise AccessDenied(f"{ctx.release.id} is not signed by this app", do="use the app that its release file names")
    return next(((one, one.people[press.user]) for one in theirs if press.user in one.people), (theirs[0], None))


def _do(one: _Pressed, chat: ChatApi) -> str:
    _require_current(one)
    if one.act is not Act.ACKNOWLEDGE and not one.user.roles:
        raise Refused(f"{one.user.name} has no role", expected="a role in people of the Slack notifier")
    if one.act in NEEDS_REASON and not one.press.text.strip():
        return _ask_why(one, chat)
    release = one.asked.release_id
    match one.act:
        case Act.APPROVE:
            said = _sign(one, "approve")
        case Act.REJECT:
            said = _sign(one, "reject")
        case Act.ACKNOWLEDGE:
            said = acknowledge(one.asked, one.user.name)
        case Act.EXTEND:
            said = watch_longer(release, one.user.name)
        case Act.ROLL_BACK:
            said = _roll_back(one)
    courier_for(observed(release)).flush(10.0)
    return said


def _require_current(one: _Pressed) -> None:
    """Raise `Refused` unless the button is one of the newest request at its gate, and that has not expired."""
    newest = one.ctx.ledger.gates.opened(one.asked.release_id, one.asked.gate)
    if newest is None or newest.id != one.asked.id:
        raise Refused("this request was replaced by a newer one", do="use the buttons of that")
    if one.asked.gate != CONTROLS and one.asked.until and one.asked.until <= one.ctx.ledger.evidence.now():
        raise Refused("this request has expired", do="wait for the next one, which comes within the hour")


def _ask_why(one: _Pressed, chat: ChatApi) -> str:
    title, submit = ("Reject", "Reject") if one.act is Act.REJECT else ("Roll back", "Roll back")
    kept = json.dumps({"nonce": one.press.nonce, "channel": one.press.channel})
    label = f"Why? It stands in every report of {about(one.ctx.release).title}."
    chat.open_dialog(one.press.trigger, Dialog(title, label, one.act, kept, submit))
    return ""


def _sign(one: _Pressed, decision: str) -> str:
    """Sign in every role that this person has and the gate lacks; a no is given once."""
    gate, stands = one.asked.gate, standing_of(one.ctx, one.asked.gate)
    done = {given.role for given in stands.signed if same_person(given.person, one.user.name)}
    open_to_them = stands.wanted if decision == "reject" else [role for role in stands.missing if role not in done]
    roles = [role for role in open_to_them if role in one.user.roles]
    if not roles:
        asked = ", ".join(stands.wanted) or "nobody"
        raise Refused(f"nothing is left for {one.user.name} to sign", expected=f"one of the roles {asked}")
    for role in roles[:1] if decision == "reject" else roles:
        sign(
            one.asked.release_id,
            role=role,
            person_name=one.user.name,
            decision="reject" if decision == "reject" else "approve",
            reason=one.press.text,
            gate=gate,
            shown=one.asked.plan_hash,
            via="Slack",
        )
    follows = what_follows(one.asked.release_id)
    if follows.goes_on or follows.refused is not None or follows.is_closed:
        go_on(one.asked.release_id)
    return ""  # the request itself says who signed, to everybody


def _roll_back(one: _Pressed) -> str:
    row = one.ctx.release
    if State(row.state) not in _MAY_GO_BACK or row.mutation_started_at is None:
        raise Refused(f"{row.id} is {row.state}", expected="a release that touched production", do="nothing")
    book = one.ctx.ledger
    if not may_start(book, f"roll back {row.id}", START_WITHIN):
        raise Refused("a rollback is on its way", do="follow it in the release's thread")
    book.releases.tell(row.id, report_note(about(row), "a rollback is asked for", f"{one.user.name}: {one.press.text}"))
    words = ("--release", row.id, f"--reason={one.press.text}", f"--by={one.user.name}")
    start_golive("rollback", row.system, *words, log=LOG_FILE)
    return f"{row.system} goes back; follow it in the release's thread"
