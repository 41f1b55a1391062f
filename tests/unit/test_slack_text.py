"""The conversation in Slack as text, which `python -m tests.screenshots` writes for people to read."""

from __future__ import annotations

from examples.slack_server import FakeSlack
from tests.screenshots.chat import conversation


def test_a_conversation_reads_as_in_slack() -> None:
    slack = FakeSlack("")
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "shop v2"}},
        {
            "type": "section",
            "fields": [{"type": "mrkdwn", "text": "*Seen*\n5"}, {"type": "mrkdwn", "text": "*Limit*\n3"}],
        },
        {"type": "section", "text": {"type": "mrkdwn", "text": "a &lt; b, <https://wiki.example.org|runbook>"}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "<!date^0^{date}|1970-01-01>"}]},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Approve"}}]},
    ]
    root = slack.answer("chat.postMessage", {"channel": "#ops", "text": "shop v2: live", "blocks": blocks})
    slack.answer("chat.postMessage", {"channel": "#ops", "text": "health → watching", "thread_ts": root["ts"]})
    slack.answer("chat.update", {"channel": "C0123OPS4", "ts": root["ts"], "text": "shop v2: live", "blocks": blocks})
    said = [line.rstrip() for line in conversation(slack).splitlines()[1:]]
    assert said == [
        "· edited",
        "shop v2",
        "───────",
        f"  {'*Seen*':<50}*Limit*",
        f"  {'5':<50}3",
        "a < b, runbook (https://wiki.example.org)",
        "  1970-01-01",
        "[ Approve ]",
        "(as a notification: shop v2: live)",
        "",
        "    │ health → watching",
    ]
