"""What every version has around its API: the version in each answer, a log, and faults on a switch."""

import asyncio
import logging
import os
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

log = logging.getLogger("neurohub")


def start_log() -> None:
    """Write the log to standard error, and to the file that NEUROHUB_LOG names, if any."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path := os.environ.get("NEUROHUB_LOG"):
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.handlers[:] = handlers
    log.setLevel(logging.INFO)


def database_away(request: Request, error: Exception) -> JSONResponse:
    """Answer 500 and put on record what the database said."""
    log.error("%s %s: %s", request.method, request.url.path, str(error).splitlines()[0])
    return JSONResponse({"detail": "The database refused"}, 500)


class Edge:
    """Names the version in each answer; FAIL_DELAY slows the API, FAIL_SHARE=1 lets it answer 500."""

    def __init__(self, api: FastAPI) -> None:
        self.api, self._version = api, api.version.encode()
        self._delay, self._fails = float(os.environ.get("FAIL_DELAY", "0")), os.environ.get("FAIL_SHARE") == "1"
        start_log()
        log.info("version %s started", api.version)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""

        async def signed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-version", self._version)]
            await send(message)

        if scope["type"] == "http" and scope["path"].startswith("/api"):
            await asyncio.sleep(self._delay)
            if self._fails:
                log.error("%s %s failed", scope["method"], scope["path"])
                await JSONResponse({"detail": "Internal Server Error"}, 500)(scope, receive, signed)
                return
        await self.api(scope, receive, signed if scope["type"] == "http" else send)
