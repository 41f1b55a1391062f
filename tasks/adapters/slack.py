"""Slack's Web API, without retries of its own: after a broken connection these would post a message twice."""

from __future__ import annotations

import http.client
import logging
import math
import re
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from slack_sdk.errors import SlackApiError, SlackObjectFormationError, SlackRequestError
from slack_sdk.models.blocks import Block
from slack_sdk.web import SlackResponse, WebClient

from tasks.adapters.slack_blocks import blocks_of, line, view_of
from tasks.domain.errors import (
    AccessDenied,
    ConnectionLost,
    GoliveError,
    OutsideError,
    ServerTrouble,
    TimedOut,
    Unreachable,
)
from tasks.domain.ports import Attachment, Dialog

EVENT_TYPE = "golive_message"
"""The type of the metadata by which a message is found again."""

_SKEW = 300.0  # seconds that the ledger's clock may be ahead of Slack's
_PAGES = 10
_PER_PAGE = 200
_ALT = 1000  # characters of the text that stands for a picture
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{7,}")
_TROUBLE = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_BAD_BLOCKS = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"})
_DENIED: Mapping[str, str] = {
    "not_authed": "give a token",
    "invalid_auth": "check the token",
    "token_expired": "make a new token",
    "token_revoked": "make a new token",
    "account_inactive": "make a new token",
    "org_login_required": "wait for the workspace's migration to end",
    "access_denied": "ask the workspace's administrator",
    "ekm_access_denied": "ask the workspace's administrator",
    "team_access_not_granted": "ask the workspace's administrator",
    "accesslimited": "ask the workspace's administrator",
    "no_permission": "give the bot the right to write there",
    "missing_scope": "give the bot the scope",
    "not_allowed_token_type": "use a bot token (xoxb-…)",
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "check the channel, and invite the bot to it if it is private",
    "is_archived": "name a channel that is in use",
    "restricted_action": "let the bot post in the channel",
    "restricted_action_read_only_channel": "let the bot post in the channel",
    "restricted_action_thread_only_channel": "let the bot post in the channel",
    "restricted_action_non_threadable_channel": "allow threads in the channel",
}


