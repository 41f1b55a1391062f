"""The executor: takes runs from Kafka one after the other and puts on record what came of them."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from typing import Any

import psycopg

from service import OUTPUT, VERSION
from service.audit import audit
from service.logs import start_log
from service.messages import subscribed
from service.pool import Pool
from service.settings import Settings

log = logging.getLogger("workflow_executor")
TOPIC = "workflow-runs"


def work(pool: Pool, run_id: str) -> None:
    """Execute one run, unless that was done before: Kafka delivers at least once."""
    with pool.connection() as conn:
        query = "UPDATE workflow_runs SET status = 'running', updated_at = clock_timestamp() WHERE id = %s "
        taken = conn.execute(query + "AND status IN ('queued', 'running') RETURNING input", (run_id,)).fetchone()
    if taken is None:
        log.info("run %s is done or gone", run_id)
        return
    with pool.connection() as conn:
        query = f"UPDATE workflow_runs SET status = 'completed', {OUTPUT} = %s, updated_at = clock_timestamp() "  # noqa: S608 - a constant
        conn.execute((query + "WHERE id = %s").encode(), (json.dumps({"echo": taken["input"]}), run_id))
        audit(conn, "executor", "run.completed", run_id)
    log.info("run %s is completed", run_id)


def main() -> None:
    """Take runs until told to stop."""
    settings = Settings.from_environment()
    start_log(settings.log_level, settings.log_format)
    pool, consumer = Pool(settings.database_url, 1, 0), subscribed(settings.kafka_brokers, TOPIC)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    log.info("the executor of version %s has started", VERSION)
    while not stopping.is_set():
        message: Any = consumer.poll(0.5)
        if message is None or message.error() or os.environ.get("FAULT") == "deaf":
            continue
        try:
            work(pool, str(json.loads(message.value())["run_id"]))
        except psycopg.Error as error:
            # Not committed, so that it comes again once the executor is started anew.
            log.exception("the database does not take a run")
            raise SystemExit(1) from error
        except (ValueError, KeyError, TypeError):
            log.exception("a message is no run, and is left alone")
        consumer.commit(message, asynchronous=False)
    consumer.close()
    log.info("the executor has stopped")


if __name__ == "__main__":
    main()
