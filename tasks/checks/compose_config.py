"""What a Compose file comes to, before anything is started by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held, regular
from tasks.domain.docker import Docker, is_latest, not_meant, unset_variables
from tasks.domain.errors import CommandFailed
from tasks.domain.kind import HIDDEN_PLACEHOLDER, Strict
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.ports import Command
from tasks.domain.target import Target

_SECRET = re.compile(rf"\$\{{(env|file|block):|{HIDDEN_PLACEHOLDER}")

Limit = Literal["cpu", "memory"]


class _Variable(Strict):
    """What a variable that a container gets must be; its value is never shown."""

    model_config = ConfigDict(title="Variable", populate_by_name=True)

    min_length: Annotated[int, Field(ge=1)] = 1
    """The least number of characters."""
    pattern: str | None = None
    """A regular expression that the whole value must match."""
    not_: tuple[str, ...] = Field(default=(), alias="not", examples=[["changeme", "dev-secret-key"]])
    """Values that are refused; upper and lower case are one."""

    _pattern = field_validator("pattern")(regular)

    def judge(self, what: str, value: Any) -> Reading:
        """Return whether the value is as it must be, without showing it."""
        text = "" if value is None else str(value)
        if len(text) < self.min_length:
            return failed(f"{what} has {len(text)} characters ≥ {self.min_length}" if text else f"{what} is empty")
        if text.lower() in {refused.lower() for refused in self.not_}:
            return failed(f"{what} is one of the values that are refused")
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            return failed(f"{what} does not match {self.pattern}")
        return passed(f"{what} is set")


class ComposeConfig(Check):
    """Looks whether Compose can read its files, and what the services in them are given and confined to."""

    of_machine: ClassVar[bool] = True

    kind: Literal["compose_config"] = "compose_config"
    """Which kind of check this is."""
    files: Annotated[tuple[str, ...], Field(min_length=1, examples=[["ops/docker-compose.yml"]])]
    """The Compose files, relative to the version's code."""
    profiles: tuple[str, ...] = ()
    """The profiles that are switched on."""
    environment: dict[str, str] = Field(default_factory=dict, examples=[{"JWT_SECRET_KEY": "${env:JWT_SECRET_KEY}"}])
    """Variables for the files; one that has neither a value nor a default in a file fails the check."""
    compose: Literal["v1", "v2"] | None = None
    """Which generation of Compose; by default v2 where it is installed."""
    services: tuple[str, ...] = Field(default=(), examples=[["api", "worker"]])
    """The services that must be there and are looked at; by default all."""
    latest: Literal["allow", "deny"] = "deny"
    """Whether an image may be named without a version, or by the tag latest. Images that are built here may."""
    limits: tuple[Limit, ...] = ()
    """What must be limited."""
    security: tuple[str, ...] = Field(default=(), examples=[["no-new-privileges"]])
    """Security options that each must have. A privileged service fails where any are asked for."""
    healthcheck: bool = False
    """Whether each must declare a check of health."""
    restart: bool = False
    """Whether each must be started again when it ends."""
    log_rotation: bool = False
    """Whether the log of each must be limited, by the option ``max-size`` or the driver ``local``."""
    published: tuple[str, ...] | None = Field(default=None, examples=[["443", "127.0.0.1:8000"]])
    """The ports of the host that they may publish: at any address, or at the one that is named."""
    variables: dict[str, _Variable] = Field(
        default_factory=dict, examples=[{"JWT_SECRET_KEY": {"min_length": 32}, "RATE_LIMIT*": {}}]
    )
    """Variables, with ``*`` for anything, of which at least one service must get one; each that any gets is judged."""

    def look(self, target: Target) -> Reading:
        """Return what is not as it must be; Compose not being installed is unknown."""
        docker = Docker(target.world.host)
        profiles = [word for name in self.profiles for word in ("--profile", name)]
        files = [word for name in self.files for word in ("--file", str(target.release_dir / target.fill(name)))]
        values = {name: target.fill(value) for name, value in self.environment.items()}
        secret = {name for name, value in self.environment.items() if _SECRET.search(value)}
        absent = [name for name in self.files if not target.world.host.exists(target.release_dir / target.fill(name))]
        if absent:
            return failed(f"there is no file {', '.join(absent)}")
        try:
            told = target.world.host.run(
                Command(
                    (*docker.compose(self.compose), *files, *profiles, "config"),
                    cwd=Path(target.release_dir),
                    env={**docker.env, **{name: value for name, value in values.items() if name not in secret}},
                    secret_env={name: value for name, value in values.items() if name in secret},
                    timeout=self.timeout,
                )
            )
        except CommandFailed as error:
            return failed(target.world.secrets.mask(f"Compose cannot read it: {error.seen}"))
        from ruamel.yaml import YAML

        services = (YAML(typ="safe", pure=True).load(StringIO(told.stdout)) or {}).get("services") or {}
        readings = [failed(f"{name} is not set") for name in unset_variables(told)]
        readings += [failed(f"there is no service {name}") for name in self.services if name not in services]
        looked_at = {name: one for name, one in services.items() if name in self.services or not self.services}
        readings.append(held(f"valid, {len(looked_at)} services", looked_at))
        for name, one in looked_at.items():
            readings += self._judge(name, one)
        readings += self._variables(looked_at)
        return all_of(readings, value=len(looked_at), unit="services", detail={"services": sorted(services)})

    def _judge(self, name: str, one: Mapping[str, Any]) -> Iterator[Reading]:
        image = str(one.get("image", ""))
        if self.latest == "deny" and "build" not in one:
            bare = is_latest(image)
            yield held(f"{name}: image {image} {'names no' if bare else 'names a'} version", not bare)
        if self.healthcheck:
            check = one.get("healthcheck") or {}
            declared = bool(check) and not check.get("disable")
            yield held(f"{name} {'declares' if declared else 'lacks'} a check of health", declared)
        if self.restart:
            swarm = (one.get("deploy") or {}).get("restart_policy") or {}
            policy = str(one.get("restart") or swarm.get("condition", "no"))
            yield held(f"{name}: restart {policy}", policy not in {"no", "none", "False"})
        yield from self._confined(name, one)

    def _confined(self, name: str, one: Mapping[str, Any]) -> Iterator[Reading]:
        most = ((one.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        given = {"cpu": one.get("cpus") or most.get("cpus"), "memory": one.get("mem_limit") or most.get("memory")}
        for limit in self.limits:
            yield held(f"{name} has {'a' if given[limit] else 'no'} limit of {limit}", given[limit])
        have = {str(option).removesuffix(":true").removesuffix("=true") for option in one.get("security_opt") or ()}
        for option in self.security:
            is_set = option.removesuffix(":true").removesuffix("=true") in have
            yield held(f"{name} {'has' if is_set else 'lacks'} {option}", is_set)
        if self.security and one.get("privileged"):
            yield failed(f"{name} is privileged")
        if self.log_rotation:
            log = one.get("logging") or {}
            limited = log.get("driver") == "local" or (log.get("options") or {}).get("max-size")
            yield held(f"{name} logs {'within' if limited else 'without'} a limit", limited)
        if self.published is not None:
            extra = not_meant(map(_published, one.get("ports") or ()), self.published)
            yield held(f"{name} publishes {', '.join(extra) or 'no more than it may'}", not extra)

    def _variables(self, services: Mapping[str, Any]) -> Iterator[Reading]:
        for pattern, wanted in self.variables.items():
            found = [
                (f"{name}: {variable}", value)
                for name, one in services.items()
                for variable, value in _given(one).items()
                if fnmatchcase(variable, pattern)
            ]
            yield from (wanted.judge(what, value) for what, value in found)
            if not found:
                yield failed(f"no service gets {pattern}")


def _given(one: Mapping[str, Any]) -> Mapping[str, Any]:
    told = one.get("environment") or {}
    if isinstance(told, list):
        return {name: value for name, _is, value in (str(line).partition("=") for line in told)}
    return dict(told)


def _published(port: Any) -> tuple[str, str]:
    """Return address and port of the host, of the form of v2 or of v1: ``127.0.0.1:8080:80/tcp``."""
    if isinstance(port, Mapping):
        return str(port.get("host_ip") or ""), str(port.get("published") or "any")
    outside, _is, _inside = str(port).partition("/")[0].rpartition(":")
    address, _is, number = outside.rpartition(":")
    return address, number or "any"
