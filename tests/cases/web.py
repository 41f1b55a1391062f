"""Cases of what is asked over HTTP."""

from __future__ import annotations

from typing import Any

from tests.cases import SILENT, Cases


def step(path: str, **expect: Any) -> dict[str, Any]:
    return {"request": {"url": path}, "expect": expect}


CASES: Cases = {
    "http": ({"url": "{base_url}/health"}, {"url": "{base_url}/error"}, {"url": SILENT}),
    "scenario": (
        {"steps": [step("{base_url}/health", json={"status": "ok"})]},
        {"steps": [step("{base_url}/health", status=404)]},
        {"steps": [step(SILENT)]},
    ),
    "load": (
        {"url": "{base_url}/health", "requests": 20, "p95": "5s"},
        {"url": "{base_url}/error", "requests": 20},
        {"url": SILENT, "requests": 10},
    ),
    "baseline": (
        {"url": "{base_url}/health", "AROUND": {"before": 1.0}},
        {"url": "{base_url}/health", "floor": "0s", "AROUND": {"before": 1e-6}},
        {"url": "{base_url}/health"},
    ),
}
