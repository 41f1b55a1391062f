"""Counts the queries, and tells of the slow ones."""

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Engine, event

log = logging.getLogger("neurohub")
P, R = ParamSpec("P"), TypeVar("R")
SLOW = 0.1
"""Seconds from which on a query is slow, which is an alert."""
_NO_QUERY = ("SAVEPOINT", "RELEASE", "ROLLBACK")


class Counts:
    """What was counted since the start of this process."""

    queries = 0
    slow = 0
    seconds = 0.0


def watch(engine: Engine) -> None:
    """Count the queries of an engine, and warn of each that takes longer than `SLOW`."""

    @event.listens_for(engine, "before_cursor_execute")
    def before(conn: Any, *_: Any) -> None:
        conn.info["asked"] = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def after(conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(_NO_QUERY):
            return
        took = time.perf_counter() - conn.info["asked"]
        Counts.queries += 1
        Counts.seconds += took
        if took > SLOW:
            Counts.slow += 1
            log.warning("alert: slow query, %.0f ms: %s", took * 1000, " ".join(statement.split())[:200])


def track_query_performance() -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function tell in the log how many queries it made, and how long it took."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            began, queries = time.perf_counter(), Counts.queries
            result = function(*args, **kwargs)
            took = (time.perf_counter() - began) * 1000
            log.info("%s: %d queries, %.1f ms", function.__name__, Counts.queries - queries, took)
            return result

        return tracked

    return decorate
