"""What Slack gets of the parts of a message: slack-sdk's models, within every limit, and nothing that pings anyone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import ActionsBlock, Block

from tasks.adapters.slack_blocks import ALL_BLOCKS, BLOCKS, FIELD, blocks_of, escape, line, view_of
from tasks.domain import parts
from tasks.domain.gates import LIVE
from tasks.domain.messages import Note, parts_of
from tasks.domain.plain_text import CUT
from tasks.domain.ports import Dialog
from tasks.domain.requests import request_note
from tests.notes import AT, EVIL, about, every_note, request
from tests.unit.test_release_file import ROOT

# The same texts at each run, and however slow the machine is.
steadily = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
outsides = st.one_of(
    st.text(max_size=300),
    st.text("&<>*_~`|!@#\n ä\U0001f600x", max_size=300).map(lambda text: text * 30),
    st.integers(0, 4000).map("&".__mul__),
)
runs = st.one_of(
    outsides,
    outsides.map(parts.bold),
    outsides.map(parts.code),
    st.just(parts.moment(AT)),
    outsides.map(lambda url: parts.link(f"https://x/{url}", url)),
)
buttons = st.lists(st.builds(parts.button, outsides, st.just("act"), st.just("n"), question=outsides), min_size=1)
some_parts = st.one_of(
    outsides.map(parts.heading),
    st.lists(runs).map(lambda some: parts.text(*some)),
    st.lists(st.tuples(outsides, st.lists(runs)), min_size=1, max_size=30).map(lambda some: parts.pairs(some)[0]),
    st.lists(runs, min_size=1, max_size=15).map(lambda some: parts.small_print(*some)),
)


def dicts_of(note: Note) -> list[dict[str, Any]]:
    return [block.to_dict() for block in blocks_of(parts_of(note.blocks))]


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for one in value.values() for text in texts_in(one)]
    return [text for one in value for text in texts_in(one)] if isinstance(value, list) else []


def held_to_slacks_limits(blocks: list[Block]) -> None:
    shown = [block.to_dict() for block in blocks]  # which holds each to what its model limits
    assert len(shown) <= BLOCKS
    assert len(json.dumps(shown, ensure_ascii=False)) <= ALL_BLOCKS + 2 * BLOCKS
    for block in shown:
        assert all(1 <= len(one["text"]) <= FIELD for one in block.get("fields", []))
        assert len(block.get("fields", [])) <= 10
        assert 1 <= len(block.get("elements", [0])) <= (25 if block["type"] == "actions" else 10)
        marked = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        assert all(one["verbatim"] for one in marked if one and one["type"] == "mrkdwn")
    for text in texts_in(shown):
        assert text.strip()
        assert all(sign.partition(";")[0] in {"amp", "lt", "gt"} for sign in text.split("&")[1:])
        assert all(mark.startswith(("!date^", "https://")) for mark in text.split("<")[1:])
        assert text.count("<") == text.count(">")


@steadily
@given(outsides)
@example("")
@example("word " * 4000)
@example("<" * 2995)
@example("\n" * 500)
@example("ä\U0001f600" * 9000)
@example(EVIL)
def test_every_message_keeps_slacks_limits_whatever_comes_from_outside(outside: str) -> None:
    for note in every_note(outside):
        blocks = blocks_of(parts_of(note.blocks))
        assert blocks
        held_to_slacks_limits(blocks)
        assert len(line(note.text)) + len(json.dumps([one.to_dict() for one in blocks], ensure_ascii=False)) <= 10_000


@steadily
@given(st.lists(some_parts, max_size=70), buttons)
def test_any_parts_keep_slacks_limits_and_their_buttons(those: list[parts.Part], row: list[parts.Button]) -> None:
    blocks = blocks_of([*those, parts.buttons(row[:6])])
    held_to_slacks_limits(blocks)
    assert isinstance(blocks[-1], ActionsBlock)
    assert len(blocks[-1].elements) == min(len(row), 6)


def test_nothing_from_outside_can_ping_anyone_or_lead_anywhere() -> None:
    for note in every_note(EVIL):
        for text in [line(note.text), *texts_in(dicts_of(note))]:
            for mark in ("<!channel", "<!here", "<@", "<https://evil"):
                assert mark not in text


def test_text_is_cut_between_signs_and_what_leads_somewhere_is_never_cut() -> None:
    for length in range(2950, 3000):
        (block,) = blocks_of([parts.text("x" * length, parts.moment(AT), parts.link("https://a.example", "there"))])
        said = block.to_dict()["text"]["text"]
        assert len(said) <= 3000
        assert said.count("<") == said.count(">")
        assert said.endswith(CUT) == ("there" not in said)
    for count in range(590, 610):
        (block,) = blocks_of([parts.text("&" * count)])
        rest = block.to_dict()["text"]["text"].removesuffix(CUT).replace("&amp;", "")
        assert rest == ""


def test_a_message_that_leaves_parts_out_says_how_many() -> None:
    some = [parts.text(f"part {number}") for number in range(80)]
    shown = [block.to_dict() for block in blocks_of(some)]
    assert len(shown) == 50
    assert "31 parts are left out" in shown[-1]["elements"][0]["text"]
    assert [one.to_dict()["text"]["text"] for one in blocks_of(some[:50])] == [f"part {number}" for number in range(50)]


def test_a_request_that_is_too_long_keeps_the_buttons_by_which_it_is_answered() -> None:
    note = request_note(request(LIVE, about(), "&" * 500, many=40), "the-nonce")
    shown = dicts_of(note)
    assert "are left out" in shown[-2]["elements"][0]["text"]
    assert [one["text"]["text"] for one in shown[-1]["elements"]][:2] == ["Approve", "Reject …"]


def test_an_alert_and_a_request_look_as_people_expect() -> None:
    header, fields, small, *_ = dicts_of(every_note("x")[8])
    assert header == {"type": "header", "text": {"type": "plain_text", "text": "ordinaut x: errors above the limit"}}
    assert fields["fields"][0] == {"type": "mrkdwn", "text": "*Seen*\n31 % of 180 probes", "verbatim": True}
    assert fields["fields"][2]["text"] == (
        "*Since*\n<!date^1795313111^{date_short_pretty} {time_secs}|2026-11-22 02:05:11 UTC>"
    )
    assert small["elements"][-1]["text"] == "release ordinaut-20261122-0205-k3f9"
    (approve, *_) = dicts_of(request_note(request("go", about()), "the-nonce"))[-1]["elements"]
    assert approve == {
        "type": "button",
        "text": {"type": "plain_text", "text": "Approve"},
        "action_id": "golive_approve",
        "value": "the-nonce",
        "style": "primary",
        "confirm": {
            "title": {"type": "plain_text", "text": "Are you sure?"},
            "text": {"type": "plain_text", "text": "You sign for ordinaut 2.1.0, gate go."},
            "confirm": {"type": "plain_text", "text": "Approve"},
            "deny": {"type": "plain_text", "text": "Not now"},
        },
    }


def test_a_runbook_that_is_no_url_is_shown_and_not_linked() -> None:
    for url in ("javascript:alert(1)", "https://a|b", "https://a b", "https://" + "a" * 600):
        (block,) = blocks_of([parts.text(parts.link(url, "runbook"))])
        assert "<" not in block.to_dict()["text"]["text"]
    (block,) = blocks_of([parts.text(parts.link("https://wiki.example/?a=1&b=2", "runbook"))])
    assert block.to_dict()["text"]["text"] == "<https://wiki.example/?a=1&amp;b=2|runbook>"


@steadily
@given(outsides, outsides)
def test_a_dialog_keeps_slacks_limits(title: str, label: str) -> None:
    shown = view_of(Dialog(title, label, "golive_reject", '{"nonce": "n"}', "Reject")).to_dict()
    assert (shown["type"], shown["callback_id"]) == ("modal", "golive_reject")
    assert shown["private_metadata"] == '{"nonce": "n"}'
    assert 1 <= len(shown["title"]["text"]) <= 24
    (asked,) = shown["blocks"]
    assert (asked["block_id"], asked["element"]["action_id"]) == ("reason", "text")
    assert 1 <= len(asked["label"]["text"]) <= 150


def test_block_kit_that_an_earlier_golive_left_in_the_outbox_is_sent_as_it_is() -> None:
    """A row as golive wrote it until its messages were kept without markup."""
    text = {"type": "mrkdwn", "text": "*awaits*\ndba &amp; lead", "verbatim": True}
    label = {"type": "plain_text", "text": "Approve"}
    earlier = [
        {"type": "header", "text": {"type": "plain_text", "text": "shop v2: may it go live?"}},
        {"type": "section", "fields": [text]},
        {"type": "context", "elements": [text]},
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "text": label,
                    "action_id": "golive_approve",
                    "value": "n",
                    "style": "primary",
                    "confirm": {"title": label, "text": label, "confirm": label, "deny": label},
                }
            ],
        },
    ]
    assert [one.to_dict() for one in blocks_of(parts_of({"blocks": earlier, "nonce": "n"}))] == earlier


@pytest.mark.parametrize(
    "unheard", [{"type": "of a later golive"}, {}, {"type": "text"}, {"type": "pairs", "pairs": [1]}]
)
def test_what_is_no_part_of_a_message_is_told_by_an_error(unheard: dict[str, Any]) -> None:
    with pytest.raises((SlackObjectFormationError, LookupError, TypeError, ValueError)):
        blocks_of([unheard])


def test_an_escaped_text_shows_what_was_given() -> None:
    assert escape("<!channel> & co\x1b[2J") == "&lt;!channel&gt; &amp; co"
    assert line("") == "–"


@pytest.mark.parametrize("module", ["deployments.keeper", "flows.guard", "flows.release", "deployments.cli"])
def test_slack_sdk_is_imported_by_those_alone_who_send_something_to_slack(module: str) -> None:
    script = f"import sys, {module}\nprint(*(name for name in sys.modules if name.startswith('slack_sdk')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == ""
