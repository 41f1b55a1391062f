from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from examples.slack_server import TOKEN, FakeSlack, fake_slack
from tasks import notifiers
from tasks.adapters.http import HttpxHttp
from tasks.adapters.mail import Smtp
from tasks.adapters.secrets import SecretStore
from tasks.adapters.slack import SlackChat
from tasks.domain.errors import AccessDenied, ConnectionLost, GoliveError, OutsideError, SecretMissing, ServerTrouble
from tasks.domain.kind import Kind
from tasks.domain.ports import HttpAnswer, MailApi, MailServer
from tasks.notifiers import Message, Notifier
from tasks.notifiers.console import Console
from tasks.notifiers.email import Email
from tasks.notifiers.grafana import Grafana
from tasks.notifiers.slack import Slack
from tasks.spec.kinds import kinds_in
from tests.grafanas import TOKEN as GRAFANA_TOKEN
from tests.grafanas import FakeGrafana, fake_grafana
from tests.mails import PASSWORD, USER, MailBox, mail_server

AT = datetime(2026, 11, 22, 2, 5, 11, tzinfo=UTC)


class Outlets:
    def __init__(self, environ: dict[str, str]) -> None:
        self.secrets = SecretStore(environ)
        self.lines: list[str] = []

    def chat(self, token: str, base_url: str, timeout: float) -> SlackChat:
        return SlackChat(token, base_url, timeout)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], json: Any = None, timeout: float
    ) -> HttpAnswer:
        return HttpxHttp().request(method, url, headers=headers, json=json, timeout=timeout)

    def mail(self, server: MailServer) -> MailApi:
        return Smtp(server, 30.0)

    def write_line(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as server:
        yield server


@pytest.fixture
def outlets() -> Outlets:
    return Outlets({"SLACK_BOT_TOKEN": TOKEN, "GRAFANA_TOKEN": GRAFANA_TOKEN, "MAIL_PASSWORD": PASSWORD})


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with fake_grafana() as server:
        yield server


@pytest.fixture
def box(tmp_path: Path) -> Iterator[MailBox]:
    with mail_server(tmp_path) as server:
        yield server


def by_mail(box: MailBox, **given: Any) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": box.port,
        "trust": str(box.trust),
        "user": USER,
        "password": "${env:MAIL_PASSWORD}",
        "sender": "golive@example.org",
        "to": ["ops@example.org", "dba@example.org"],
        **given,
    }


@pytest.fixture(params=sorted(kinds_in(notifiers)))
def notifier(request: pytest.FixtureRequest, slack: FakeSlack, grafana: FakeGrafana, box: MailBox) -> Kind:
    given: dict[str, dict[str, Any]] = {
        "console": {},
        "slack": {"channel": "#ops", "base_url": slack.base_url},
        "email": by_mail(box),
        "grafana": {"url": grafana.url},
    }
    return kinds_in(notifiers)[request.param](**given[request.param])


def message(kind: str = "root", text: str = "ordinaut 2.1.0: planned", **what: Any) -> Message:
    return Message(key=f"r-1/{kind}", release_id="r-1", kind=kind, text=text, at=what.pop("at", AT), **what)


def arrived(slack: FakeSlack, outlets: Outlets, box: MailBox) -> str:
    texts = [str(one.get_payload()) for one in box.mails]
    return "\n".join([*outlets.lines, *(one["text"] for one in slack.messages), *texts])


def test_a_notifier_for_people_delivers_each_kind_of_message(
    notifier: Notifier, slack: FakeSlack, outlets: Outlets, box: MailBox
) -> None:
    root = notifier.deliver(message(), outlets)
    for kind in ("reply", "alert", "root_edit", "final"):
        notifier.deliver(message(kind, f"this is the {kind}", root_ref=root), outlets)
    for kind in ("reply", "alert", "root_edit", "final"):
        told = notifier.tells_people and (notifier.shows_edits or kind != "root_edit")
        assert (f"this is the {kind}" in arrived(slack, outlets, box)) is told


