from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from examples.slack_server import TOKEN, FakeSlack, fake_slack
from tasks.adapters.clock import SystemClock
from tasks.adapters.secrets import SecretStore
from tasks.adapters.slack import SlackChat
from tasks.context import ledger as ledger_of
from tasks.courier import Courier, running
from tasks.domain import parts
from tasks.domain.errors import AccessDenied, ConnectionLost, OutsideError, ServerTrouble, TimedOut, Unreachable
from tasks.domain.messages import (
    About,
    Alert,
    Mark,
    Note,
    Occasion,
    PhaseLine,
    alert_note,
    final_note,
    plots_note,
    reply_note,
    report_note,
    root_note,
)
from tasks.domain.ports import Attachment
from tasks.domain.release import State
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening
from tasks.notifiers import Notifier
from tasks.notifiers.console import Console
from tasks.notifiers.grafana import Grafana
from tasks.notifiers.slack import Slack
from tests.grafanas import TOKEN as GRAFANA_TOKEN
from tests.grafanas import fake_grafana

NOW = datetime.now(UTC)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as server:
        yield server


@pytest.fixture
def chat(slack: FakeSlack) -> SlackChat:
    return SlackChat(TOKEN, slack.base_url, timeout=1)


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    opened = Ledger(database)
    yield opened
    opened.close()


def open_release(
    ledger: Ledger, release_id: str = "ordinaut-1", system: str = "ordinaut", *, mutates: bool = True
) -> About:
    ledger.releases.open(
        Opening(
            id=release_id,
            system=system,
            version="2.1.0",
            scope="release",
            mutates=mutates,
            started_by="ana",
            reason="new scheduler",
            file="release.yaml",
            file_text="system: ordinaut",
        )
    )
    return About(release_id, system, "2.1.0", "ana", previous="2.0.0", reason="new scheduler")


def courier_of(
    ledger: Ledger, *notifiers: Notifier, lines: list[str] | None = None, system: str = "ordinaut", **what: Any
) -> Courier:
    environ = what.pop("environ", {"SLACK_BOT_TOKEN": TOKEN})
    write = (lines if lines is not None else []).append
    return Courier(ledger, notifiers, SecretStore(environ), SystemClock(), write, system=system, **what)


def ops(slack: FakeSlack) -> Slack:
    return Slack(channel="#ops", base_url=slack.base_url, timeout=1.0)


def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    ends = time.monotonic() + within
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


# --- the client ---


def test_a_message_is_posted_edited_answered_and_found_again(slack: FakeSlack, chat: SlackChat) -> None:
    root = chat.post("#ops", "root", [], key="r/1")
    reply = chat.post(root["channel"], "reply", [], key="r/2", thread_ts=root["ts"], broadcast=True)
    assert chat.update(root["channel"], root["ts"], "edited", []) == root
    assert [one["text"] for one in slack.messages] == ["edited", "reply"]
    assert [one["broadcast"] for one in slack.messages] == [False, True]
    assert chat.find("#ops", "r/1", since=NOW) == root
    assert chat.find(root["channel"], "r/2", since=NOW, thread_ts=root["ts"]) == reply
    assert chat.find("#ops", "r/3", since=NOW) is None


def test_a_message_is_found_on_a_later_page(slack: FakeSlack, chat: SlackChat) -> None:
    first = chat.post("#ops", "one", [], key="r/0")
    for number in range(1, 7):
        chat.post("#ops", "another", [], key=f"r/{number}")
    slack.page = 2
    assert chat.find("#ops", "r/0", since=NOW) == first
    assert slack.calls["conversations.history"] == 4


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("trouble", ServerTrouble),
        ("internal_error", ServerTrouble),
        ("drop", ConnectionLost),
        ("drop_first", ConnectionLost),
        ("invalid_auth", AccessDenied),
        ("not_in_channel", AccessDenied),
        ("channel_not_found", AccessDenied),
        ("is_archived", AccessDenied),
        ("msg_too_long", OutsideError),
    ],
)
def test_each_fault_has_its_error_and_nothing_is_sent_twice(
    slack: FakeSlack, chat: SlackChat, fault: str, error: type
) -> None:
    slack.fail("chat.postMessage", fault)
    with pytest.raises(error) as raised:
        chat.post("#ops", "root", [], key="r/1")
    assert type(raised.value) is error
    assert slack.calls["chat.postMessage"] == 1
    assert TOKEN not in str(raised.value)


