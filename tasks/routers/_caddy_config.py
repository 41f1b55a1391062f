"""The configuration of golive's own Caddy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.routers._tickets import dials

REQUESTS_LOG = "requests.log"
"""The file in which Caddy tells of each request that it holds back or counts."""
METRICS = "/metrics"
"""The path at which Caddy tells its metrics to who knows the token."""
_REQUESTS = "http.log.access.requests"
_TO = "{http.reverse_proxy.upstream.hostport}"


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
            {"handle": [{"handler": "vars", "until": f"{{file.{home}/until}}", "count": f"{{file.{home}/count}}"}]},
            {"handle": [{"handler": "vars", "log_skip": True}]},
            _metrics(layout),
            _tell(layout),
            {"match": [_before("count")], "handle": [{"handler": "vars", "log_skip": False}, _note("to", _TO)]},
            _held(layout),
            send,
        ],
        # What was held for as long as may be is sent on; it has reached nobody yet.
        "errors": {"routes": [{"match": [{"vars": {"{http.vars.held}": ["yes"]}}], **send}]},
        "logs": {"default_logger_name": "requests"},
    }
    config = {
        "admin": {"listen": "unix/admin.sock", "config": {"persist": False}},
        "logging": {"logs": {"default": {**log, "level": "WARN", "exclude": [_REQUESTS]}, "requests": _log(layout)}},
        "storage": {"module": "file_system", "root": f"{home}/data"},
        "apps": {"http": {"grace_period": "10s", "servers": {"service": server}, "metrics": {}}},
    }
    return json.dumps(config, indent=1)


def _before(moment: str) -> dict[str, Any]:
    """Return what matches until a moment, in seconds since 1970, that stands in a file."""
    return {"expression": f"int({{http.vars.{moment}}}) > int({{time.now.unix}})"}


def _note(key: str, value: str) -> dict[str, Any]:
    return {"handler": "log_append", "key": key, "value": value}


def _log(layout: Layout) -> dict[str, Any]:
    """Return the log of the requests that are held back or counted: where each went and how it ended, no more."""
    file = {"output": "file", "filename": f"{layout.home}/{REQUESTS_LOG}", "roll_size_mb": 20, "roll_keep": 1}
    told = {field: {"filter": "delete"} for field in ("request", "resp_headers", "user_id", "bytes_read")}
    return {
        "writer": file,
        "encoder": {"format": "filter", "wrap": {"format": "json"}, "fields": told},
        "include": [_REQUESTS],
    }


def _metrics(layout: Layout) -> dict[str, Any]:
    """Return the route by which Caddy tells golive what it has counted since it was started."""
    asked = {"header": {layout.header: [layout.token]}, "path": [METRICS]}
    return {"match": [asked], "handle": [{"handler": "metrics"}], "terminal": True}


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
    told = [{"handler": "vars", "held": "yes", "log_skip": False}, _note("held", "yes")]
    gate = _proxy(layout, "gate", layout.longest_pause)
    return {"match": [_before("until")], "handle": [*told, gate], "terminal": True}


def _proxy(layout: Layout, link: str, patience: float) -> dict[str, Any]:
    """Return a proxy to the tickets behind a symbolic link, which Caddy reads anew at each try of a request."""
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in dials(layout.home / link)],
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": f"{patience:g}s",
            "try_interval": "50ms",
        },
        # Idle connections are given up before the service does so (uvicorn: 5 s), which would cost a request.
        "transport": {"protocol": "http", "dial_timeout": "3s", "keep_alive": {"idle_timeout": "2s"}},
    }
