"""Buttons in Slack: real websocket, real Web API client, real ledger; only Slack itself is a local server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from examples.slack_server import APP_TOKEN, TOKEN, FakeSlack, fake_slack
from tasks.domain.errors import NotFound
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, wait_until
from tests.services import free_port
from tests.socket_mode import FakeSocket, socket_mode
from tests.systems import without_prefect
from tests.waiting import end_active, live_and_asked, nonce_of, waiting_for_go
from tests.watched import put_under_watch

ANN, BOB, SAM, EVE, STRANGER = "U0ANN", "U0BOB", "U0SAM", "U0EVE", "U0MALLORY"
PEOPLE = {
    ANN: {"name": "ann", "roles": ["dba"]},
    BOB: {"name": "bob", "roles": ["dba", "lead"]},
    SAM: {"name": "sam", "roles": ["ops"]},
    EVE: {"name": "eve"},
}


@pytest.fixture(scope="module")
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as server:
        yield server


@pytest.fixture(scope="module")
def socket(slack: FakeSlack) -> Iterator[FakeSocket]:
    with socket_mode(slack) as server:
        yield server


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, pg_server: RunningServer, slack: FakeSlack, socket: FakeSocket
) -> Iterator[SmallSystem]:
    """A system whose people press buttons, and what listens to them for as long as the tests run."""
    from tasks.listening import listen

    home = tmp_path_factory.mktemp("buttons")
    system = SmallSystem.make(home, pg_server)
    system.variables |= {"SLACK_BOT_TOKEN": TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}
    notify = {
        "kind": "slack",
        "channel": "#ops",
        "base_url": slack.base_url,
        "timeout": "5s",
        "app_token": "${env:SLACK_APP_TOKEN}",
        "people": PEOPLE,
    }
    system.write({"notify": [notify], "sign_off": {"go": [{"role": "dba", "count": 2}, "lead"], "live": ["ops"]}})
    system.add_version("v2")
    stop = threading.Event()
    thread = threading.Thread(target=listen, args=(stop,), kwargs={"ping": 1.0, "every": 0.5}, daemon=True)
    try:
        with system.in_environment(), without_prefect():
            thread.start()
            wait_until(lambda: socket.connections, 60)
            yield system
            stop.set()
            thread.join(30)
    finally:
        system.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What golive starts in processes of their own, with what they would do left out."""
    words: list[tuple[str, ...]] = []

    def start(*given: str, log: str) -> int:
        assert log.endswith(".log")
        words.append(given)
        return 4711

    monkeypatch.setattr("tasks.gatekeeping.start_golive", start)
    monkeypatch.setattr("tasks.pressing.start_golive", start)
    return words


@pytest.fixture
def system(made: SmallSystem, slack: FakeSlack, started: list[tuple[str, ...]]) -> Iterator[SmallSystem]:
    slack.whispers.clear()
    slack.dialogs.clear()
    yield made
    slack.heal()
    end_active(made)


def request_in(slack: FakeSlack, nonce: str) -> dict[str, Any]:
    """Wait for the message with the buttons of a request, and return it."""
    found: list[dict[str, Any]] = []

    def shown() -> bool:
        found[:] = [one for one in slack.roots() if nonce in json.dumps(one["blocks"])]
        return bool(found)

    wait_until(shown, 60)
    return found[0]


def deliver(system: SmallSystem, release: str) -> None:
    from tasks.signing import observed
    from tasks.telling import courier_for

    courier_for(observed(release)).flush(30)


def asked(system: SmallSystem, slack: FakeSlack, release: str, gate: str) -> tuple[str, dict[str, Any]]:
    deliver(system, release)
    nonce = nonce_of(system, release, gate)
    return nonce, request_in(slack, nonce)


def signed(system: SmallSystem, release: str) -> list[tuple[str, str, str, str]]:
    return [(one.role, one.person, one.decision, one.via) for one in system.ledger.evidence.signatures(release)]


def whispered(slack: FakeSlack, user: str, word: str) -> None:
    wait_until(lambda: any(one["user"] == user and word in one["text"] for one in slack.whispers), 60)


def pressed(socket: FakeSocket, system: SmallSystem, nonce: str, times: int) -> None:
    wait_until(lambda: len(system.ledger.gates.clicks(nonce)) >= times, 60)


