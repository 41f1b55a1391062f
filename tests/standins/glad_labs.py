"""glad-labs, set up with version 1 deployed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from examples.glad_labs import build, data
from tasks.domain.ports import RunningServer
from tests.services import free_port
from tests.systems import System, new_database


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
        }
        system = System.of(home, "glad-labs", server, dsn, variables, changes)
        parts.callback(system.close)
        build.build(home / "versions")
        system.deploy_unsigned("v1")
        yield system
