"""What every version's web application is made of: pool, token, health, log, and faults on a switch."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from faults import Faults
from pool import Pool, PoolExhausted

log = logging.getLogger("glad_labs")
_bearer = HTTPBearer(auto_error=False)
_DATABASE_WAIT = 2.0


def start_log() -> None:
    """Write the log to standard error, and to the file that GLAD_LABS_LOG names, if any."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path := os.environ.get("GLAD_LABS_LOG"):
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.handlers[:] = handlers
    log.setLevel(logging.INFO)
    # A line per request costs more than most of these requests.
    logging.getLogger("uvicorn.access").handlers.clear()


async def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    """Return whose token it is: what stands before the token's first dot, or ``api``; 401 for any other token."""
    expected: str = request.app.state.token
    if credentials is None or not hmac.compare_digest(credentials.credentials.encode(), expected.encode()):
        raise HTTPException(401, "A valid bearer token is needed", {"WWW-Authenticate": "Bearer"})
    return expected.split(".", 1)[0] if "." in expected else "api"


async def connection(request: Request) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """Lend a connection for the length of one request."""
    async with request.app.state.pool.connection() as conn:
        yield conn


Caller = Annotated[str, Depends(caller)]
Connection = Annotated[psycopg.AsyncConnection[dict[str, Any]], Depends(connection)]


async def _health(request: Request) -> JSONResponse:
    """Tell whether this process can do its work, and which version it is."""
    database = "ok"
    try:
        async with asyncio.timeout(_DATABASE_WAIT), request.app.state.pool.connection() as conn:
            await conn.execute("SELECT 1")
    except (psycopg.Error, PoolExhausted, TimeoutError) as error:
        log.warning("health: the database does not answer (%s)", type(error).__name__)
        database = "unreachable"
    status = "ok" if database == "ok" else "degraded"
    body = {"status": status, "version": request.app.version, "services": {"database": database}}
    return JSONResponse(body, 200 if status == "ok" else 503)


async def _database_away(_: Request, error: Exception) -> JSONResponse:
    log.error("error: the database does not answer (%s)", type(error).__name__)
    return JSONResponse({"detail": "The database does not answer"}, 503)


async def _table_missing(_: Request, error: Exception) -> JSONResponse:
    log.error("error: %s", error)
    return JSONResponse({"detail": "A table is missing: a migration has not been applied yet"}, 503)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    start_log()
    missing = [name for name in ("DATABASE_URL", "GLAD_LABS_TOKEN") if not os.environ.get(name)]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} must be set in the environment")
    app.state.token = os.environ["GLAD_LABS_TOKEN"]
    app.state.pool = Pool(os.environ["DATABASE_URL"], name=f"glad-labs {app.version}")
    log.info("status: version %s started", app.version)
    yield
    await app.state.pool.close()
    log.info("status: version %s stopped", app.version)


class Edge:
    """Names the version in each answer, and lets the faults strike the API before the application is asked."""

    def __init__(self, app: FastAPI, faults: Faults) -> None:
        self.app, self.faults = app, faults
        self._version = app.version.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""

        async def signed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-version", self._version)]
            await send(message)

        if scope["type"] == "http" and scope["path"].startswith("/api"):
            delay, strikes = self.faults.next()
            if delay:
                await asyncio.sleep(delay)
            if strikes:
                log.error("error: %s %s failed", scope["method"], scope["path"])
                await JSONResponse({"detail": "Internal Server Error"}, 500)(scope, receive, signed)
                return
        await self.app(scope, receive, signed if scope["type"] == "http" else send)


def create_app(version: str, *routers: APIRouter, fail_share: float = 0.0, fail_after: float = 0.0) -> Edge:
    """Return the application of a version; the two last arguments are the version's own faults, in seconds."""
    app = FastAPI(title="Task Status Management", version=version, lifespan=_lifespan)
    app.add_api_route("/health", _health)
    for router in routers:
        app.include_router(router, dependencies=[Depends(caller)])
    app.add_exception_handler(psycopg.errors.UndefinedTable, _table_missing)
    for kind in (psycopg.OperationalError, psycopg.InterfaceError, PoolExhausted):
        app.add_exception_handler(kind, _database_away)
    return Edge(app, Faults.from_environment(fail_share, fail_after))
