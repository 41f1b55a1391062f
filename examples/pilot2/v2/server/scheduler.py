"""The scheduler and its jobs, which one instance runs where there are several."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from database import db_manager
from flask_apscheduler import APScheduler

log = logging.getLogger("pilot2.scheduler")
scheduler = APScheduler()


def heartbeat(cursor: Any) -> None:
    """Show that jobs run."""
    cursor.execute("SELECT 1")


def purge_old_logs(cursor: Any) -> None:
    """Remove what is older than 90 days, user by user, since row-level security shows one at a time."""
    cursor.execute("SELECT id FROM users")
    for row in cursor.fetchall():
        cursor.execute("SELECT set_config('app.current_user_id', %s, true)", (row["id"],))
        cursor.execute("DELETE FROM execution_logs WHERE timestamp < now() - interval '90 days'")


JOBS: dict[str, tuple[Callable[[Any], None], int]] = {
    "heartbeat": (heartbeat, 60),
    "purge_old_logs": (purge_old_logs, 3600),
}
"""What is run, and how many seconds pass between two runs."""


def run(name: str) -> None:
    """Run a job unless another instance runs it just now, and put on record how it ended."""
    status, error = "success", None
    try:
        with db_manager.session() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s)) AS mine", (f"pilot2 {name}",))
            if not cursor.fetchone()["mine"]:
                return
            JOBS[name][0](cursor)
    except Exception as failure:
        log.exception("job %s failed", name)
        status, error = "error", f"{type(failure).__name__}"
    with db_manager.session() as cursor:
        cursor.execute("INSERT INTO scheduler_runs (job, status, error) VALUES (%s, %s, %s)", (name, status, error))


def listed() -> list[dict[str, Any]]:
    """Return each job with the time of its next run."""
    return [
        {"id": job.id, "next_run_time": job.next_run_time.isoformat() if job.next_run_time else None}
        for job in scheduler.get_jobs()
    ]


def start(app: Any) -> None:
    """Start the scheduler with all of its jobs."""
    scheduler.init_app(app)
    for name, (_, seconds) in JOBS.items():
        scheduler.add_job(id=name, func=run, args=[name], trigger="interval", seconds=seconds)
    scheduler.start()
    log.info("%d jobs scheduled", len(JOBS))