def test_a_full_slack_says_for_how_long(slack: FakeSlack, chat: SlackChat) -> None:
    slack.fail("chat.postMessage", "limit", seconds=17)
    with pytest.raises(ServerTrouble) as raised:
        chat.post("#ops", "root", [], key="r/1")
    assert raised.value.retry_after == 17


def test_a_slow_slack_is_given_up_and_a_refused_connection_is_known_as_such(slack: FakeSlack, chat: SlackChat) -> None:
    slack.fail("chat.postMessage", "slow", seconds=3)
    with pytest.raises(TimedOut):
        chat.post("#ops", "root", [], key="r/1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            SlackChat(TOKEN, f"http://127.0.0.1:{taken.getsockname()[1]}/api/").post("#ops", "x", [], key="r/1")


def test_a_client_keeps_to_the_time_given_for_all_its_calls(slack: FakeSlack) -> None:
    with pytest.raises(TimedOut):
        SlackChat(TOKEN, slack.base_url, timeout=10, within=0).post("#ops", "root", [], key="r/1")
    assert not slack.calls


def test_blocks_that_slack_refuses_do_not_cost_the_message(slack: FakeSlack, chat: SlackChat) -> None:
    slack.fail("chat.postMessage", "invalid_blocks")
    chat.post("#ops", "the line", [parts.text("the line, and more")], key="r/1")
    chat.post("#ops", "another", [{"type": "of a later golive"}], key="r/2")
    assert [(one["text"], one["blocks"]) for one in slack.messages] == [("the line", []), ("another", [])]


def test_a_token_that_cannot_be_sent_is_not_shown(slack: FakeSlack) -> None:
    with pytest.raises(AccessDenied) as raised:
        SlackChat("xoxb-secret\nX-Evil: 1", slack.base_url)
    assert "secret" not in str(raised.value)


# --- the courier ---


def test_a_release_is_one_message_with_its_thread_in_order(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    phases = [PhaseLine("preflight", Mark.RUNNING)]
    states = [State.PLANNED, State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.AWAITING_GO]
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, phases))
    courier = courier_of(ledger, ops(slack))
    for before, after in itertools.pairwise(states):
        ledger.releases.tell(
            about.release_id, reply_note(about, before, after), root_note(about, after, phases, edit=True)
        )
        courier.flush(5)
    alert = Alert("down", "no answer", "10 min", NOW, "roll back", NOW + timedelta(minutes=5), ["GET /: <!channel>"])
    ledger.releases.tell(about.release_id, alert_note(about, alert), final_note(about, "rolled_back"))
    courier.flush(5)
    (root,) = slack.roots()
    assert root["text"].startswith("ordinaut 2.1.0: awaiting go")
    assert root["edits"] == 4
    said = [one["text"].removeprefix("ordinaut 2.1.0: ") for one in slack.thread(root["ts"])]
    assert said[:4] == [
        "planned → preflight",
        "preflight → backup",
        "backup → rehearse",
        "rehearse → awaiting go",
    ]
    assert said[4].startswith("down: no answer; limit 10 min; since ")
    assert said[5] == "rolled back"
    assert [one["broadcast"] for one in slack.thread(root["ts"])] == [False] * 4 + [True, True]
    assert slack.refused == []
    assert "<!channel" not in str([one["blocks"] for one in slack.messages])
    assert courier.flush(5) == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, ["first", "goes back", "is back", "well again", "sign!"]),
        ({"broadcast": ["first_alert", "alert", "person"]}, ["first", "second", "decide!"]),
        ({"broadcast": []}, []),
    ],
)
def test_the_channel_shows_only_what_must_be_seen(
    ledger: Ledger, slack: FakeSlack, given: dict[str, Any], shown: list[str]
) -> None:
    about = open_release(ledger)

    def alert(title: str, occasion: Occasion) -> Note:
        return alert_note(about, Alert(title, "", "", NOW, ""), occasion)

    ledger.releases.tell(
        about.release_id,
        root_note(about, State.WATCHING, []),
        alert("first", Occasion.WRONG),
        alert("second", Occasion.STILL),
        reply_note(about, State.WATCHING, State.ROLLING_BACK, "goes back"),
        *([reply_note(about, State.ROLLING_BACK, State.NEEDS_PERSON, "decide!")] if given else []),
        final_note(about, State.ROLLED_BACK, text="is back"),
        alert("well again", Occasion.OVER),
        Note("reminder", "sign!", {}),
        report_note(about, "a report", "of nothing new"),
    )
    channel = Slack.model_validate({"channel": "#ops", "base_url": slack.base_url, "timeout": "1s", **given})
    courier_of(ledger, channel).flush(5)
    (root,) = slack.roots()
    seen = [one["text"] for one in slack.thread(root["ts"]) if one["broadcast"]]
    assert len(seen) == len(shown)
    assert all(words in text for words, text in zip(shown, seen, strict=True))