def test_what_a_notifier_returns_can_be_kept_as_json(notifier: Notifier, outlets: Outlets) -> None:
    assert all(isinstance(part, str) for pair in notifier.deliver(message(), outlets).items() for part in pair)


def test_a_notifier_delivers_even_an_empty_text_without_blocks(notifier: Notifier, outlets: Outlets) -> None:
    notifier.deliver(message(text=""), outlets)


def test_a_notifier_lets_no_text_from_outside_ping_or_move_the_cursor(
    notifier: Notifier, slack: FakeSlack, outlets: Outlets, box: MailBox
) -> None:
    notifier.deliver(message(text="failed: <!channel>\x1b[2J"), outlets)
    assert "\x1b" not in arrived(slack, outlets, box)
    assert all("<!channel" not in one["text"] for one in slack.messages)


def test_an_address_tells_notifiers_apart(notifier: Notifier) -> None:
    assert notifier.address.split(":")[0] == notifier.kind


def test_the_console_shows_when_of_which_release_and_how_grave(outlets: Outlets) -> None:
    Console().deliver(message("alert", "ordinaut 2.1.0: down"), outlets)
    assert outlets.lines == ["2026-11-22 02:05:11 UTC [r-1] ALERT ordinaut 2.1.0: down"]


def test_a_message_in_slack_has_an_address_and_one_elsewhere_need_not(slack: FakeSlack, outlets: Outlets) -> None:
    ops = Slack(channel="#ops", base_url=slack.base_url)
    ref = ops.deliver(message(), outlets)
    assert ops.link(ref, outlets).endswith(f"/C0123OPS4/p{ref['ts'].replace('.', '')}")
    with pytest.raises(OutsideError, match="message_not_found"):
        ops.link({**ref, "ts": "1.0"}, outlets)
    assert Console().link({}, outlets) == ""


