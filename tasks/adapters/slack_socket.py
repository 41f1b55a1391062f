"""Slack's Socket Mode: hears of the buttons that people press, without any port that Slack would have to reach."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient

from tasks.domain.ports import Press

_LONGEST_PAUSE = 60.0
_AT_ONCE = 4


class SlackSocket:
    """Hears presses by one connection, which is made anew whenever it is lost.

    Each is acknowledged first, as Slack wants within three seconds, and handed to ``heed`` afterwards; what that raises
    ends nothing. ``ping`` is how many seconds pass before a silent connection is looked at.
    """

    def __init__(
        self,
        app_token: str,
        base_url: str,
        heed: Callable[[Press], object],
        tell: Callable[[str], None],
        *,
        ping: float = 10.0,
    ) -> None:
        quiet = logging.getLogger("golive.slack")
        quiet.setLevel(logging.CRITICAL)  # what goes wrong is told, and the SDK would log tokens' errors in full
        web = WebClient(base_url=base_url, retry_handlers=[], logger=quiet, timeout=10)
        web.proxy = None  # as in `tasks.adapters.slack`
        self._client = SocketModeClient(
            app_token, logger=quiet, web_client=web, ping_interval=ping, concurrency=_AT_ONCE, receive_buffer_size=65536
        )
        # The SDK takes a proxy from the environment and overlooks NO_PROXY.
        host = urlsplit(base_url).hostname or ""
        self._client.proxy = None if proxy_bypass(host) else getproxies().get("https")
        self._client.socket_mode_request_listeners.append(self._on_request)
        self._heed, self._tell = heed, tell
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="press")

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set; a Slack that does not answer is asked again and again, ever more slowly."""
        pause, told = 1.0, ""
        while not stop.is_set():
            try:
                self._client.connect()
                break
            except Exception as error:  # noqa: BLE001 - the SDK raises of all kinds, and none may end the listening
                self._client.wss_uri = None
                said = _words_of(error)
                if said != told:
                    self._tell(f"Slack's Socket Mode cannot be reached: {said}; trying again")
                told = said
                stop.wait(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)
        stop.wait()
        self.close()

    @property
    def is_connected(self) -> bool:
        """Whether Slack would be heard now."""
        return bool(self._client.is_connected())

    def close(self) -> None:
        """End the connection; what was heard is still heeded."""
        self._client.close()
        self._pool.shutdown()

    def _on_request(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if request.type == "interactive" and (press := press_of(request.envelope_id, request.payload)) is not None:
            self._pool.submit(self._guarded, press)

    def _guarded(self, press: Press) -> None:
        try:
            self._heed(press)
        except Exception as error:  # noqa: BLE001 - one press's trouble must not keep the others from being heard
            self._tell(f"a button could not be heeded: {type(error).__name__}")


def press_of(envelope: str, payload: Mapping[str, Any]) -> Press | None:
    """Return what was pressed, or None for what is none of golive's buttons."""
    try:
        user, trigger = str(payload["user"]["id"]), str(payload.get("trigger_id", ""))
        if payload["type"] == "view_submission":
            view = payload["view"]
            kept = json.loads(view["private_metadata"])
            text = str(view["state"]["values"]["reason"]["text"]["value"] or "")
            return Press(envelope, user, str(kept["channel"]), str(view["callback_id"]), str(kept["nonce"]), text)
        if payload["type"] == "block_actions":
            (action,) = payload["actions"]
            channel = str(payload["channel"]["id"])
            return Press(envelope, user, channel, str(action["action_id"]), str(action["value"]), trigger=trigger)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _words_of(error: Exception) -> str:
    """Return what is wrong in words that hold no token."""
    if isinstance(error, SlackApiError):
        return str(error.response.get("error") or error.response.status_code)
    return type(error).__name__
