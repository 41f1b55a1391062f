"""The web application: health, metrics, and the API itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import psycopg
from confluent_kafka import KafkaException
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

from service import VERSION, tokens
from service.messages import NotDelivered, Publisher
from service.pool import Pool, PoolExhausted
from service.routes import router
from service.settings import Settings

log = logging.getLogger("workflow_api")
REQUESTS = Counter("http_requests_total", "Requests by status", ["status"])
SECONDS = Histogram("http_request_seconds", "How long requests took", buckets=(0.01, 0.05, 0.1, 0.2, 0.5, 1, 5))
_bearer = HTTPBearer(auto_error=False)


def caller(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
    """Require a token that was signed with the service's secret."""
    who = credentials and tokens.subject_of(request.app.state.settings.jwt_secret, credentials.credentials)
    if not who:
        raise HTTPException(401, "A valid token is needed", {"WWW-Authenticate": "Bearer"})
    request.state.caller = who


def health() -> dict[str, str]:
    """Tell that this process answers."""
    return {"status": "healthy", "version": VERSION}


def ready(request: Request) -> JSONResponse:
    """Tell whether all that this process depends on answers."""
    found = {"database": _database(request.app.state.pool), "kafka": _kafka(request.app.state.publisher)}
    well = set(found.values()) == {"connected"}
    body = {"status": "ready" if well else "not ready", "version": VERSION, "dependencies": found}
    return JSONResponse(body, 200 if well else 503)


def _database(pool: Pool) -> str:
    try:
        with pool.connection() as conn:
            conn.execute("SELECT 1")
    except (psycopg.Error, PoolExhausted) as error:
        log.warning("the database does not answer (%s)", type(error).__name__)
        return "unreachable"
    return "connected"


def _kafka(publisher: Publisher) -> str:
    try:
        return "connected" if publisher.brokers() else "unreachable"
    except KafkaException as error:
        log.warning("Kafka does not answer (%s)", error)
        return "unreachable"


def metrics() -> Response:
    """Tell Prometheus how it goes."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _measured(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    began = time.monotonic()
    answer = await call(request)
    SECONDS.observe(time.monotonic() - began)
    REQUESTS.labels(answer.status_code).inc()
    answer.headers["x-version"] = VERSION
    if request.url.path.startswith("/api"):
        log.info("%s %s: %s", request.method, request.url.path, answer.status_code)
    return answer


async def _out_of_order(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed: %s", type(error).__name__)
    return JSONResponse({"detail": "The database or Kafka does not answer as it should"}, 503)


def create_app(settings: Settings) -> FastAPI:
    """Return the application as the settings want it."""
    app = FastAPI(title="Workflow Management API", version="1")
    app.state.settings = settings
    app.state.pool = Pool(settings.database_url, settings.pool_size, settings.max_overflow)
    app.state.publisher = Publisher(settings.kafka_brokers)
    app.middleware("http")(_measured)
    app.add_middleware(
        CORSMiddleware, allow_origins=settings.cors_origins, allow_credentials=True, allow_methods=["*"],
        allow_headers=["authorization", "content-type"],
    )  # fmt: skip
    endpoints: dict[str, Callable[..., Any]] = {"/health": health, "/health/ready": ready}
    for path, endpoint in endpoints.items():
        app.add_api_route(path, endpoint)
    app.add_api_route("/metrics", metrics, include_in_schema=False)
    app.include_router(router, prefix="/api/v1", dependencies=[Depends(caller)])
    for kind in (psycopg.Error, PoolExhausted, NotDelivered):
        app.add_exception_handler(kind, _out_of_order)
    return app