def test_people_sign_by_buttons_and_the_request_says_who_and_when(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket, started: list[tuple[str, ...]]
) -> None:
    release = waiting_for_go(system)
    nonce, request = asked(system, slack, release, "go")
    approve = next(
        one for block in request["blocks"] for one in block.get("elements", ()) if one.get("style") == "primary"
    )
    assert approve["confirm"]["text"]["text"] == "You sign for shop v2, gate go."
    shown = json.dumps(request["blocks"], ensure_ascii=False)
    for words in ("*way back*", "*backup*", "*migration*", "*longest lock*", "*checks*", "*expires*"):
        assert words in shown, "what they sign for is before their eyes"
    assert system.ledger.gates.opened(release, "go").plan_hash[:12] in shown
    socket.acknowledged(socket.press(ANN, "approve", nonce))
    wait_until(lambda: "ann" in json.dumps(request["blocks"]), 60)
    assert signed(system, release) == [("dba", "ann", "approve", "Slack")]
    assert "1 of 2 signatures of dba" in request["text"]
    socket.press(ANN, "approve", nonce)
    whispered(slack, ANN, "nothing is left for ann to sign")
    socket.press(BOB, "approve", nonce)
    wait_until(lambda: "is signed" in request["text"], 60)
    assert sorted(signed(system, release)) == [
        ("dba", "ann", "approve", "Slack"),
        ("dba", "bob", "approve", "Slack"),
        ("lead", "bob", "approve", "Slack"),
    ]
    assert "actions" not in [block["type"] for block in request["blocks"]]
    wait_until(lambda: started, 60)
    assert set(started) == {("resume", release)}
    assert {one.plan_hash for one in system.ledger.evidence.signatures(release)} == {
        system.ledger.gates.opened(release, "go").plan_hash
    }


def test_a_stranger_is_refused_and_told_so_alone(system: SmallSystem, slack: FakeSlack, socket: FakeSocket) -> None:
    release = waiting_for_go(system)
    nonce, request = asked(system, slack, release, "go")
    before = len(slack.messages)
    socket.press(STRANGER, "approve", nonce)
    whispered(slack, STRANGER, "you are not among those")
    socket.press(EVE, "approve", nonce)
    whispered(slack, EVE, "eve has no role")
    socket.press(ANN, "approve", "a nonce that was guessed")
    socket.press(ANN, "drop_tables", nonce)
    pressed(socket, system, nonce, 3)
    assert signed(system, release) == []
    assert (len(slack.messages), request["edits"]) == (before, 0)


def test_an_envelope_that_comes_again_changes_nothing(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket
) -> None:
    release = waiting_for_go(system)
    nonce, _request = asked(system, slack, release, "go")
    for _ in range(5):
        socket.press(ANN, "approve", nonce, envelope="the-same")
    socket.press(ANN, "acknowledge", nonce)
    whispered(slack, ANN, "ann sees to it; no reminder until")
    wait_until(lambda: signed(system, release), 60)
    assert signed(system, release) == [("dba", "ann", "approve", "Slack")]
    assert [one.press for one in system.ledger.gates.clicks(nonce)].count("the-same") == 1
    assert not [one for one in slack.whispers if "nothing is left" in one["text"]]


def test_a_no_needs_its_reason_from_a_dialog_and_stops_the_release(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket, started: list[tuple[str, ...]]
) -> None:
    release = waiting_for_go(system)
    nonce, request = asked(system, slack, release, "go")
    socket.press(BOB, "reject", nonce)
    wait_until(lambda: slack.dialogs, 60)
    assert signed(system, release) == []
    socket.submit(BOB, slack.dialogs[0], "not on a Friday <!channel>")
    wait_until(lambda: "bob (dba) said no: not on a Friday" in request["text"], 60)
    assert signed(system, release) == [("dba", "bob", "reject", "Slack")]
    assert "<!channel" not in json.dumps(request["blocks"]) + request["text"]
    wait_until(lambda: ("resume", release) in started, 60)


def test_what_is_live_is_rolled_back_or_watched_longer_by_those_who_have_a_role(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket, started: list[tuple[str, ...]]
) -> None:
    release = live_and_asked(system)
    nonce, _request = asked(system, slack, release, "live")
    until = system.ledger.releases.get(release).watch_until
    socket.press(SAM, "extend", nonce)
    whispered(slack, SAM, "extended until")
    assert system.ledger.releases.get(release).watch_until > until
    socket.press(SAM, "roll_back", nonce)
    wait_until(lambda: slack.dialogs, 60)
    for _ in range(2):
        socket.submit(SAM, slack.dialogs[0], "--accept-loss=5; errors everywhere")
    whispered(slack, SAM, "shop goes back")
    whispered(slack, SAM, "a rollback is on its way")
    reason = "--reason=--accept-loss=5; errors everywhere"
    assert started == [("rollback", "shop", "--release", release, reason, "--by=sam")]


def test_buttons_of_a_request_that_is_past_do_nothing(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket
) -> None:
    from tasks.signing import ask, observed

    release = waiting_for_go(system)
    nonce, request = asked(system, slack, release, "go")
    system.ledger.evidence.rehearsed(release, "another migration", "restore", {"why": "nothing else is proven"})
    ask(observed(release), "go")
    newer, _message = asked(system, slack, release, "go")
    assert "is asked anew" in request["text"]
    socket.press(ANN, "approve", nonce)
    whispered(slack, ANN, "replaced by a newer one")
    assert signed(system, release) == []
    end_active(system)
    socket.press(BOB, "approve", newer)
    whispered(slack, BOB, "is stopped")
    assert signed(system, release) == []


