"""The background processor: takes pending tasks one by one until they await approval.

Started as ``python -m task_executor``, beside the web application.
"""

from __future__ import annotations

import asyncio
import os
import signal

import psycopg
from content_tasks import Connection, StatusUpdate, update_task
from pool import Pool
from service import log, start_log

_USER = "task_executor"


async def work_once(conn: Connection) -> bool:
    """Bring one pending task forward; False if there is none."""
    async with conn.transaction():
        cursor = await conn.execute(
            "SELECT id FROM content_tasks WHERE status = 'pending' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        for status in ("in_progress", "awaiting_approval"):
            await update_task(conn, row["id"], StatusUpdate(status, _USER, reason="background processing"))
    return True


async def main() -> None:
    """Work until SIGTERM; a database that is away is waited for."""
    start_log()
    every = float(os.environ.get("EXECUTOR_EVERY", "1"))
    pool = Pool(os.environ["DATABASE_URL"], name=_USER, size=1)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            async with pool.connection() as conn:
                await work_once(conn)
        except psycopg.Error as error:
            log.error("error: %s cannot work (%s)", _USER, type(error).__name__)
        try:
            async with asyncio.timeout(every):
                await stop.wait()
        except TimeoutError:
            continue
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main())
