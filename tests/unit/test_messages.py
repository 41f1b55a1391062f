from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from slack_sdk.models.blocks import Block

from tasks.domain import block_kit as kit
from tasks.domain.messages import (
    About,
    Alert,
    Mark,
    Note,
    PhaseLine,
    alert_note,
    final_note,
    reply_note,
    root_note,
)
from tasks.domain.release import State

AT = datetime(2026, 11, 22, 2, 5, 11, tzinfo=UTC)
EVIL = "<!channel> & <@U123> <https://evil.example|click> \x00\x1b[31mred\x1b[0m \ud800 @here #general"


def about(**what: str) -> About:
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


def every_note(outside: str) -> list[Note]:
    who = about(previous=outside, started_by=outside, reason=outside, runbook=outside, version=outside)
    phases = [PhaseLine(outside, mark, 3.2, outside) for mark in Mark]
    figures = [(outside, outside)] * 23
    evidence = [outside] * 60
    return [
        root_note(who, State.WATCHING, phases, figures),
        root_note(who, State.WATCHING, phases, figures, edit=True),
        root_note(who, State.PLANNED, []),
        reply_note(who, State.MIGRATE, State.DEPLOY, outside, figures),
        reply_note(who, State.MIGRATE, State.DEPLOY),
        alert_note(who, alert(title=outside, seen=outside, limit=outside, next_act=outside, evidence=evidence)),
        alert_note(who, alert(next_at=None, evidence=())),
        final_note(who, "rolled_back", figures, outside),
        final_note(who, State.STABLE),
    ]


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for one in value.values() for text in texts_in(one)]
    return [text for one in value for text in texts_in(one)] if isinstance(value, list) else []


def held_to_slacks_limits(note: Note) -> None:
    blocks = note.blocks["blocks"]
    assert 1 <= len(blocks) <= 50
    assert len(json.dumps(blocks, ensure_ascii=False)) + len(note.text) <= 10_000
    assert note.text.strip()
    assert "\n" not in note.text
    for block in blocks:
        assert all(1 <= len(one["text"]) <= 2000 for one in block.get("fields", []))
        assert len(block.get("fields", [])) <= 10
        assert 1 <= len(block.get("elements", [0])) <= 10
    assert all(text.strip() for text in texts_in(blocks))
    parsed = Block.parse_all(blocks)
    assert len(parsed) == len(blocks)
    for one in parsed:
        one.validate_json()


@pytest.mark.parametrize(
    "outside", ["", "x", "word " * 4000, "&" * 20_000, "<" * 2995, "\n" * 500, "ä\U0001f600" * 9000, EVIL]
)
def test_every_message_keeps_slacks_limits_whatever_comes_from_outside(outside: str) -> None:
    for note in every_note(outside):
        held_to_slacks_limits(note)


def test_random_texts_keep_the_limits_too() -> None:
    random = Random(7)
    for _ in range(60):
        outside = "".join(random.choices(string.printable + "&<>äß–\u202e", k=random.randrange(4000)))
        for note in every_note(outside):
            held_to_slacks_limits(note)


def test_nothing_from_outside_can_ping_anyone() -> None:
    for note in every_note(EVIL):
        for text in texts_in(note.blocks["blocks"]):
            assert "<!channel" not in text
            assert "<!here" not in text
            assert "<@" not in text
            assert "<https://evil" not in text
        for block in note.blocks["blocks"]:
            parts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
            assert all(part["verbatim"] for part in parts if part and part["type"] == "mrkdwn")


def test_messages_hold_nothing_that_postgresql_or_a_terminal_would_stumble_over() -> None:
    for note in every_note(EVIL):
        whole = note.text + json.dumps(note.blocks, ensure_ascii=False)
        assert "\x00" not in whole
        assert "\x1b" not in whole
        whole.encode()


def test_a_shortened_text_says_so_and_cuts_no_escaped_sign() -> None:
    for limit in range(20, 60):
        cut = kit.clip(kit.escape("&<>" * 40), limit)
        assert len(cut) <= limit
        assert cut.endswith(kit.CUT)
        rest = cut.removesuffix(kit.CUT).replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert rest == ""
    assert kit.clip("short", 20) == "short"


def test_what_a_program_says_last_is_kept_of_a_long_text() -> None:
    trace = "the build failed: " + "File x, line 1 & 2; " * 200 + "Error: no Redis at 127.0.0.1:6379"
    for shown in (kit.one_line(trace), kit.shorten(kit.escape(trace), 500)):
        assert shown.startswith("the build failed: ")
        assert kit.CUT in shown
        assert shown.endswith("Error: no Redis at 127.0.0.1:6379")
    for limit in range(20, 90):
        cut = kit.shorten(kit.escape("&<>" * 40), limit)
        assert len(cut) <= limit
        assert cut.replace(kit.CUT, "").replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").strip() == ""


def test_a_message_that_leaves_parts_out_says_how_many() -> None:
    blocks = [kit.section(f"part {number}") for number in range(80)]
    shown = kit.fit(blocks)
    assert len(shown) == 50
    assert "31 parts are left out" in shown[-1]["elements"][0]["text"]
    assert kit.fit(blocks[:50]) == blocks[:50]


def test_the_root_says_state_progress_figures_and_origin() -> None:
    phases = [
        PhaseLine("preflight", Mark.DONE, 12.0),
        PhaseLine("backup", Mark.DONE, 130.0, "2.4 GB, proven"),
        PhaseLine("rehearse", Mark.FAILED),
        PhaseLine("migrate", Mark.AHEAD),
    ]
    note = root_note(about(), State.REHEARSE, phases, [("rows changed", "0")])
    assert note.kind == "root"
    assert note.text == "ordinaut 2.1.0: rehearse (✓ preflight ✓ backup ✗ rehearse · migrate)"
    shown = json.dumps(note.blocks, ensure_ascii=False)
    for part in ("✓ backup  2 min 10 s  2.4 GB, proven", "✗ rehearse", "from 2.0.0", "started by ana", "new scheduler"):
        assert part in shown
    assert "<https://wiki.example/ordinaut?a=1&amp;b=2|runbook>" in shown
    assert root_note(about(), State.REHEARSE, phases, edit=True).kind == "root_edit"


def test_an_alert_says_seen_limit_since_next_evidence_and_runbook() -> None:
    note = alert_note(about(), alert())
    assert note.kind == "alert"
    assert note.text == (
        "ordinaut 2.1.0: errors above the limit: 31 % of 180 probes; limit 20 %; since 2026-11-22 02:05:11 UTC; "
        "next: roll back to 2.0.0 at 2026-11-22 02:20:11 UTC"
    )
    shown = json.dumps(note.blocks, ensure_ascii=False)
    for part in ("*Seen*", "*Limit*", "*Since*", "*Next*", "GET /health: 503", "|runbook>", "<!date^1795313111^"):
        assert part in shown


def test_a_reply_names_the_change_and_the_end_the_verdict() -> None:
    assert reply_note(about(), State.MIGRATE, State.ROLLING_BACK, "lock not granted").text == (
        "ordinaut 2.1.0: migrate → rolling back: lock not granted"
    )
    assert final_note(about(), "rolled_back", [("down for", "4.2 s")], "errors").text == (
        "ordinaut 2.1.0: rolled back; errors; down for 4.2 s"
    )


def test_a_runbook_that_is_no_url_is_shown_and_not_linked() -> None:
    for url in ("javascript:alert(1)", "https://a|b", "https://a b", "https://" + "a" * 600):
        assert "<" not in kit.link(url, "runbook")
