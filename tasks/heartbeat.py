"""The guard's signs of life to Prefect: where none comes any more, an automation starts `keep-guard` at once.

They are a hint and no more: the lease in the ledger says who guards, and nothing waits for Prefect.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from prefect.settings import get_current_settings

from tasks.context import world
from tasks.domain.errors import GoliveError
from tasks.domain.http_login import basic
from tasks.settings import Settings, deployment_name

BEAT = "golive.guard.heartbeat"
"""The event of a guard that is at work; ``prefect.yaml`` says how long it may fail to come."""
ENDED = "golive.guard.ended"
"""The event of a guard that has nothing left to guard, so that nobody misses it."""
RESOURCE = "golive.guard"
"""Whose signs they are; another pool's guard has that pool's name added."""
BEAT_EVERY = 15.0
"""Seconds between two signs of life."""
_WITHIN = 3.0


class Heartbeat:
    """Sends signs of life beside the guard's work, one at a time."""

    def __init__(self) -> None:
        prefect = get_current_settings().api
        self._url = f"{prefect.url.rstrip('/')}/events" if prefect.url else ""
        self._login = prefect.auth_string.get_secret_value() if prefect.auth_string else ""
        self._resource = deployment_name(RESOURCE, Settings.from_environment().pool)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._sending: Future[None] | None = None
        self._sent_at: float | None = None

    def beat(self, now: float) -> None:
        """Send a sign of life if it is time, and the last one is not still on its way."""
        if self._sending is not None and not self._sending.done():
            return
        if self._sent_at is None or now - self._sent_at >= BEAT_EVERY:
            self._sent_at = now
            self._sending = self._pool.submit(self.send, BEAT, world().clock.now())

    def end(self, *, well: bool) -> None:
        """Send no more; if all ended ``well``, say so to whoever has heard a sign of life."""
        if well and self._sent_at is not None:
            self._pool.submit(self.send, ENDED, world().clock.now())
        self._pool.shutdown(wait=False)

    def send(self, event: str, at: datetime) -> None:
        """Tell Prefect's server of an event of the guard's; one that does not answer is not told."""
        if not self._url:
            return
        told = {"id": str(uuid4()), "occurred": at.isoformat(), "event": event}
        with suppress(GoliveError):
            world().http.request(
                "POST",
                self._url,
                headers={"Authorization": basic(self._login)} if self._login else {},
                json=[{**told, "resource": {"prefect.resource.id": self._resource}}],
                timeout=_WITHIN,
                fresh=True,
            )
