"""A local server that speaks Slack's Socket Mode over a real websocket, beside `examples.slack_server`."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from examples.slack_server import FakeSlack
from tests.flows import wait_until


@dataclass
class FakeSocket:
    """What an app is connected to; ``acks`` holds when each envelope was acknowledged."""

    slack: FakeSlack
    connections: list[ServerConnection] = field(default_factory=list)
    acks: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    opened: int = 0

    def handle(self, connection: ServerConnection) -> None:
        """Greet an app and take what it acknowledges."""
        self.opened += 1
        self.connections.append(connection)
        try:
            connection.send(json.dumps({"type": "hello", "num_connections": 1}))
            for line in connection:
                if "envelope_id" in (said := json.loads(line)):
                    self.acks.setdefault(said["envelope_id"], time.monotonic())
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)

    def send(self, payload: dict[str, Any], *, envelope: str = "", kind: str = "interactive") -> str:
        """Send an envelope to whoever is connected, waiting for somebody, and return its number."""
        number = envelope or secrets.token_hex(8)
        message = json.dumps(
            {"envelope_id": number, "type": kind, "payload": payload, "accepts_response_payload": True}
        )

        def went() -> bool:
            for connection in list(self.connections):
                with suppress(ConnectionClosed):
                    connection.send(message)
                    return True
            return False

        wait_until(went, 60)
        self.sent[number] = time.monotonic()
        return number

    def press(self, user: str, act: str, nonce: str, *, envelope: str = "", trigger: str = "t-1") -> str:
        """Press a button as a user."""
        return self.send(
            {
                "type": "block_actions",
                "user": {"id": user, "username": "whoever"},
                "trigger_id": trigger,
                "channel": {"id": "C0123OPS4"},
                "actions": [{"action_id": f"golive_{act}", "value": nonce, "type": "button"}],
            },
            envelope=envelope,
        )

    def submit(self, user: str, view: dict[str, Any], text: str) -> str:
        """Send a dialog that was shown, with a text."""
        values = {"reason": {"text": {"type": "plain_text_input", "value": text}}}
        return self.send(
            {"type": "view_submission", "user": {"id": user}, "view": {**view, "state": {"values": values}}}
        )

    def acknowledged(self, envelope: str) -> None:
        """Wait until an envelope was acknowledged."""
        wait_until(lambda: envelope in self.acks, 60)

    def drop(self) -> None:
        """Break every connection, without a word."""
        for connection in list(self.connections):
            connection.socket.close()

    def ask_to_reconnect(self) -> None:
        """Tell every app to connect anew, as Slack does before it refreshes a connection."""
        for connection in list(self.connections):
            connection.send(json.dumps({"type": "disconnect", "reason": "refresh_requested"}))


@contextmanager
def socket_mode(slack: FakeSlack) -> Iterator[FakeSocket]:
    """Run the server on loopback until the block ends."""
    fake = FakeSocket(slack)
    with serve(fake.handle, "127.0.0.1", 0, compression=None) as server:
        slack.socket_url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/link"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join(10)
