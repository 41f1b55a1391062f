"""Cases of Docker and what it runs, told as its programs tell it; tests/integration has a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.adapters.host import LocalHost
from tasks.domain.errors import CommandFailed
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target
from tests.cases import Cases

FILE = "services:\n  api:\n    image: api:1\n    mem_limit: 64m\n"


class DockerHost(LocalHost):
    """This machine, where docker answers from a table by the last of its words."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__()
        self.answers = answers

    def which(self, program: str) -> Path:
        return Path("/usr/bin", program)

    def run(self, command: Command) -> Finished:
        if command.argv[0] != "docker":
            return super().run(command)
        if "engine" in self.answers and not self.answers["engine"]:
            raise CommandFailed("Cannot connect to the Docker daemon", where="docker")
        answer = self.answers.get(command.argv[-1])
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return Finished(0 if answer is not None else 1, text if answer is not None else "", "", 0.01)


def told(**answers: Any) -> dict[str, Any]:
    @contextmanager
    def around(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
        (target.release_dir / "compose.yaml").write_text(FILE)
        yield {}, target.at(world=replace(target.world, host=DockerHost(answers)))

    return {"AROUND": {"with": around}}


def container(status: str = "running", **more: Any) -> dict[str, Any]:
    plain = {"name": "/api", "state": {"Status": status, "ExitCode": 0}, "restarts": 0, "image": "api:1"}
    confined: dict[str, Any] = {
        "security": None,
        "privileged": False,
        "memory": 0,
        "cpu": 0,
        "quota": 0,
        "networks": {"bridge": {}},
    }
    return {**plain, **confined, "log": {"Type": "json-file", "Config": {}}, "ports": {}, "running": True, **more}


STARTING = {"Status": "running", "ExitCode": 0, "Health": {"Status": "starting"}}
IMAGE = {"size": 900_000_000, "id": "sha256:1", "made": "2026-01-01T00:00:00Z", "config": {"User": "app"}}
NETWORK = {"driver": "bridge", "internal": False, "ipam": {"Config": [{"Subnet": "10.0.0.0/24"}]}, "options": {}}
INFO = {"{{json .}}": {"ServerVersion": "28.2.2", "NCPU": 4, "MemTotal": 8_000_000_000}, "version": "28.2.2"}
STATS = {"Name": "api", "MemUsage": "12MiB / 50MiB", "MemPerc": "24.00%", "CPUPerc": "1.50%"}

CASES: Cases = {
    "container": (
        {"containers": ["api"], **told(api=container())},
        {"containers": ["api"], **told(api=container("exited"))},
        {"containers": ["api"], **told(api=container(state=STARTING))},
    ),
    "container_stats": (
        {"containers": ["api"], "memory": "20MB", **told(api=STATS | container())},
        {"containers": ["api"], "memory": "10MB", **told(api=STATS | container())},
        {"containers": ["api"], **told(api=container(running=False))},
    ),
    "image": (
        {"image": "api:1", "size": "1 GB", **told(**{"api:1": IMAGE})},
        {"image": "api:1", "size": "1 MB", **told(**{"api:1": IMAGE})},
        {"image": "api:1", **told(engine=False)},
    ),
    "docker_network": (
        {"network": "net", "subnet": "10.0.0.0/24", **told(net=NETWORK)},
        {"network": "net", "subnet": "10.1.0.0/24", **told(net=NETWORK)},
        {"network": "net", **told(engine=False)},
    ),
    "docker": (
        {"cpus": 2, **told(**INFO)},
        {"cpus": 16, **told(**INFO)},
        {"engine": "tcp://10.0.0.4:2375", **told(engine=False)},
    ),
    "compose_config": (
        {"files": ["compose.yaml"], "limits": ["memory"], **told(version=2, config=FILE)},
        {"files": ["compose.yaml"], "limits": ["cpu"], **told(version=2, config=FILE)},
        {"files": ["compose.yaml"], "compose": "v1", "environment": {"A": "${env:NO_SUCH_VARIABLE}"}, **told()},
    ),
}