def test_slack_needs_its_token_under_a_name_that_has_a_value(slack: FakeSlack) -> None:
    with pytest.raises(SecretMissing):
        Slack(channel="#ops", base_url=slack.base_url).deliver(message(), Outlets({}))
    assert not slack.messages


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": TOKEN},
        {"channel": ""},
        {"base_url": "http://slack.example/api/"},
        {"base_url": "http://127.0.0.1.evil.example/api/"},
        {"base_url": "http://127.0.0.1@evil.example/api/"},
        {"base_url": "https://slack.com/api"},
        {"chanel": "#ops"},
    ],
)
def test_slack_refuses_a_token_in_clear_and_an_address_that_would_leak_it(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Slack(**{"channel": "#ops", **wrong})


MOMENTS = [
    ("root", "preflight", ["started"]),
    ("root", "running", []),
    ("root_edit", "watching", []),
    ("reply", "watching", ["live"]),
    ("reply", "health", []),
    ("alert", "", []),
    ("final", "rolled_back", ["rolled back"]),
    ("final", "stopped", ["stopped"]),
    ("final", "stable", []),
]


@pytest.mark.parametrize(("kind", "state", "events"), MOMENTS)
def test_grafana_gets_an_annotation_when_a_release_starts_is_live_or_taken_back(
    grafana: FakeGrafana, outlets: Outlets, kind: str, state: str, events: list[str]
) -> None:
    Grafana(url=grafana.url, tags=("shop",), dashboard="d-1").deliver(message(kind, "shop v2", state=state), outlets)
    assert grafana.events("r-1") == events
    if events:
        (made,) = grafana.annotations
        assert made["time"] == round(AT.timestamp() * 1000)
        assert made["tags"] == ["golive", "r-1", *events, "shop", f"golive:r-1/{kind}"]
        assert (made["text"], made["dashboardUID"]) == ("shop v2", "d-1")


def test_an_annotation_whose_answer_was_lost_is_found_and_not_made_again(
    grafana: FakeGrafana, outlets: Outlets
) -> None:
    notifier, grafana.lose = Grafana(url=grafana.url), 1
    with pytest.raises(ConnectionLost):
        notifier.deliver(message("root", state="preflight"), outlets)
    assert notifier.deliver(message("root", state="preflight", maybe_sent=True), outlets) == {"id": "1"}
    assert notifier.deliver(message("reply", state="watching", maybe_sent=True), outlets) == {"id": "2"}
    assert grafana.events("r-1") == ["started", "live"]


@pytest.mark.parametrize(
    ("status", "error", "again"),
    [(403, AccessDenied, False), (500, ServerTrouble, True), (429, ServerTrouble, True), (404, OutsideError, False)],
)
def test_what_grafana_refuses_is_tried_again_only_where_that_may_help(
    grafana: FakeGrafana, outlets: Outlets, status: int, error: type[OutsideError], again: bool
) -> None:
    grafana.status = status
    with pytest.raises(error) as raised:
        Grafana(url=grafana.url).deliver(message("root", state="preflight"), outlets)
    assert raised.value.retryable is again


@pytest.mark.parametrize("wrong", [{"token": GRAFANA_TOKEN}, {"url": "grafana"}, {"dashboard": "a b"}, {"tag": "x"}])
def test_grafana_refuses_a_token_in_clear_and_what_is_no_address(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Grafana(**{"url": "https://grafana.example", **wrong})


# -- by e-mail --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
def test_a_mail_goes_encrypted_after_a_login_and_stands_beneath_the_first_of_its_release(
    tmp_path: Path, outlets: Outlets, tls: bool
) -> None:
    (tmp_path / "other").mkdir()
    with mail_server(tmp_path / "other", tls=tls) as box:
        email = Email(**by_mail(box, security="tls" if tls else "starttls"))
        root = email.deliver(message(), outlets)
        email.deliver(message("alert", "down\nBcc: evil@example.org", root_ref=root), outlets)
        again = email.deliver(message("alert", "down", root_ref=root, maybe_sent=True), outlets)
        assert (box.logins, box.encrypted) == (3, [True] * 3)
        assert box.subjects()[:2] == ["ordinaut 2.1.0: planned", "ALERT: down Bcc: evil@example.org"]
        assert box.mails[1]["Bcc"] is None
        assert box.mails[1]["In-Reply-To"] == root["id"] == box.mails[0]["Message-ID"]
        assert box.mails[1]["Message-ID"] == again["id"], "a second copy is known as such"
        assert box.mails[0]["To"] == "ops@example.org, dba@example.org"


@pytest.mark.parametrize(
    ("given", "fault", "kind", "again"),
    [
        ({}, "451", ServerTrouble, True),
        ({}, "550", OutsideError, False),
        ({}, "drop", ConnectionLost, True),
        ({"trust": ""}, "", OutsideError, False),
        ({"user": "somebody"}, "", AccessDenied, False),
        ({"security": "tls"}, "", GoliveError, True),
    ],
)
def test_a_mail_that_is_refused_is_told_apart_from_one_that_may_go_later(
    box: MailBox, outlets: Outlets, given: dict[str, str], fault: str, kind: type[GoliveError], again: bool
) -> None:
    box.faults = [fault] if fault else []
    with pytest.raises(kind) as caught:
        Email(**by_mail(box, **given)).deliver(message(), outlets)
    assert caught.value.retryable == again
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"security": "none", "host": "smtp.example.org"},
        {"password": PASSWORD},
        {"user": ""},
        {"to": []},
        {"to": ["ops@example.org\nBcc: evil@example.org"]},
        {"sender": "golive"},
    ],
)
def test_a_mail_that_would_leak_or_go_astray_is_refused_in_the_file(box: MailBox, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Email(**by_mail(box, **wrong))
