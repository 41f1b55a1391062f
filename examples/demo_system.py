"""The system of the demo: glad-labs' own release file, moved to free ports and to a day that lasts seconds."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

from examples.demo_screen import free_port
from examples.glad_labs import data
from examples.glad_labs.build import build
from tasks.adapters.pg_server import EmbeddedServer

RELEASE_FILE = Path(__file__).parent.parent / "deployments" / "systems" / "glad-labs" / "release.yaml"
TASKS, EVENTS = 20_000, 100_000
HEALTHY_FOR = 10
"""Seconds for which v3 answers well after its first request."""


@dataclass
class DemoSystem:
    """glad-labs as the demo runs it; ``environment`` holds what its release file refers to."""

    home: Path
    base_url: str
    token: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def make(cls, home: Path, production: EmbeddedServer, slack_url: str, slack_token: str, hour: float) -> DemoSystem:
        """Build the versions, fill production's database and write the release file."""
        production.ensure_running()
        dsn = production.dsn("glad_labs")
        data.create(dsn, tasks=TASKS, events=EVENTS)
        versions = home / "versions"
        versions.mkdir(parents=True)
        build(versions)
        token = f"demo.{secrets.token_hex(12)}"
        port = free_port()
        system = cls(
            home,
            f"http://127.0.0.1:{port}",
            token,
            {
                "GLAD_LABS_DSN": dsn,
                "GLAD_LABS_TOKEN": token,
                "GLAD_LABS_VERSIONS": str(versions),
                "GLAD_LABS_SLACK_TOKEN": slack_token,
            },
        )
        directory = home / "systems" / "glad-labs"
        directory.mkdir(parents=True)
        (directory / "release.yaml").write_text(system._release_file(port, slack_url, hour))
        shutil.copy(RELEASE_FILE.with_name("checklist.csv"), directory)
        return system

    def _release_file(self, port: int, slack_url: str, hour: float) -> str:
        yaml = YAML()
        file: Any = yaml.load(RELEASE_FILE.read_text())
        file["base_url"] = self.base_url
        file["router"]["listen"] = port
        file["rollout"]["ports"] = [free_port(), free_port()]
        file["rollout"]["drain"] = "500ms"
        file["platform"]["processes"]["api"]["environment"]["GLAD_V3_HEALTHY_FOR"] = str(HEALTHY_FOR)
        file["watch"] = {
            "every": f"{hour}s",
            "for": f"{24 * hour}s",
            "probe": {"every": f"{hour * 150:g}ms", "check": "API answers"},
            # Of so few probes, with so little time each, two may be late on a busy machine.
            "success": {"errors": "5%"},
            "traffic": {"kind": "router", "every": f"{hour * 300:g}ms"},
            "at": {f"{after * hour}s": file["watch"]["at"][f"{after}h"] for after in (1, 24)},
            "then": [
                {**file["watch"]["then"][number], "every": f"{days * 24 * hour}s", "for": f"{total * 24 * hour}s"}
                for number, days, total in ((0, 1, 7), (1, 7, 28))
            ],
        }
        file["rollback"]["when"][0]["for"] = f"{3 * hour}s"
        file["rollback"]["when"][1]["for"] = f"{7 * hour}s"
        # Service, clients, servers and golive share this machine here, so an absolute limit of latency says little.
        for check in (*file["checks"]["health"], *file["checks"]["watch"]):
            if check["kind"] == "load":
                check.update({limit: "1s" for limit in ("p50", "p95") if limit in check})
            elif check["kind"] == "baseline":
                check["floor"] = "500ms"
            elif "MEDIAN_MS" in check.get("environment", {}):
                check["environment"]["MEDIAN_MS"] = "1000"
        # The demo runs to its end by itself, so nobody signs.
        file["sign_off"]["go"] = []
        signed = file["checklist"].pop("signed")
        vouched = sorted({row for rows in signed.values() for row in rows})
        file["checklist"]["waived"].append({"rows": vouched, "because": "nobody signs in the demo"})
        file["notify"] = [
            {"kind": "slack", "token": "${env:GLAD_LABS_SLACK_TOKEN}", "channel": "ops", "base_url": slack_url}
        ]
        out = io.StringIO()
        yaml.dump(file, out)
        return out.getvalue()

    def serving_version(self) -> str:
        """Return the version that answers to clients."""
        answer = httpx.get(f"{self.base_url}/health", timeout=5.0, trust_env=False)
        return str(answer.headers.get("x-version", "none"))

    @staticmethod
    def end_guard(home: Path) -> None:
        """Wait for the guard to end by itself, since nothing is under watch any more, and else end its process."""
        from tasks.guard import PID_FILE

        record = home / PID_FILE
        if not record.exists():
            return
        pid, deadline = int(record.read_text()), time.monotonic() + 15
        while _is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _is_alive(pid):
            os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """End the processes and the router that golive runs for the system."""
        from tasks.context import production, world
        from tasks.settings import Settings
        from tasks.spec.loading import load

        file = load(self.home / "systems" / "glad-labs" / "release.yaml")
        target = production(file, Settings.from_environment(), world(), "v2")
        file.platform.close(target)
        if file.router is not None:
            file.router.close(target)


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; the thread that waits for a child collects it as soon as it has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