class SlackChat:
    """Posts, edits and finds messages, and shows files.

    ``timeout`` holds for each call and ``within`` for all calls of this object together, both in seconds.
    """

    def __init__(self, token: str, base_url: str, timeout: float = 10.0, within: float = math.inf) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
            raise AccessDenied("the token holds signs that no token has", where="Slack", do="check the token")
        quiet = logging.getLogger("golive.slack")
        quiet.setLevel(logging.CRITICAL)  # every error is raised, and the SDK would log it as well
        self._client = WebClient(token=token, base_url=base_url, retry_handlers=[], logger=quiet)
        # The SDK takes a proxy from the environment and overlooks NO_PROXY; urllib, left alone, heeds both.
        self._client.proxy = None
        self._timeout = timeout
        self._ends = time.monotonic() + within

    def post(
        self,
        channel: str,
        text: str,
        parts: Sequence[Mapping[str, object]],
        *,
        key: str,
        thread_ts: str = "",
        broadcast: bool = False,
    ) -> Mapping[str, str]:
        """Send a message that can be found again by ``key``, and return its ``channel`` and ``ts``."""

        def send(shown: Sequence[Block]) -> SlackResponse:
            return self._client.chat_postMessage(
                channel=channel,
                text=line(text),
                blocks=shown or None,
                thread_ts=thread_ts or None,
                reply_broadcast=broadcast or None,
                unfurl_links=False,
                unfurl_media=False,
                link_names=False,
                parse="none",
                metadata={"event_type": EVENT_TYPE, "event_payload": {"key": key}},
            )

        return _ref(self._with_blocks("chat.postMessage", send, parts))

    def update(self, channel: str, ts: str, text: str, parts: Sequence[Mapping[str, object]]) -> Mapping[str, str]:
        """Make a message say something else, and return its ``channel`` and ``ts``."""

        def send(shown: Sequence[Block]) -> SlackResponse:
            return self._client.chat_update(
                channel=channel, ts=ts, text=line(text), blocks=shown, link_names=False, parse="none"
            )

        return _ref(self._with_blocks("chat.update", send, parts))

    def find(self, channel: str, key: str, *, since: datetime, thread_ts: str = "") -> Mapping[str, str] | None:
        """Return ``channel`` and ``ts`` of the message that was sent with that key since then, or None.

        Raises `AccessDenied` where the token may not read the channel.
        """
        where = self._channel_id(channel)
        for message in self._since(where, since, thread_ts):
            seen = message.get("metadata") or {}
            if seen.get("event_type") == EVENT_TYPE and (seen.get("event_payload") or {}).get("key") == key:
                return {"channel": where, "ts": str(message["ts"])}
        return None

    def upload(self, channel: str, files: Sequence[Attachment], *, thread_ts: str = "") -> None:
        """Show files in one message; all of them, or none."""
        where = self._channel_id(channel)
        given = [
            {"content": one.data, "filename": one.name, "title": one.title, "alt_txt": one.alt[:_ALT]} for one in files
        ]
        self._call(
            "files.completeUploadExternal",
            lambda: self._client.files_upload_v2(file_uploads=given, channel=where, thread_ts=thread_ts or None),
            calls=2 * len(files) + 1,
        )

    def uploaded(self, channel: str, *, since: datetime, thread_ts: str = "") -> frozenset[str]:
        """Return the names of the files that have been shown there since then."""
        messages = self._since(self._channel_id(channel), since, thread_ts)
        return frozenset(str(one.get("name")) for message in messages for one in message.get("files") or ())

    def _since(self, where: str, since: datetime, thread_ts: str) -> Iterator[Mapping[str, Any]]:
        """Yield the messages of a channel, or of a thread in it, that came since then."""
        oldest = f"{since.timestamp() - _SKEW:.6f}"

        def ask(cursor: str) -> SlackResponse:
            those: dict[str, Any] = {
                "oldest": oldest,
                "cursor": cursor,
                "limit": _PER_PAGE,
                "include_all_metadata": True,
            }
            if thread_ts:
                return self._client.conversations_replies(channel=where, ts=thread_ts, **those)
            return self._client.conversations_history(channel=where, **those)

        for page in self._pages("conversations.replies" if thread_ts else "conversations.history", ask):
            yield from page.get("messages") or ()

    def link(self, channel: str, ts: str) -> str:
        """Return the address at which people see a message; Slack asks for no scope for that."""
        method, about = "chat.getPermalink", {"channel": channel, "message_ts": ts}
        return str(self._call(method, lambda: self._client.api_call(method, params=about))["permalink"])

    def whisper(self, channel: str, user: str, text: str) -> None:
        """Say something in a channel that one user alone sees."""
        shown = line(text)
        self._call(
            "chat.postEphemeral", lambda: self._client.chat_postEphemeral(channel=channel, user=user, text=shown)
        )

    def open_dialog(self, trigger: str, dialog: Dialog) -> None:
        """Show a dialog to whoever pressed a button; Slack lets that be done within three seconds of it."""
        self._call("views.open", lambda: self._client.views_open(trigger_id=trigger, view=view_of(dialog)))

    def _channel_id(self, channel: str) -> str:
        """Return a channel's ID, without which Slack lets nothing be read."""
        if _CHANNEL_ID.fullmatch(channel):
            return channel
        name = channel.removeprefix("#")

        def ask(cursor: str) -> SlackResponse:
            return self._client.conversations_list(cursor=cursor, limit=1000, exclude_archived=True)

        for page in self._pages("conversations.list", ask):
            for found in page.get("channels") or ():
                if found.get("name") == name:
                    return str(found["id"])
        raise AccessDenied(f"no channel {channel} is listed", where="Slack conversations.list", do="name it by its ID")

    def _pages(self, method: str, ask: Callable[[str], SlackResponse]) -> Iterator[SlackResponse]:
        cursor = ""
        for _page in range(_PAGES):
            page = self._call(method, lambda at=cursor: ask(at))  # type: ignore[misc]
            yield page
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return

    def _with_blocks(
        self,
        method: str,
        send: Callable[[Sequence[Block]], SlackResponse],
        parts: Sequence[Mapping[str, object]],
    ) -> SlackResponse:
        # The line says the same in short, and a message without its blocks is better than none.
        try:
            blocks = blocks_of(parts)
        except (SlackObjectFormationError, LookupError, TypeError, ValueError):
            blocks = []  # written by another version of golive
        try:
            return self._call(method, lambda: send(blocks))
        except _BlocksRefused:
            return self._call(method, lambda: send([]))

    def _call(self, method: str, send: Callable[[], SlackResponse], *, calls: int = 1) -> SlackResponse:
        """Return the answer; where ``send`` makes several requests they share the time that is left."""
        left = self._ends - time.monotonic()
        where = f"Slack {method}"
        if left <= 0:
            raise TimedOut("no time is left for this call", where=where)
        self._client.timeout = max(1, math.ceil(min(self._timeout, left / calls)))
        try:
            return send()
        except SlackApiError as error:
            raise _refusal(error.response, where) from None  # its text holds the whole answer
        except SlackRequestError:
            raise OutsideError(
                "the answer is none of Slack's", where=where
            ) from None  # its text holds the whole answer
        except urllib.error.HTTPError as error:
            raise _no_upload(error, where) from error
        except urllib.error.URLError as error:
            raise _unsent(error.reason, where) from error
        except TimeoutError as error:
            raise TimedOut(f"no answer after {self._client.timeout} s", where=where) from error
        except (http.client.HTTPException, OSError) as error:
            raise ConnectionLost(f"the connection broke: {type(error).__name__}", where=where) from error


