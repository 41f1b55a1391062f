"""Counts the requests, and shows all counts as Prometheus reads them."""

import time
from collections import Counter
from typing import Any

from app.monitoring.query_monitor import Counts


class PerformanceMonitor:
    """Counts requests and their seconds by path and status."""

    def __init__(self, enabled: bool = True, environment: str = "production") -> None:
        """Count, if enabled, for an environment whose name each count bears."""
        self.enabled, self._environment = enabled, environment
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[tuple[str, int]] = Counter()

    def get_middleware(self) -> type:
        """Return the ASGI middleware that counts for this monitor."""
        monitor = self

        class Middleware:
            """Counts each request right before its answer is whole, so that nobody sees the counts without it."""

            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                """Serve one ASGI connection."""
                if scope["type"] != "http" or not monitor.enabled:
                    await self.app(scope, receive, send)
                    return
                began, status, counted = time.perf_counter(), 500, False

                def count() -> None:
                    nonlocal counted
                    if not counted:
                        counted = True
                        key = (getattr(scope.get("route"), "path", "other"), status)
                        monitor._requests[key] += 1
                        monitor._seconds[key] += time.perf_counter() - began

                async def noting(message: Any) -> None:
                    nonlocal status
                    status = message.get("status", status)
                    if message["type"] == "http.response.body" and not message.get("more_body"):
                        count()
                    await send(message)

                try:
                    await self.app(scope, receive, noting)
                finally:
                    count()

        return Middleware

    def exposition(self) -> str:
        """Return all counts in the text form of Prometheus."""
        lines = ["# TYPE neurohub_requests_total counter", "# TYPE neurohub_request_seconds_total counter"]
        for (path, status), count in sorted(self._requests.items()):
            labels = f'{{environment="{self._environment}",path="{path}",status="{status}"}}'
            lines.append(f"neurohub_requests_total{labels} {count}")
            lines.append(f"neurohub_request_seconds_total{labels} {self._seconds[path, status]:.6f}")
        for name, value in (
            ("queries", Counts.queries),
            ("query_seconds", Counts.seconds),
            ("slow_queries", Counts.slow),
        ):
            lines += [f"# TYPE neurohub_{name}_total counter", f"neurohub_{name}_total {value}"]
        return "\n".join(lines) + "\n"
