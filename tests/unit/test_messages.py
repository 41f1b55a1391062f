from __future__ import annotations

import json

from tasks.domain.messages import Mark, Note, PhaseLine, alert_note, final_note, parts_of, reply_note, root_note
from tasks.domain.plain_text import CUT, LINE, clip, one_line, shorten
from tasks.domain.release import State
from tests.notes import EVIL, about, alert, every_note


def shown(note: Note) -> str:
    return json.dumps(parts_of(note.blocks), ensure_ascii=False)


def test_messages_hold_nothing_that_postgresql_or_a_terminal_would_stumble_over() -> None:
    for note in every_note(EVIL):
        whole = note.text + json.dumps(note.blocks, ensure_ascii=False)
        assert "\x00" not in whole
        assert "\x1b" not in whole
        whole.encode()


def test_a_message_has_one_line_and_parts_that_can_be_kept_as_they_are() -> None:
    for outside in ("", "\n" * 500, "word " * 4000, EVIL):
        for note in every_note(outside):
            assert 1 <= len(note.text) <= LINE
            assert "\n" not in note.text
            assert json.loads(json.dumps(note.blocks)) == note.blocks


def test_a_shortened_text_says_so() -> None:
    assert clip("word " * 40, 50) == ("word " * 40)[: 50 - len(CUT)] + CUT
    assert clip("short", 20) == "short"


def test_what_a_program_says_last_is_kept_of_a_long_text() -> None:
    trace = "the build failed: " + "File x, line 1 & 2; " * 200 + "Error: no Redis at 127.0.0.1:6379"
    for shown in (one_line(trace), shorten(trace, 500)):
        assert shown.startswith("the build failed: ")
        assert CUT in shown
        assert shown.endswith("Error: no Redis at 127.0.0.1:6379")
    assert all(len(shorten("word " * 40, limit)) <= limit for limit in range(20, 90))


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
    for part in ("✓ backup  2 min 10 s  2.4 GB, proven", "✗ rehearse", "from 2.0.0", "started by ana", "new scheduler"):
        assert part in shown(note)
    assert {"type": "link", "url": about().runbook, "label": "runbook"} in parts_of(note.blocks)[1]["remarks"][3]
    assert root_note(about(), State.REHEARSE, phases, edit=True).kind == "root_edit"


def test_an_alert_says_seen_limit_count_since_next_evidence_and_runbook() -> None:
    note = alert_note(about(), alert(counted="56 of 180 probes failed"))
    assert note.kind == "alert"
    assert note.text == (
        "ordinaut 2.1.0: errors above the limit: 31 % of 180 probes; limit 20 %; n: 56 of 180 probes failed; "
        "since 2026-11-22 02:05:11 UTC; next at 2026-11-22 02:20:11 UTC: roll back to 2.0.0"
    )
    named = {one["name"]: one["value"] for one in parts_of(note.blocks)[1]["pairs"]}
    assert list(named) == ["Seen", "Limit", "n", "Since", "Next"]
    assert named["n"] == ["56 of 180 probes failed"]
    assert named["Next"][-1] == {"type": "moment", "at": "2026-11-22T02:20:11+00:00"}
    assert "GET /health: 503" in shown(note)
    assert '"label": "runbook"' in shown(note)


def test_an_alert_of_which_nothing_was_counted_names_no_number_and_one_without_evidence_says_where_it_is() -> None:
    note = alert_note(about(), alert(evidence=()))
    assert "; n: " not in note.text
    assert [one["name"] for one in parts_of(note.blocks)[1]["pairs"]] == ["Seen", "Limit", "Since", "Next"]
    assert f"• golive status {about().release_id}" in shown(note)
    assert "golive status" not in shown(alert_note(about(), alert(evidence=(), over=True)))


def test_a_reply_names_the_change_and_the_end_the_verdict() -> None:
    assert reply_note(about(), State.MIGRATE, State.ROLLING_BACK, "lock not granted").text == (
        "ordinaut 2.1.0: migrate → rolling back: lock not granted"
    )
    assert final_note(about(), "rolled_back", [("down for", "4.2 s")], "errors").text == (
        "ordinaut 2.1.0: rolled back; errors; down for 4.2 s"
    )
