"""``python -m workers``: works off the queue until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from datetime import UTC, datetime

import psycopg
from engine import pipeline
from engine.store import Store

log = logging.getLogger("workers")


def serve(store: Store, name: str, ended: threading.Event, every: float = 0.2) -> None:
    """Work while there is work; a database that is away is waited for."""
    while not ended.is_set():
        try:
            store.seen(name)
            while not ended.is_set() and work_once(store, name):
                pass
        except psycopg.Error as error:
            log.error("the database does not answer (%s)", type(error).__name__)  # noqa: TRY400 - a trace says no more
        ended.wait(every)


def work_once(store: Store, name: str) -> bool:
    """Do one piece of work, and tell whether there was any; what fails is recorded as failed."""
    work = store.claim(name)
    if work is None:
        return False
    started, error = datetime.now(UTC), None
    try:
        pipeline.run(work["payload"] or {})
    except ValueError as wrong:
        error = str(wrong)
        log.error("task %s failed: %s", work["task_id"], error)  # noqa: TRY400 - a trace says no more
    store.finish(work, name, started, error)
    return True


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended, name = threading.Event(), f"{socket.gethostname()}-{os.getpid()}"
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    log.info("%s works", name)
    serve(Store(os.environ["DATABASE_URL"], "ordinaut worker"), name, ended)


if __name__ == "__main__":
    main()
