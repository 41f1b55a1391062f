"""The configuration of golive's own Caddy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKETS = 100
"""How many addresses Caddy takes in turn, so that one of them is a hundredth of the requests."""
HELD_LOG = "held.log"
"""The file in which Caddy tells of each request that it held back."""
_HELD = "http.log.access.held"


@dataclass(frozen=True)
class Layout:
    """Where Caddy finds its files, where it listens, who may ask it what is in force, and its limits in seconds."""

    home: Path
    listen: str
    header: str
    token: str
    hold: float
    longest_pause: float


def config_of(layout: Layout) -> str:
    """Return Caddy's configuration; the socket's path is relative, since a long one would not fit in an address."""
    home = layout.home
    log = {"writer": {"output": "file", "filename": f"{home}/caddy.log", "roll_size_mb": 5, "roll_keep": 3}}
    send = {"handle": [_proxy(layout, "current", layout.hold)]}
    server = {
        "listen": [layout.listen],
        "automatic_https": {"disable": True},
        "routes": [
            {"handle": [{"handler": "vars", "until": f"{{file.{home}/until}}", "log_skip": True}]},
            _tell(layout),
            _held(layout),
            send,
        ],
        # What was held for as long as may be is sent on; it has reached nobody yet.
        "errors": {"routes": [{"match": [{"vars": {"{http.vars.held}": ["yes"]}}], **send}]},
        "logs": {"default_logger_name": "held"},
    }
    config = {
        "admin": {"listen": "unix/admin.sock", "config": {"persist": False}},
        "logging": {"logs": {"default": {**log, "level": "WARN", "exclude": [_HELD]}, "held": _held_log(layout)}},
        "storage": {"module": "file_system", "root": f"{home}/data"},
        "apps": {"http": {"grace_period": "10s", "servers": {"service": server}}},
    }
    return json.dumps(config, indent=1)


def _held_log(layout: Layout) -> dict[str, Any]:
    """Return the log of the requests that were held back: when each was answered and how long it took, no more."""
    file = {"output": "file", "filename": f"{layout.home}/{HELD_LOG}", "roll_size_mb": 20, "roll_keep": 1}
    told = {field: {"filter": "delete"} for field in ("request", "resp_headers", "user_id", "bytes_read")}
    return {
        "writer": file,
        "encoder": {"format": "filter", "wrap": {"format": "json"}, "fields": told},
        "include": [_HELD],
    }


def _tell(layout: Layout) -> dict[str, Any]:
    headers = {
        "X-Golive": ["router"],
        "X-Golive-Until": [f"{{file.{layout.home}/until}}"],
        "X-Golive-Time": ["{time.now.unix_ms}"],
        "Content-Type": ["text/plain"],
    }
    body = f"{{file.{layout.home}/current/told}}"
    return {
        "match": [{"header": {layout.header: [layout.token]}}],
        "handle": [{"handler": "static_response", "headers": headers, "body": body}],
        "terminal": True,
    }


def _held(layout: Layout) -> dict[str, Any]:
    return {
        "match": [{"expression": "int({http.vars.until}) > int({time.now.unix})"}],
        "handle": [{"handler": "vars", "held": "yes", "log_skip": False}, _proxy(layout, "gate", layout.longest_pause)],
        "terminal": True,
    }


def _proxy(layout: Layout, link: str, patience: float) -> dict[str, Any]:
    """Return a proxy to the tickets behind a symbolic link, which Caddy reads anew at each try of a request."""
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{{file.{layout.home}/{link}/{number}}}"} for number in range(TICKETS)],
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": f"{patience:g}s",
            "try_interval": "50ms",
        },
        # Idle connections are given up before the service does so (uvicorn: 5 s), which would cost a request.
        "transport": {"protocol": "http", "dial_timeout": "3s", "keep_alive": {"idle_timeout": "2s"}},
    }