class _BlocksRefused(OutsideError):
    """Slack took offence at the blocks of a message."""


def _ref(answer: SlackResponse) -> Mapping[str, str]:
    return {"channel": str(answer["channel"]), "ts": str(answer["ts"])}


def _no_upload(error: urllib.error.HTTPError, where: str) -> GoliveError:
    """Return the error for a file that the place which Slack named for it did not take."""
    if error.code == 429:
        return ServerTrouble(f"HTTP {error.code}", retry_after=_seconds(error.headers.get("Retry-After")), where=where)
    kind = ServerTrouble if error.code >= 500 else OutsideError
    return kind(f"HTTP {error.code} for the upload", expected="HTTP 200", where=where)


def _unsent(reason: str | BaseException, where: str) -> GoliveError:
    """Return the error for a request that did not go out whole."""
    match reason:
        case TimeoutError():
            return TimedOut("no connection in time", where=where)
        case BrokenPipeError() | ConnectionResetError() | ConnectionAbortedError():
            return ConnectionLost(f"the connection broke: {type(reason).__name__}", where=where)
        case _:
            return Unreachable(f"nothing answers: {reason}", where=where)


def _refusal(answer: SlackResponse, where: str) -> GoliveError:
    """Return the error for an answer that is not ``ok``, told apart by Slack's own code for it."""
    status = answer.status_code
    headers = {name.lower(): value for name, value in answer.headers.items()}
    data = answer.data if isinstance(answer.data, dict) else {}
    said = str(data.get("error") or "")
    code = said if re.fullmatch(r"[a-z0-9_]{1,80}", said) else ""
    seen = f"HTTP {status} {code}".rstrip()
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        return ServerTrouble(seen, retry_after=_seconds(headers.get("retry-after")), where=where)
    if status >= 500 or code in _TROUBLE or not code:
        return ServerTrouble(seen, expected="an answer of Slack", where=where)
    if code in _BAD_BLOCKS:
        return _BlocksRefused(seen, where=where)
    if code in _DENIED or status in {401, 403}:
        needed = f" {data['needed']}" if data.get("needed") else ""
        return AccessDenied(seen, where=where, do=_DENIED.get(code, "check the token") + needed)
    return OutsideError(seen, where=where)


def _seconds(value: Any) -> float:
    """Return the seconds of a Retry-After header; Slack's usual measure is a message a second, so 1 without one."""
    text = str(value or "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else 1.0
