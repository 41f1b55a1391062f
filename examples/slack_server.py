"""A local server that speaks the part of Slack's Web API that golive uses, with faults on a switch."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "xoxb-a-token-of-no-workspace"  # noqa: S105 - it opens nothing
APP_TOKEN = "xapp-a-token-of-no-app"  # noqa: S105 - nor does this
LIMITS = {"section": 3000, "field": 2000, "header": 150, "context": 10, "fields": 10, "blocks": 50, "json": 13_000}


@dataclass
class Fault:
    """What goes wrong with a call of a method.

    ``limit`` (429), ``trouble`` (503), ``slow``, ``drop`` (taken, then the connection is closed without an answer),
    ``hang`` (the same after some seconds), ``drop_first`` (closed before it is taken), or Slack's code for a refusal.
    """

    kind: str
    seconds: float = 0.0


@dataclass
class FakeSlack:
    """A workspace with one channel. ``calls`` counts the requests by method, ``took`` is set at each taken message."""

    base_url: str
    channels: dict[str, str] = field(default_factory=lambda: {"ops": "C0123OPS4"})
    scopes: set[str] = field(default_factory=lambda: {"chat:write", "channels:read", "channels:history", "files:write"})
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    took: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    page: int = 0
    socket_url: str = ""
    """Where Socket Mode is, for an app that asks."""
    whispers: list[dict[str, Any]] = field(default_factory=list)
    dialogs: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, method: str, kind: str, times: int = 1, seconds: float = 0.0) -> None:
        """Let the next ``times`` calls of a method go wrong."""
        with self.lock:
            self.faults.setdefault(method, []).extend([Fault(kind, seconds)] * times)

    def heal(self) -> None:
        """Let everything go right again."""
        with self.lock:
            self.faults.clear()

    def roots(self) -> list[dict[str, Any]]:
        """Return the messages outside threads."""
        with self.lock:
            return [message for message in self.messages if not message.get("thread_ts")]

    def thread(self, ts: str) -> list[dict[str, Any]]:
        """Return the replies beneath a message in order."""
        with self.lock:
            return [message for message in self.messages if message.get("thread_ts") == ts]

    def keys(self) -> list[str]:
        """Return the keys of all messages, in the order in which they came."""
        with self.lock:
            return [one["metadata"]["event_payload"]["key"] for one in self.messages if one["metadata"]]

    def shown(self) -> list[list[dict[str, Any]]]:
        """Return the files of each message that shows some."""
        with self.lock:
            return [message["files"] for message in self.messages if message.get("files")]

    def next_fault(self, method: str) -> Fault | None:
        """Count a call and return what is to go wrong with it."""
        with self.lock:
            self.calls[method] += 1
            self.times.append((time.monotonic(), method))
            waiting = self.faults.get(method)
            return waiting.pop(0) if waiting else None

    def answer(self, method: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what a method does and return its answer."""
        with self.lock:
            does: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
                "chat.postMessage": self._post,
                "chat.update": self._update,
                "chat.getPermalink": self._permalink,
                "conversations.history": self._history,
                "conversations.replies": self._replies,
                "conversations.list": self._list,
                "apps.connections.open": lambda _asked: {"ok": True, "url": self.socket_url},
                "chat.postEphemeral": self._whisper,
                "views.open": self._open_dialog,
                "files.getUploadURLExternal": self._upload_url,
                "files.completeUploadExternal": self._complete_upload,
                "auth.test": lambda _asked: {"ok": True, "user_id": "U1"},
            }
            answer = does[method](asked) if method in does else _no("unknown_method")
            if not answer["ok"]:
                self.refused.append(answer["error"])
            return answer

    def _post(self, asked: dict[str, Any]) -> dict[str, Any]:
        channel = self.channels.get(str(asked.get("channel", "")).removeprefix("#"), asked.get("channel"))
        if channel not in self.channels.values():
            return _no("channel_not_found")
        if wrong := _wrong(asked):
            return _no(wrong)
        message = {
            "ts": f"{time.time():.0f}.{len(self.messages):06d}",
            "text": asked.get("text", ""),
            "blocks": asked.get("blocks") or [],
            "metadata": asked.get("metadata") or {},
            "thread_ts": asked.get("thread_ts") or "",
            "broadcast": bool(asked.get("reply_broadcast")),
            "edits": 0,
        }
        self.messages.append(message)
        self.took.set()
        return {"ok": True, "channel": channel, "ts": message["ts"]}

    def _upload_url(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "files:write" not in self.scopes:
            return _no("missing_scope") | {"needed": "files:write"}
        id_ = f"F{len(self.files):04d}"
        self.files[id_] = {"id": id_, "name": asked["filename"], "length": int(asked["length"]), "data": b""}
        self.files[id_]["alt"] = asked.get("alt_txt", "")
        return {"ok": True, "file_id": id_, "upload_url": self.base_url.replace("/api/", f"/upload/{id_}")}

    def _complete_upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "files:write" not in self.scopes:
            return _no("missing_scope") | {"needed": "files:write"}
        if asked.get("channel_id") not in self.channels.values():
            return _no("channel_not_found")  # names are not taken here, only IDs
        given = [{**self.files[one["id"]], "title": one["title"]} for one in json.loads(asked["files"])]
        if any(len(one["data"]) != one["length"] for one in given):
            return _no("file_not_found")
        self.messages.append(
            {
                "ts": f"{time.time():.0f}.{len(self.messages):06d}",
                "text": "",
                "blocks": [],
                "metadata": {},
                "thread_ts": asked.get("thread_ts") or "",
                "broadcast": False,
                "edits": 0,
                "files": given,
            }
        )
        return {"ok": True, "files": [{"id": one["id"], "title": one["title"]} for one in given]}

    def _update(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["channel"] not in self.channels.values():
            return _no("channel_not_found")
        if wrong := _wrong(asked):
            return _no(wrong)
        for message in self.messages:
            if message["ts"] == asked["ts"]:
                message.update(text=asked["text"], blocks=asked.get("blocks") or [], edits=message["edits"] + 1)
                return {"ok": True, "channel": asked["channel"], "ts": message["ts"]}
        return _no("message_not_found")

    def _permalink(self, asked: dict[str, Any]) -> dict[str, Any]:
        if not any(one["ts"] == asked["message_ts"] for one in self.messages):
            return _no("message_not_found")
        place = f"{asked['channel']}/p{asked['message_ts'].replace('.', '')}"
        return {"ok": True, "permalink": self.base_url.replace("/api/", f"/archives/{place}")}

    def _whisper(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.whispers.append(asked)
        return {"ok": True, "message_ts": f"{time.time():.6f}"}

    def _open_dialog(self, asked: dict[str, Any]) -> dict[str, Any]:
        view = asked["view"] if isinstance(asked["view"], dict) else json.loads(asked["view"])
        if asked.get("trigger_id", "").startswith("expired"):
            return _no("expired_trigger_id")
        self.dialogs.append(view)
        return {"ok": True, "view": view}

    def _history(self, asked: dict[str, Any]) -> dict[str, Any]:
        # The newest first, no replies.
        return self._read(asked, [message for message in reversed(self.messages) if not message["thread_ts"]])

    def _replies(self, asked: dict[str, Any]) -> dict[str, Any]:
        root = [message for message in self.messages if message["ts"] == asked["ts"]]
        if not root:
            return _no("thread_not_found")
        return self._read(asked, root + self.thread(asked["ts"]))

    def _read(self, asked: dict[str, Any], those: list[dict[str, Any]]) -> dict[str, Any]:
        if "channels:history" not in self.scopes:
            return _no("missing_scope") | {"needed": "channels:history"}
        if asked["channel"] not in self.channels.values():
            return _no("channel_not_found")  # names are not taken here, only IDs
        those = [one for one in those if float(one["ts"]) >= float(asked.get("oldest") or 0)]
        begin = int(asked.get("cursor") or 0)
        end = begin + (self.page or int(asked.get("limit") or 100))
        hidden = () if asked.get("include_all_metadata") in {"1", "true"} else ("metadata",)
        shown = [{key: value for key, value in one.items() if key not in hidden} for one in those[begin:end]]
        for one in shown:
            files = one.get("files", [])
            one["files"] = [{key: value for key, value in file.items() if key != "data"} for file in files]
        following = str(end) if end < len(those) else ""
        return {"ok": True, "messages": shown, "response_metadata": {"next_cursor": following}}

    def _list(self, _asked: dict[str, Any]) -> dict[str, Any]:
        if "channels:read" not in self.scopes:
            return _no("missing_scope") | {"needed": "channels:read"}
        return {"ok": True, "channels": [{"id": id_, "name": name} for name, id_ in self.channels.items()]}


def _token_for(method: str) -> str:
    return APP_TOKEN if method.startswith("apps.") else TOKEN


def _no(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _wrong(asked: dict[str, Any]) -> str:
    """Return Slack's code for what it would refuse in a message."""
    blocks = asked.get("blocks") or []
    if not blocks and not asked.get("text"):
        return "no_text"
    if len(json.dumps(blocks)) > LIMITS["json"] * 2 or len(json.dumps(blocks, ensure_ascii=False)) > LIMITS["json"]:
        return "msg_blocks_too_long"
    texts = [block["text"]["text"] for block in blocks if block["type"] == "section" and "text" in block]
    named = [one["text"] for block in blocks for one in block.get("fields", [])]
    heads = [block["text"]["text"] for block in blocks if block["type"] == "header"]
    wrong = (
        len(blocks) > LIMITS["blocks"]
        or any(not 1 <= len(text) <= LIMITS["section"] for text in texts)
        or any(not 1 <= len(text) <= LIMITS["field"] for text in named)
        or any(not 1 <= len(text) <= LIMITS["header"] for text in heads)
        or any(len(block.get("fields", [])) > LIMITS["fields"] for block in blocks)
        or any(len(block.get("elements", [])) > LIMITS["context"] for block in blocks)
    )
    return "invalid_blocks" if wrong else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    slack: FakeSlack

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path.startswith("/upload/"):
            self._take_upload(url.path.removeprefix("/upload/"), data)
            return
        body = data.decode()
        method = url.path.rpartition("/")[2]
        if self.headers.get("Content-Type", "").startswith("application/json"):
            asked: dict[str, Any] = json.loads(body or "{}")
        else:
            asked = {key: values[0] for key, values in parse_qs(f"{url.query}&{body}").items()}
        fault = self.slack.next_fault(method)
        if fault is not None:
            self._go_wrong(fault, method, asked)
        elif self.headers.get("Authorization") != f"Bearer {_token_for(method)}":
            self._send(200, _no("invalid_auth"))
        else:
            self._send(200, self.slack.answer(method, asked))

    def _take_upload(self, id_: str, data: bytes) -> None:
        fault = self.slack.next_fault("upload")
        if fault is not None and fault.kind == "drop_first":
            self._drop()
            return
        if fault is not None and fault.kind == "trouble":
            self._send(503, None)
            return
        with self.slack.lock:
            self.slack.files[id_]["data"] = data
        if fault is not None:
            self._drop()
        else:
            self._send(200, {"ok": True})

    def _go_wrong(self, fault: Fault, method: str, asked: dict[str, Any]) -> None:
        if fault.kind in {"drop", "hang"}:
            self.slack.answer(method, asked)
        if fault.kind in {"slow", "hang"}:
            time.sleep(fault.seconds)
        match fault.kind:
            case "limit":
                self._send(429, _no("ratelimited"), {"Retry-After": f"{fault.seconds:g}"})
            case "trouble":
                self._send(503, None)
            case "slow":
                self._send(200, self.slack.answer(method, asked))
            case "drop" | "hang" | "drop_first":
                self._drop()
            case code:
                self._send(200, _no(code))

    def _send(self, status: int, answer: dict[str, Any] | None, headers: dict[str, str] | None = None) -> None:
        body = b"upstream is away" if answer is None else json.dumps(answer).encode()
        with suppress(OSError):  # the client was killed, or did not wait
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body)), "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_args: Any) -> None:
        pass


@contextmanager
def fake_slack(port: int = 0, **what: Any) -> Iterator[FakeSlack]:
    """Run the server on loopback until the block ends; ``port`` 0 means a free one."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    slack = FakeSlack(f"http://127.0.0.1:{server.server_address[1]}/api/", **what)
    handler.slack = slack  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield slack
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
