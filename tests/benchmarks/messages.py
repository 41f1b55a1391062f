"""Ten thousand messages through a Slack in trouble, by couriers that are killed: none lost, none doubled."""

from __future__ import annotations

import json
from pathlib import Path

from examples.slack_server import fake_slack
from tasks.adapters.pg_server import EmbeddedServers
from tests.storm import Storm

MESSAGES, RELEASES, KILLS = 10_000, 40, 60
WITHIN = 3600.0


def main(directory: Path, *, messages: int = MESSAGES) -> None:
    """Send them and say what arrived; raises `SystemExit` if one was lost, doubled or out of order."""
    kills = max(3, KILLS * messages // MESSAGES)
    with EmbeddedServers().throwaway(directory / "server") as server, fake_slack() as slack:
        storm = Storm(server.dsn(), slack, messages, RELEASES, kills, WITHIN)
        took = storm.pass_over()
        wrong = storm.losses()
    figures = {
        "messages": messages,
        "arrived": len(slack.messages),
        "wrong": len(wrong),
        "seconds": round(took, 1),
        "per second": round(messages / took, 1),
        "injected": dict(storm.injected),
        "calls": dict(slack.calls),
    }
    print(json.dumps(figures, indent=1))
    kept = Path("var/bench")
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "messages.json").write_text(json.dumps(figures, indent=1))
    if wrong or len(slack.messages) != messages:
        raise SystemExit(f"{len(wrong)} wrong: {wrong[:10]}")
