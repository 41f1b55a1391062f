"""glad-labs, set up with version 1 deployed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from examples.glad_labs import build, data
from tasks.domain.ports import RunningServer
from tests.services import free_port
from tests.systems import SYSTEMS, System, new_database


def _patient() -> dict[str, list[dict[str, Any]]]:
    """Return the checks of the release file with wide limits of time, since tests share their machine."""
    file = YAML(typ="safe").load((SYSTEMS / "glad-labs" / "release.yaml").read_text(encoding="utf-8"))
    checks: dict[str, list[dict[str, Any]]] = file["checks"]
    for check in (check for phase in checks.values() for check in phase):
        check.update({limit: "10s" for limit in ("p50", "p95", "within", "floor") if limit in check})
        if check["kind"] == "baseline":
            check["floor"] = "10s"
        if "MEDIAN_MS" in check.get("environment", {}):
            check["environment"]["MEDIAN_MS"] = "10000"
    return checks


@contextmanager
def stand_in(server: RunningServer, *, tasks: int = 2_000) -> Iterator[System]:
    """Set the system up behind its router on free ports, and end it after the block."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    with ExitStack() as parts:
        parts.callback(shutil.rmtree, home, ignore_errors=True)
        dsn, listen = new_database(server, "glad_labs_*"), free_port()
        data.create(dsn, tasks=tasks, events=5 * tasks)
        variables = {
            "GLAD_LABS_DSN": dsn,
            "GLAD_LABS_TOKEN": "ann.secret-of-a-test",
            "GLAD_LABS_VERSIONS": str(home / "versions"),
        }
        changes = {
            "base_url": f"http://127.0.0.1:{listen}",
            "router.listen": listen,
            "rollout.ports": [free_port(), free_port()],
            "checks": _patient(),
        }
        system = System.of(home, "glad-labs", server, dsn, variables, changes)
        parts.callback(system.close)
        build.build(home / "versions")
        system.deploy_unsigned("v1")
        yield system
