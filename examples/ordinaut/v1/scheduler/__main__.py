"""``python -m scheduler``: looks for due tasks until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import threading

import psycopg
from engine.store import Store

log = logging.getLogger("scheduler")


def serve(store: Store, ended: threading.Event, every: float = 0.5) -> None:
    """Put what is due into the queue, again and again; a database that is away is waited for."""
    while not ended.wait(every):
        try:
            if number := store.enqueue_due():
                log.info("%d tasks are due", number)
        except psycopg.Error as error:
            log.error("the database does not answer (%s)", type(error).__name__)  # noqa: TRY400 - a trace says no more


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    serve(Store(os.environ["DATABASE_URL"], "ordinaut scheduler"), ended)


if __name__ == "__main__":
    main()