def test_of_several_waiting_edits_only_the_last_is_made(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    notes = [root_note(about, State.PLANNED, [])]
    notes += [root_note(about, State.BACKUP, [], [("look", str(n))], edit=True) for n in range(30)]
    ledger.releases.tell(about.release_id, *notes)
    assert courier_of(ledger, ops(slack)).flush(5) == 2
    assert slack.calls == {"chat.postMessage": 1, "chat.update": 1}
    assert "29" in str(slack.messages[0]["blocks"])
    assert ledger.outbox.due("slack:#ops") == []


def test_a_message_that_arrived_without_an_answer_is_not_sent_again(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    for number in range(5):
        ledger.releases.tell(about.release_id, Note("reply", f"reply {number}", {}))
    courier = courier_of(ledger, ops(slack))
    slack.fail("chat.postMessage", "drop", times=6)

    def all_out() -> bool:
        courier.flush(5)
        return not ledger.outbox.due("slack:#ops", limit=100) and len(slack.messages) == 6

    until(all_out, within=20)
    until(lambda: ledger.outbox.root_ref(about.release_id, "slack:#ops") != {})
    assert slack.calls["chat.postMessage"] == 6
    (root,) = slack.roots()
    assert [one["text"] for one in slack.thread(root["ts"])] == [f"reply {number}" for number in range(5)]
    assert len(set(slack.keys())) == 6


def test_a_token_that_may_not_read_sends_rather_twice_than_not_at_all(ledger: Ledger, slack: FakeSlack) -> None:
    slack.scopes = {"chat:write"}
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    courier = courier_of(ledger, ops(slack))
    slack.fail("chat.postMessage", "drop")
    until(lambda: courier.flush(5) == 1)
    assert len(slack.messages) == 2
    assert ledger.outbox.root_ref(about.release_id, "slack:#ops")["ts"] == slack.messages[1]["ts"]


def test_without_a_token_messages_appear_on_the_console_and_it_is_said_once(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []), Note("reply", "one", {}))
    lines: list[str] = []
    courier_of(ledger, ops(slack), lines=lines, environ={}).flush(5)
    assert len(lines) == 3
    assert "slack:#ops does not get messages" in lines[0]
    assert "SLACK_BOT_TOKEN is not set" in lines[0]
    assert "[ordinaut-1] ordinaut 2.1.0: planned" in lines[1]
    assert "[ordinaut-1] one" in lines[2]
    assert {delivery.notifier for _message, delivery in ledger.outbox.dead_letters()} == {"slack:#ops"}
    assert len(ledger.outbox.dead_letters()) == 2
    assert not slack.calls


def test_a_refused_token_is_not_tried_again_and_the_next_message_is(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, Note("reply", "one", {}), Note("reply", "two", {}))
    slack.fail("chat.postMessage", "invalid_auth")
    lines: list[str] = []
    assert courier_of(ledger, ops(slack), Console(), lines=lines).flush(5) == 3
    assert [one["text"] for one in slack.messages] == ["two"]
    ((message, delivery),) = ledger.outbox.dead_letters()
    assert message.text == "one"
    assert "invalid_auth" in delivery.error
    assert sum("one" in line for line in lines) == 1


def test_the_status_names_what_could_not_be_told(
    ledger: Ledger, slack: FakeSlack, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, Note("reply", "one", {}))
    slack.fail("chat.postMessage", "is_archived")
    courier_of(ledger, ops(slack)).flush(5)
    (tmp_path / "systems").mkdir()
    for name, value in (("LEDGER_URL", database), ("HOME", tmp_path / "home"), ("SYSTEMS", tmp_path / "systems")):
        monkeypatch.setenv(f"GOLIVE_{name}", str(value))
    ledger_of.cache_clear()
    try:
        seen = CliRunner().invoke(app, ["status"])
        letters = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["dead_letters"]
    finally:
        ledger_of.cache_clear()
    assert "1 message could not be delivered; the newest, by slack:#ops:" in seen.output
    assert "ordinaut-1: " in seen.output
    assert [(one["release"], "is_archived" in one["error"]) for one in letters] == [("ordinaut-1", True)]


def test_the_console_is_used_where_no_notifier_is_named(ledger: Ledger) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    lines: list[str] = []
    assert courier_of(ledger, lines=lines).flush(5) == 1
    assert lines[0].endswith("[ordinaut-1] ordinaut 2.1.0: planned")
    assert [row.kind for row in ledger.outbox.due("slack:#ops")] == ["root"]


def test_secrets_do_not_leave_with_a_message(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    blocks = {"parts": [parts.text(f"it said {TOKEN}"), parts.text(parts.code(TOKEN))]}
    ledger.releases.tell(
        about.release_id,
        Note("reply", f"postgresql://u:hunter22@db/x and {TOKEN}", blocks),
        Note("reply", TOKEN, blocks),
    )
    secrets = SecretStore({"SLACK_BOT_TOKEN": TOKEN})
    secrets.resolve("${env:SLACK_BOT_TOKEN}")
    Courier(ledger, [ops(slack)], secrets, SystemClock(), print, system="ordinaut").flush(5)
    assert len(slack.messages) == 2
    assert TOKEN not in str(slack.messages)
    assert "hunter22" not in str(slack.messages)


def test_a_secret_with_signs_that_slack_wants_escaped_does_not_leave_either(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    ledger.releases.tell(about.release_id, report_note(about, "it said", "login with p<w&rd>1 failed"))
    secrets = SecretStore({"SLACK_BOT_TOKEN": TOKEN, "PASSWORD": "p<w&rd>1"})
    secrets.resolve("${env:PASSWORD}")
    Courier(ledger, [ops(slack)], secrets, SystemClock(), print, system="ordinaut").flush(5)
    assert "login with" in str(slack.messages)
    assert "rd&gt;1" not in str(slack.messages)


def test_what_an_earlier_golive_left_in_the_outbox_goes_out_with_its_buttons(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    button = {"type": "button", "text": {"type": "plain_text", "text": "Approve"}, "action_id": "a", "value": "n"}
    earlier = [
        {"type": "header", "text": {"type": "plain_text", "text": "may it go live?"}},
        {"type": "actions", "elements": [button]},
    ]
    ledger.releases.tell(about.release_id, Note("request", "may it?", {"blocks": earlier, "nonce": "n"}))
    with_buttons = ops(slack).model_copy(update={"app_token": "${env:SLACK_APP_TOKEN}"})
    courier_of(ledger, with_buttons).flush(5)
    courier_of(ledger, ops(slack).model_copy(update={"channel": "C0123OPS4"})).flush(5)
    assert [one["blocks"] for one in slack.messages] == [earlier, earlier[:1]]


def test_a_courier_delivers_for_its_own_system_only(ledger: Ledger, slack: FakeSlack) -> None:
    mine, other = open_release(ledger), open_release(ledger, "glad-1", "glad-labs")
    for about in (mine, other):
        ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    assert courier_of(ledger, ops(slack)).flush(5) == 1
    assert [one["text"] for one in slack.messages] == ["ordinaut 2.1.0: planned"]
    assert courier_of(ledger, ops(slack), system="glad-labs").flush(5) == 1


def test_of_two_couriers_each_message_is_delivered_by_one(ledger: Ledger, slack: FakeSlack, database: str) -> None:
    abouts = [open_release(ledger, f"ordinaut-{number}", mutates=False) for number in range(4)]
    for about in abouts:
        ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    second = Ledger(database)
    try:
        with (
            running(courier_of(ledger, ops(slack)), every=0.02),
            running(courier_of(second, ops(slack)), every=0.02),
        ):
            for number in range(10):
                for about in abouts:
                    ledger.releases.tell(about.release_id, Note("reply", f"reply {number}", {}))
            until(lambda: len(slack.messages) >= 44, within=20)
    finally:
        second.close()
    assert len(slack.messages) == 44
    assert len(set(slack.keys())) == 44
    for root in slack.roots():
        assert [one["text"] for one in slack.thread(root["ts"])] == [f"reply {number}" for number in range(10)]


def test_what_is_told_last_still_goes_out_at_the_end(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    with running(courier_of(ledger, ops(slack)), every=30) as courier:
        time.sleep(0.1)
        ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
        courier.wake()
        until(lambda: len(slack.messages) == 1)
        ledger.releases.tell(about.release_id, final_note(about, "stable"))
    assert [one["text"] for one in slack.messages] == ["ordinaut 2.1.0: planned", "ordinaut 2.1.0: stable"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("courier ")]


def test_the_end_waits_for_another_process_that_is_delivering(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    ledger.leases.take("courier:ordinaut:slack:#ops", "another process", 1.0)
    with running(courier_of(ledger, ops(slack)), every=0.05):
        ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []))
    assert len(slack.messages) == 1


def test_annotations_wait_for_a_grafana_that_is_away_hold_up_nobody_and_come_once_each(ledger: Ledger) -> None:
    about = open_release(ledger)
    lines: list[str] = []
    with fake_grafana() as grafana:
        courier = courier_of(ledger, Grafana(url=grafana.url), lines=lines, environ={"GRAFANA_TOKEN": GRAFANA_TOKEN})

        def come(count: int) -> bool:
            courier.flush(5)
            return len(grafana.events(about.release_id)) == count

        grafana.status = 503
        ledger.releases.tell(about.release_id, root_note(about, State.PREFLIGHT, []))
        assert come(0)
        assert len(lines) == 1, "people read it on the console meanwhile"
        ledger.releases.tell(about.release_id, reply_note(about, State.HEALTH, State.WATCHING))
        grafana.status, grafana.lose = 200, 1
        until(lambda: come(2), 20)
        ledger.releases.tell(about.release_id, final_note(about, "rolled_back"))
        until(lambda: come(3), 20)
        until(lambda: courier.flush(5) >= 0 and not ledger.outbox.due(f"grafana:{grafana.url}"))
        assert grafana.events(about.release_id) == ["started", "live", "rolled back"]


# --- several ways out ---


def test_each_channel_gets_what_it_is_for(ledger: Ledger, slack: FakeSlack) -> None:
    slack.channels["alerts"] = "C0123ALRT"
    about = open_release(ledger)
    alert = Alert("down", "no answer", "10 min", NOW, "roll back")
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []), Note("reply", "one", {}))
    ledger.releases.tell(about.release_id, alert_note(about, alert), root_note(about, State.BACKUP, [], edit=True))
    loud = ops(slack).model_copy(update={"channel": "#alerts", "only": ("critical",)})
    quiet = ops(slack).model_copy(update={"only": ("progress",)})
    courier_of(ledger, loud, quiet).flush(5)
    told = sorted(one["text"].partition(";")[0] for one in slack.messages)
    assert told == ["one", "ordinaut 2.1.0: backup", "ordinaut 2.1.0: down: no answer"]
    assert ledger.outbox.dead_letters() == []
    assert [ledger.outbox.due(name) for name in (loud.address, quiet.address)] == [[], []]


def test_what_slack_refuses_goes_out_by_the_last_resort_and_nothing_else_does(ledger: Ledger, slack: FakeSlack) -> None:
    about = open_release(ledger)
    for text in ("one", "two", "three"):
        ledger.releases.tell(about.release_id, Note("reply", text, {}))
    slack.fail("chat.postMessage", "channel_not_found", times=2)
    lines: list[str] = []
    last = Console(last_resort=True)
    couriers = courier_of(ledger, ops(slack), last, lines=lines)
    couriers.flush(5)
    couriers.flush(5)
    assert [one["text"] for one in slack.messages] == ["three"]
    assert [line.rpartition("] ")[2] for line in lines if "[ordinaut-1]" in line] == ["one", "two"]


# --- plots ---


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def tell_plots(ledger: Ledger) -> About:
    about = open_release(ledger)
    plots = [Attachment(f"{name}.png", name, f"what {name} shows", PNG + name.encode()) for name in ("watch", "before")]
    ledger.releases.tell(about.release_id, root_note(about, State.PLANNED, []), plots_note(about, plots))
    return about


def test_plots_are_shown_in_the_thread_as_they_were_made(ledger: Ledger, slack: FakeSlack) -> None:
    tell_plots(ledger)
    assert courier_of(ledger, ops(slack)).flush(5) == 2
    (shown,) = slack.shown()
    assert [(one["name"], one["title"], one["alt"]) for one in shown] == [
        ("watch.png", "watch", "what watch shows"),
        ("before.png", "before", "what before shows"),
    ]
    assert [one["data"] for one in shown] == [PNG + b"watch", PNG + b"before"]
    (root,) = slack.roots()
    assert len(slack.thread(root["ts"])) == 1


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("files.getUploadURLExternal", "trouble"),
        ("files.getUploadURLExternal", "drop"),
        ("upload", "trouble"),
        ("upload", "drop"),
        ("upload", "drop_first"),
        ("files.completeUploadExternal", "limit"),
        ("files.completeUploadExternal", "drop_first"),
        ("files.completeUploadExternal", "drop"),
    ],
)
def test_plots_are_neither_lost_nor_shown_twice_whatever_breaks(
    ledger: Ledger, slack: FakeSlack, method: str, fault: str
) -> None:
    about = tell_plots(ledger)
    slack.fail(method, fault)
    courier = courier_of(ledger, ops(slack))
    courier.flush(5)
    ledger.releases.tell(about.release_id, Note("alert", "something else", {}))

    def all_out() -> bool:
        courier.flush(5)
        return not ledger.outbox.due("slack:#ops") and len(slack.shown()) == 1 and len(slack.messages) == 3

    until(all_out, within=20)
    until(lambda: courier.flush(5) == 0 and not waiting(ledger), within=20)
    assert [one["data"] for one in slack.shown()[0]] == [PNG + b"watch", PNG + b"before"]
    assert len(slack.shown()) == 1