@pytest.mark.parametrize("loss", ["drop", "ask_to_reconnect"])
def test_a_lost_connection_is_made_anew_and_the_next_press_is_heard(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket, loss: str
) -> None:
    release = waiting_for_go(system)
    nonce, _request = asked(system, slack, release, "go")
    before = socket.opened
    if loss == "drop":
        slack.fail("apps.connections.open", "trouble")
    getattr(socket, loss)()
    wait_until(lambda: socket.opened > before, 60)
    number = socket.press(ANN, "approve", nonce)
    if loss == "drop":
        socket.acknowledged(number)
    wait_until(lambda: signed(system, release), 60)


def test_a_press_is_acknowledged_before_it_is_heeded(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = waiting_for_go(system)
    nonce, _request = asked(system, slack, release, "go")
    gate = threading.Event()
    from tasks.ledger.gates import Gates

    real: Callable[..., bool] = Gates.pressed

    def slow(gates: Gates, *args: Any, **given: Any) -> bool:
        assert gate.wait(60)
        return real(gates, *args, **given)

    monkeypatch.setattr(Gates, "pressed", slow)
    numbers = [socket.press(ANN, "approve", nonce), socket.press(STRANGER, "approve", nonce)]
    for number in numbers:
        socket.acknowledged(number)
    assert signed(system, release) == []
    gate.set()
    wait_until(lambda: signed(system, release), 60)


def test_who_signs_is_reminded_by_what_listens(system: SmallSystem, slack: FakeSlack) -> None:
    system.write({"sign_off": {**system.file["sign_off"], "remind": "500ms"}})
    try:
        release = waiting_for_go(system)
        asked(system, slack, release, "go")
        wait_until(lambda: any("still awaits" in one["text"] for one in slack.messages), 60)
    finally:
        system.write({"sign_off": {key: value for key, value in system.file["sign_off"].items() if key != "remind"}})


def test_a_release_without_gates_has_the_buttons_of_its_watch(
    system: SmallSystem, slack: FakeSlack, socket: FakeSocket
) -> None:
    from tasks.release import _ask_while_watched
    from tasks.signing import observed

    sign_off = system.file["sign_off"]
    system.write({"sign_off": {}})
    try:
        release = put_under_watch(system)
        _ask_while_watched(observed(release))
        nonce, request = asked(system, slack, release, "watch")
        assert "approve" not in json.dumps(request["blocks"])
        socket.press(ANN, "extend", nonce)
        whispered(slack, ANN, "extended until")
        system.ledger.releases.seize(release, State.WATCHING, State.SUPERSEDED, "the test")
        wait_until(lambda: "is over: the release is superseded" in request["text"], 60)
    finally:
        system.write({"sign_off": sign_off})


def test_a_slack_that_cannot_be_reached_is_asked_again_until_it_answers(slack: FakeSlack, socket: FakeSocket) -> None:
    from tasks.adapters.slack_socket import SlackSocket

    said: list[object] = []
    slack.fail("apps.connections.open", "trouble")
    stop, before = threading.Event(), socket.opened
    listener = SlackSocket(APP_TOKEN, slack.base_url, said.append, said.append)
    thread = threading.Thread(target=listener.run, args=(stop,), daemon=True)
    thread.start()
    wait_until(lambda: socket.opened > before, 60)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert "cannot be reached" in str(said[0])
    assert APP_TOKEN not in str(said)


def test_without_an_app_there_is_nothing_to_listen_to(made: SmallSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.cli import app
    from tasks.listening import is_wanted, listen
    from tasks.settings import Settings

    notify = made.file["notify"]
    assert is_wanted(Settings.from_environment())
    made.write({"notify": []})
    try:
        assert not is_wanted(Settings.from_environment())
        with pytest.raises(NotFound, match="no release file names a Slack app"):
            listen(threading.Event())
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
        seen = CliRunner().invoke(app, ["slack"])
        assert seen.exit_code == NotFound.exit_code
        assert "without Prefect" in seen.stderr
        assert "no release file names a Slack app" in seen.stderr
    finally:
        made.write({"notify": notify})


def test_the_bot_speaks_where_it_has_no_buttons_too(slack: FakeSlack) -> None:
    from tasks.domain.parts import button, buttons, text
    from tasks.notifiers import Message
    from tasks.notifiers.slack import Slack
    from tests.contract.test_notifiers import AT, Outlets

    parts = (text("may it?"), buttons([button("Approve", "golive_approve", "n")]))
    message = Message("r/1", "r", "request", "may it?", AT, parts)
    Slack(channel="#ops", base_url=slack.base_url).deliver(message, Outlets({"SLACK_BOT_TOKEN": TOKEN}))
    assert [block["type"] for block in slack.messages[-1]["blocks"]] == ["section"]
