"""Containers as a Docker engine sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.docker import PROJECT, SERVICE, Address, Docker, is_latest, not_meant
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.target import Target

_FORM = (
    '{"name":{{json .Name}},"state":{{json .State}},"restarts":{{.RestartCount}},"image":{{json .Config.Image}},'
    '"security":{{json .HostConfig.SecurityOpt}},"privileged":{{.HostConfig.Privileged}},'
    '"memory":{{.HostConfig.Memory}},"cpu":{{.HostConfig.NanoCpus}},"quota":{{.HostConfig.CpuQuota}},'
    '"log":{{json .HostConfig.LogConfig}},"ports":{{json .NetworkSettings.Ports}},'
    '"networks":{{json .NetworkSettings.Networks}}}'
)
_ROTATING = {"local", "journald", "none", "syslog", "awslogs", "gelf", "fluentd", "splunk", "gcplogs"}
"""The drivers whose logs do not grow without limit on this machine."""

Limit = Literal["cpu", "memory"]


class Container(Check):
    """Looks whether containers run and are healthy, how often they were restarted, and how they are confined."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = "read what it wrote last: docker logs --tail 50 NAME, and how it ended: docker inspect NAME"

    kind: Literal["container"] = "container"
    """Which kind of check this is."""
    containers: tuple[str, ...] = Field(default=(), examples=[["workflow-management-api"]])
    """The names of the containers."""
    services: tuple[str, ...] = Field(default=(), examples=[["api", "worker"]])
    """Or the services of a Compose project, each with at least one container; ``project`` is needed then."""
    project: str | None = None
    """The Compose project of the services."""
    engine: Address = ""
    """The address of the Docker engine; by default that which ``docker`` uses."""
    state: Literal["running", "exited"] = "running"
    """The state that is right; ``exited`` also asks for exit code 0."""
    healthcheck: bool = False
    """Whether a check of health must be declared; where there is one, it must say healthy in any case."""
    restarts: Annotated[int, Field(ge=0)] = 0
    """The most that the engine may have started it again."""
    image: str | None = Field(default=None, examples=["workflow-api:{version}"])
    """The image that it must run, by the name that it was made with."""
    latest: Literal["allow", "deny"] = "allow"
    """Whether its image may be named without a version, or by the tag latest."""
    security: tuple[str, ...] = Field(default=(), examples=[["no-new-privileges"]])
    """Security options that it must have. A privileged container fails where any are asked for."""
    limits: tuple[Limit, ...] = ()
    """What must be limited."""
    log_rotation: bool = False
    """Whether its log must be kept from growing without limit."""
    published: tuple[str, ...] | None = Field(default=None, examples=[["443", "127.0.0.1:8000"]])
    """The ports of the host that it may publish: at any address, or at the one that is named."""
    networks: tuple[str, ...] = Field(default=(), examples=[["ordinaut-network"]])
    """The networks that it must be in."""

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if not self.containers and not self.services:
            raise ValueError("containers or services is needed")
        if self.services and not self.project:
            raise ValueError("services need their project")
        return self

    def look(self, target: Target) -> Reading:
        """Return which containers are missing or not as they must be; one that is just starting is unknown."""
        docker = Docker(target.world.host, self.engine)
        readings: list[Reading] = []
        names = []
        for name in map(target.fill, self.containers):
            readings += [] if docker.inspect("container", [name], _FORM) else [failed(f"there is no container {name}")]
            names.append(name)
        for service in self.services:
            found = self._of_service(docker, service)
            readings += [] if found else [failed(f"service {service} has no container")]
            names += found
        seen = docker.inspect("container", names, _FORM) if names else []
        for one in seen:
            readings += self._judge(target, one)
        states = {one["name"].strip("/"): one["state"]["Status"] for one in seen}
        images = {one["name"].strip("/"): one["image"] for one in seen}
        return all_of(readings, value=len(seen), unit="containers", detail={"states": states, "images": images})

    def _of_service(self, docker: Docker, service: str) -> list[str]:
        labels = (f"{PROJECT}={self.project}", f"{SERVICE}={service}", "com.docker.compose.oneoff=False")
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        return docker.run("ps", "--all", "--quiet", "--no-trunc", *filters).stdout.split()

    def _judge(self, target: Target, one: Mapping[str, Any]) -> list[Reading]:
        name, state = one["name"].strip("/"), one["state"]
        readings = [self._state(name, state), *self._health(target, name, state)]
        count = one["restarts"]
        readings.append(held(f"{name} restarted {count} times ≤ {self.restarts}", count <= self.restarts))
        if state.get("OOMKilled"):
            readings.append(failed(f"{name} ran out of memory"))
        if self.image is not None:
            wanted = target.fill(self.image)
            readings.append(held(f"{name} runs {one['image']} = {wanted}", one["image"] == wanted))
        if self.latest == "deny":
            readings.append(held(f"{name} runs {one['image']}, which names a version", not is_latest(one["image"])))
        return readings + self._confined(name, one)

    def _state(self, name: str, state: Mapping[str, Any]) -> Reading:
        seen = state["Status"]
        if self.state == "exited":
            code = state["ExitCode"]
            return held(f"{name} is {seen}, exit code {code} = exited, exit code 0", (seen, code) == ("exited", 0))
        if seen in {"created", "restarting"}:
            ended = seen == "restarting" and state["ExitCode"]
            return failed(f"{name} restarts, exit code {ended}") if ended else unknown(f"{name} is {seen}")
        return held(f"{name} is {seen} = {self.state}", seen == self.state)

    def _health(self, target: Target, name: str, state: Mapping[str, Any]) -> list[Reading]:
        health = state.get("Health") or {}
        status = health.get("Status", "none")
        if status == "none":
            return [failed(f"{name} declares no check of health")] if self.healthcheck else []
        if status == "starting":
            return [unknown(f"{name} is starting")]
        said = str((health.get("Log") or [{}])[-1].get("Output", "")).strip()
        words = target.world.secrets.mask(f": {said[-200:]}" if said and status != "healthy" else "")
        return [held(f"{name} is {status} = healthy{words}", status == "healthy")] if self.state == "running" else []

    def _confined(self, name: str, one: Mapping[str, Any]) -> list[Reading]:
        readings = []
        have = {option.removesuffix(":true").removesuffix("=true") for option in one["security"] or ()}
        for option in self.security:
            is_set = option.removesuffix(":true").removesuffix("=true") in have
            readings.append(held(f"{name} {'has' if is_set else 'lacks'} {option}", is_set))
        if self.security and one["privileged"]:
            readings.append(failed(f"{name} is privileged"))
        given = {"memory": one["memory"], "cpu": one["cpu"] or one["quota"]}
        for limit in self.limits:
            is_set = given[limit] > 0
            readings.append(held(f"{name} has {'a' if is_set else 'no'} limit of {limit}", is_set))
        if self.log_rotation:
            driver, options = one["log"]["Type"], one["log"]["Config"] or {}
            rotates = driver in _ROTATING or bool(options.get("max-size"))
            readings.append(held(f"{name} logs by {driver}, {'limited' if rotates else 'without limit'}", rotates))
        if self.published is not None:
            readings.append(self._open(name, one, self.published))
        missing = [network for network in self.networks if network not in (one["networks"] or {})]
        return readings + [Reading(Outcome.FAILED, f"{name} is not in network {network}") for network in missing]

    @staticmethod
    def _open(name: str, one: Mapping[str, Any], meant: tuple[str, ...]) -> Reading:
        if "host" in (one["networks"] or {}):
            return unknown(f"{name} is in the host's own network, where all its ports are open")
        ports = [(at["HostIp"], at["HostPort"]) for bound in (one["ports"] or {}).values() for at in bound or ()]
        extra = not_meant(ports, meant)
        return held(f"{name} publishes {', '.join(extra) or 'no more than it may'}", not extra)