def waiting(ledger: Ledger) -> bool:
    """Tell whether a message has neither arrived nor been given up, due or not."""
    from tasks.ledger.engine import LedgerEngine
    from tasks.ledger.models import Delivery

    engine = LedgerEngine(ledger.dsn)
    try:
        with engine.transaction() as session:
            ended = {row.message_id for row in session.query(Delivery) if row.outcome in {"delivered", "dead"}}
    finally:
        engine.close()
    return {row.id for row in ledger.outbox.messages("ordinaut-1")} != ended


def test_without_the_right_to_show_files_texts_go_out_and_it_is_said_once(ledger: Ledger, slack: FakeSlack) -> None:
    slack.scopes.discard("files:write")
    about = tell_plots(ledger)
    plots = plots_note(about, [Attachment("again.png", "again", "", PNG)])
    ledger.releases.tell(about.release_id, Note("alert", "an alert", {}), plots)
    lines: list[str] = []
    assert courier_of(ledger, ops(slack), lines=lines).flush(5) == 2
    assert [one["text"] for one in slack.messages] == ["ordinaut 2.1.0: planned", "an alert"]
    (line,) = lines
    assert "slack:#ops does not get plots, the reports have them" in line
    assert "files:write" in line
    assert [message.kind for message, _ in ledger.outbox.dead_letters()] == ["plots", "plots"]


def test_where_files_cannot_be_shown_their_text_is_said(ledger: Ledger) -> None:
    tell_plots(ledger)
    lines: list[str] = []
    assert courier_of(ledger, lines=lines).flush(5) == 2
    assert lines[1].endswith("ordinaut 2.1.0: plots of watch; before")
