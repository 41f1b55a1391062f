from __future__ import annotations

import threading
from datetime import UTC, datetime

from scheduler.__main__ import serve as schedule
from workers.__main__ import serve as work
from workers.__main__ import work_once


def run(loop, store, *more) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=loop, args=(store, *more, ended, 0.01))
    thread.start()
    threading.Event().wait(0.2)
    ended.set()
    thread.join(5)
    assert not thread.is_alive()


def test_the_scheduler_puts_due_tasks_into_the_queue_once(store, task):
    store.add_task("agent", task, datetime(2025, 1, 10, tzinfo=UTC))
    store.add_task("agent", task, datetime(2999, 1, 10, tzinfo=UTC))
    run(schedule, store)
    assert len(store.queue) == 1


def test_a_worker_works_off_the_queue(store, task):
    for _ in range(3):
        store.add_task("agent", task, datetime(2025, 1, 10, tzinfo=UTC))
    store.enqueue_due()
    run(work, store, "w1")
    assert [error for _, _, error in store.runs] == [None, None, None]
    assert not work_once(store, "w1")
