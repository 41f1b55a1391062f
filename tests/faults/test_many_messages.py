"""No message is lost and none is doubled, whatever Slack does and however often golive is killed."""

from __future__ import annotations

from examples.slack_server import fake_slack
from tests.storm import Storm


def test_of_many_messages_through_trouble_and_kills_none_is_lost_and_none_doubled(database: str) -> None:
    with fake_slack() as slack:
        storm = Storm(database, slack, messages=80, releases=8, kills=3, within=240.0)
        storm.pass_over()
        assert storm.losses() == []
        assert len(slack.messages) == 80
        assert storm.injected["kill"] == 3
