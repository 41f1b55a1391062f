"""A Docker engine as the command ``docker`` reaches it: containers, by the exact labels that Compose gives them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tasks.domain.docker import ASK, PROJECT, SERVICE, Docker
from tasks.domain.errors import CommandFailed, OutsideError
from tasks.domain.ports import Clock

_STEADY = 1.0
_SETTLED = timedelta(seconds=10)  # after so long the engine itself no longer counts a restart as part of a loop
# Never the whole of it: it holds the environment, and a failing command shows the last of what it wrote.
_FIELDS = (
    '{"id":{{json .Id}},"state":{{json .State}},"restarts":{{.RestartCount}},'
    f'"service":{{{{json (index .Config.Labels "{SERVICE}")}}}},"policy":{{{{json .HostConfig.RestartPolicy}}}}}}'
)


@dataclass(frozen=True)
class Container:
    """A container as the engine sees it; ``health`` is empty where its image and service declare no check."""

    id: str
    service: str
    state: str
    health: str
    exit_code: int
    restarts: int
    started: str
    error: str
    policy: str
    complaint: str = field(repr=False)

    @property
    def running(self) -> bool:
        """Whether it runs and is not between two starts."""
        return self.state == "running"

    @property
    def ready(self) -> bool:
        """Whether it runs and is healthy, if a check of its health is declared."""
        return self.running and self.health in {"", "healthy"}

    def crashed(self, now: datetime) -> bool:
        """Tell whether it has ended, is unhealthy, or was started again so shortly ago that it may be in a loop."""
        ended = self.state not in {"running", "created"} or bool(self.error)
        return ended or self.health == "unhealthy" or self.restarted_lately(now)

    def restarted_lately(self, now: datetime) -> bool:
        """Tell whether the engine has started it again, and not long ago."""
        at = datetime.fromisoformat(f"{self.started[:19]}+00:00")
        return self.restarts > 0 and now - at < _SETTLED

    def words(self) -> str:
        """Return its state for a person: ``running, healthy``, ``restarting, exit code 3, restarted 4 times``."""
        said = [self.state, self.health]
        if self.state in {"exited", "restarting", "dead"} or self.error:
            said.append(f"exit code {self.exit_code}")
        if self.restarts:
            said.append(f"restarted {self.restarts} times")
        return ", ".join(part for part in (*said, self.error) if part)


@dataclass(frozen=True)
class Engine(Docker):
    """The containers of an engine."""

    def containers(self, project: str, services: Iterable[str]) -> Sequence[Container]:
        """Return the containers of these services of a Compose project, without those of one-off commands."""
        labels = (f"{PROJECT}={project}", "com.docker.compose.oneoff=False")
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        ids = self.run("ps", "--all", "--quiet", "--no-trunc", *filters).stdout.split()
        if not ids:
            return ()
        # One that goes away in between makes the exit code 1; the others are told all the same.
        told = self.run("inspect", "--type", "container", "--format", _FIELDS, *ids, ok_exit=(0, 1)).stdout
        found = (_container(json.loads(line)) for line in told.splitlines() if line)
        wanted = set(services)
        return sorted((one for one in found if one.service in wanted), key=lambda one: (one.service, one.id))

    def wait(self, project: str, services: Iterable[str], clock: Clock, within: float) -> Sequence[Container] | None:
        """Wait until all containers of the services are healthy, or have run for a second where they cannot tell.

        Returns those containers if one of them crashed or the time is over, None if all is well.
        """
        wanted, until = set(services), clock.monotonic() + within
        first: dict[tuple[str, str], float] = {}
        while True:
            found, now = self.containers(project, wanted), clock.monotonic()
            since = {one.id: first.setdefault((one.id, one.started), now) for one in found if one.ready}
            steady = {one.service for one in found if one.health or now - since.get(one.id, now) >= _STEADY}
            if steady == wanted and all(one.ready for one in found):
                return None
            if any(one.crashed(clock.now()) for one in found) or now > until:
                return found
            clock.sleep(0.2)

    def halt(self, containers: Sequence[Container], wait: float) -> None:
        """Stop containers by SIGTERM and after ``wait`` seconds by SIGKILL; no restart of the engine starts them."""
        ids = [one.id for one in containers]
        if not ids:
            return
        forget = ("update", "--restart", "no", *ids)
        try:
            self.run(*forget)
            forgotten = True
        except CommandFailed:
            # The engine refuses it for one that has just ended and is about to be started again; then after the stop.
            forgotten = False
        self.run("stop", "-t", str(round(wait)), *ids, timeout=ASK + len(ids) * (wait + 5.0))
        if not forgotten:
            self.run(*forget)

    def release(self, containers: Sequence[Container], policies: Mapping[str, str]) -> None:
        """Start containers that were halted, each with its service's restart policy again."""
        for one in containers:
            self.run("update", "--restart", policies.get(one.service, "no"), one.id)
        self.start([one for one in containers if not one.running])

    def start(self, containers: Sequence[Container]) -> None:
        """Start containers that were made."""
        if containers:
            self.run("start", *(one.id for one in containers), timeout=2 * ASK)

    def remove(self, project: str, containers: Sequence[Container]) -> None:
        """Remove containers, and the project's networks once nothing is attached to them."""
        if containers:
            self.run("rm", "--force", *(one.id for one in containers), timeout=2 * ASK)
        networks = self.run("network", "ls", "--quiet", "--filter", f"label={PROJECT}={project}").stdout.split()
        if networks:
            self.run("network", "rm", *networks, ok_exit=(0, 1))

    def log(self, container: Container, lines: int) -> Sequence[str]:
        """Return the last lines that a container wrote; what stands in the way of reading them is a line too."""
        try:
            done = self.run("logs", "--tail", str(lines), container.id)
        except OutsideError as error:
            return (f"(its log cannot be read: {error.seen})",)
        return (done.stdout + done.stderr).splitlines()[-lines:]


def _container(told: Mapping[str, Any]) -> Container:
    state, policy = told["state"], told["policy"]
    health = state.get("Health") or {}
    checks = health.get("Log") or [{}]
    retries = policy.get("MaximumRetryCount") or 0
    return Container(
        id=told["id"],
        service=told["service"],
        state=state["Status"],
        health="" if health.get("Status", "none") == "none" else health["Status"],
        exit_code=int(state["ExitCode"]),
        restarts=int(told["restarts"]),
        started=state["StartedAt"],
        error=state["Error"],
        policy=(policy.get("Name") or "no") + (f":{retries}" if retries else ""),
        complaint=str(checks[-1].get("Output", "")).strip(),
    )
