"""The how-to of signatures, Slack and e-mail, done as it says; Slack and the mail server are local ones."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from examples.slack_server import APP_TOKEN, TOKEN, FakeSlack, fake_slack
from tests import mails
from tests.flows import SmallSystem, wait_until
from tests.monitoring import prometheus
from tests.reading import Page, Reader, a_reader
from tests.socket_mode import FakeSocket, socket_mode
from tests.waiting import end_active, nonce_of, waiting_for_go

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as server:
        server.channels |= {"releases": "C0123REL5", "on-call": "C0123CALL"}
        yield server


@pytest.fixture
def socket(slack: FakeSlack) -> Iterator[FakeSocket]:
    with socket_mode(slack) as server:
        yield server


@pytest.fixture
def mail_box(tmp_path: Path) -> Iterator[mails.MailBox]:
    with mails.mail_server(tmp_path) as box:
        yield box


@pytest.fixture
def reader(small_system: SmallSystem, golive_programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    given = {"SLACK_BOT_TOKEN": TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "MAIL_PASSWORD": mails.PASSWORD}
    small_system.variables |= given
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for version in ("v2", "v2.1"):
        small_system.add_version(version)
    with a_reader(small_system, golive_programs) as found:
        yield found


def deliver(release: str) -> None:
    from tasks.signing import observed
    from tasks.telling import courier_for

    courier_for(observed(release)).flush(30)


def test_sign_and_slack(
    reader: Reader, slack: FakeSlack, socket: FakeSocket, mail_box: mails.MailBox, tmp_path: Path
) -> None:
    shop, me = reader.system, getpass.getuser()

    def waits_anew() -> str:
        end_active(shop)
        return waiting_for_go(shop)

    def allows_what_golive_asks(manifest: str) -> None:
        told = YAML(typ="safe").load(manifest)
        assert set(told["oauth_config"]["scopes"]["bot"]) == slack.scopes
        assert told["settings"]["socket_mode_enabled"]

    def has_buttons(text: str) -> None:
        reader.take_in(text)
        release = waits_anew()
        number = reader.runs("golive slack > slack.log 2>&1 & echo $!")
        wait_until(lambda: socket.connections, 60)
        deliver(release)
        socket.press("U012AB3CD", "approve", nonce_of(shop, release, "go"))
        wait_until(lambda: shop.ledger.evidence.signatures(release), 60)
        (signed,) = shop.ledger.evidence.signatures(release)
        assert (signed.role, signed.person, signed.via) == ("dba", me, "Slack")
        reader.shell.run(f"kill {number}; wait {number}")

    def has_another_way_out(text: str) -> None:
        reader.take_in(text)
        slack.fail("chat.postMessage", "invalid_auth", times=100)
        deliver(waits_anew())
        slack.heal()
        assert mail_box.subjects()
        assert "invalid_auth" in reader.runs("golive status")

    here = f'base_url: "{slack.base_url}"'
    announced = 'golive release shop v2.1 --at 2026-11-24T02:00+00:00 --reason "new scheduler"'
    soon = f"{datetime.now(UTC) + timedelta(hours=25):%Y-%m-%dT%H:%M}+00:00"
    with prometheus(tmp_path) as monitoring:
        page = Page(
            "docs/how-to/sign-and-slack.md",
            words={
                "ID": lambda: shop.latest().id,
                "alice": me,
                "channel: C024BE91L": f"{here}\n    channel: C0123OPS4",
                "{kind: slack, channel": f"{{kind: slack, {here}, channel",
                "host: smtp.example.org": f"host: localhost\n    port: {mail_box.port}\n    trust: {mail_box.trust}",
                "2026-11-24T02:00+00:00": soon,
                "ANNOUNCEMENT": lambda: re.search(r"shop-\d{8}-\d{4}-\w{4}", reader.said[announced])[0],  # type: ignore[index]
                "http://127.0.0.1:9090": monitoring,
            },
            before={
                "golive status ID": waits_anew,
                'golive waive ID dba --by erin --reason "both are ill, I looked myself"': waits_anew,
                announced: lambda: end_active(shop),
            },
            takes={
                "display_information: {name: golive}": allows_what_golive_asks,
                "- kind: slack": has_buttons,
                "- kind: email": has_another_way_out,
            },
        )
        said = reader.follow(page)
        planned = reader.runs("golive plan shop v2")
    assert "stopped" in said['golive reject ID --role dba --reason "not on a Friday"']
    assert "technical_lead" in said['golive waive ID dba --by erin --reason "both are ill, I looked myself"']
    assert "- Traffic: " in planned
