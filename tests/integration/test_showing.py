"""How far a release is, and where people are told of it, stands in Prefect's UI, for which nothing waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from examples.slack_server import TOKEN, fake_slack
from tasks.context import context_of
from tasks.domain.messages import Note
from tasks.domain.release import State
from tasks.driving import advance, driving, join
from tasks.showing import put_markdown, shown_in_prefect
from tests.artifacts import artifacts
from tests.flows import SmallSystem, wait_until
from tests.watched import NO_PREFECT, put_under_watch


def in_a_flow(work: Callable[[], Any]) -> Any:
    from prefect import flow

    return flow(name="shown")(work)()


def test_the_bar_moves_with_the_phases_and_the_thread_in_slack_is_linked(
    shop: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SLACK", TOKEN)
    with fake_slack() as slack:
        notifier = {"kind": "slack", "token": "${env:SHOP_SLACK}", "channel": "#ops", "base_url": slack.base_url}
        shop.write({"notify": [notifier]})
        release = put_under_watch(shop, "v1", state=State.PREFLIGHT)
        shop.ledger.releases.tell(release, Note("root", "it begins", {}))
        claim = join(release)

        def goes_on() -> None:
            with driving(claim):
                wait_until(lambda: [one.data for one in artifacts(f"{release}-progress")] == [12.5], within=60)
                advance(claim, State.BACKUP)
                wait_until(lambda: [one.data for one in artifacts(f"{release}-progress")] == [25.0], within=60)
                wait_until(lambda: artifacts(f"{release}-thread"), within=60)

        in_a_flow(goes_on)
        (bar,) = artifacts(f"{release}-progress")
        assert bar.type == "progress"
        assert bar.flow_run_id is not None
        assert "✓ preflight" in bar.description
        assert "… backup" in bar.description
        (link,) = artifacts(f"{release}-thread")
        root = shop.ledger.outbox.root_ref(release, "slack:#ops")
        assert f"/archives/C0123OPS4/p{root['ts'].replace('.', '')}" in link.data
        assert TOKEN not in f"{bar.description}{link.data}{link.description}"
    advance(join(release), State.STOPPED)


def test_what_is_shown_needs_neither_prefect_nor_a_run(shop: SmallSystem) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    release = put_under_watch(shop, "v1", state=State.PREFLIGHT)
    claim = join(release)

    def while_prefect_is_away() -> str:
        with temporary_settings({PREFECT_API_URL: NO_PREFECT}):
            with shown_in_prefect(context_of(claim)):
                advance(claim, State.BACKUP)
            put_markdown(f"{release}-plan", "text", "a text")
        return "went on"

    assert in_a_flow(while_prefect_is_away) == "went on"
    with shown_in_prefect(context_of(claim)):
        put_markdown(f"{release}-plan", "text", "a text")
    assert artifacts(f"{release}-plan") == artifacts(f"{release}-progress") == []
    advance(claim, State.STOPPED)
