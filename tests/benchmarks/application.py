"""An application at a steady rate, as a process: ``python -m tests.benchmarks.application RATE``, with ``DSN`` set.

It reads and changes one row of ``item`` a transaction, by an open-loop schedule: a transaction's latency counts from
when it was due. On SIGTERM it prints a list of ``[due, seconds]``, due in seconds of the monotonic clock, and ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time

import psycopg

CONNECTIONS = 40
ROWS = 1_000_000


def main() -> None:
    """Run until SIGTERM."""
    rate, taken = float(sys.argv[1]), []
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    began = time.monotonic()

    def work(number: int) -> None:
        with psycopg.connect(os.environ["DSN"], autocommit=True) as connection:
            turn = number
            while not ended.is_set():
                due = began + turn / rate
                if (left := due - time.monotonic()) > 0:
                    ended.wait(left)
                key = random.randint(1, ROWS)
                connection.execute("UPDATE item SET stock = stock + 1 WHERE id = %s", (key,))
                taken.append((due, time.monotonic() - due))
                turn += CONNECTIONS

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    ended.wait()
    for thread in threads:
        thread.join(timeout=30)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
