"""What a release file says of systemd's units, and the texts that follow from it for one slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.domain.errors import ToolMissing, UserError
from tasks.domain.kind import Duration, Strict, no_secret_in
from tasks.domain.target import Target
from tasks.platforms._process import Environment, Process, Role
from tasks.platforms._unit_text import command_line, environment_file, literal, one_line, sections

_OWN = {
    "Environment", "EnvironmentFile", "ExecStart", "KillMode", "StandardError", "StandardOutput", "TimeoutStopSec",
    "User", "WorkingDirectory",
}  # fmt: skip


def _not_golives(key: str) -> str:
    if key in _OWN:
        raise ValueError(f"{key} is golive's to write; use the field for it")
    return key


def _plain(value: str) -> str:
    try:
        one_line(value, "a setting")
    except UserError as error:
        raise ValueError(str(error)) from error
    return no_secret_in((value,))[0]


_Key = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$"), AfterValidator(_not_golives)]
_Value = Annotated[str, AfterValidator(_plain)]
Settings = dict[_Key, _Value | tuple[_Value, ...]]
"""Further settings of a unit's section ``[Service]``, as systemd writes them; several values stand there as often."""


class Unit(Process):
    """One program of the system, run by a unit that golive writes."""

    user: Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_-]*)?$")] = ""
    """The user that it runs as, by default the one of the manager; that user must be able to reach its code."""
    settings: Settings = Field(default_factory=dict)
    """Further settings of ``[Service]``, as in ``{MemoryMax: 1G, LimitNOFILE: "65536"}``; no secrets."""


class Template(Strict):
    """One program of the system, run by a template unit that is there already."""

    template: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+@\.service$", examples=["myapp@.service"])]
    """The template's name, as in ``myapp@.service``. It needs an ``[Install]`` to come up after a reboot."""
    instance: Literal["slot", "port"] = "slot"
    """What the instance is called: by the slot, as in ``myapp@blue``, or by the port, as in ``myapp@8001``."""
    link: str = ""
    """A symbolic link that is made to lead to the code, as in ``/srv/myapp/{slot}``, for the template to use."""
    environment: Environment = Field(default_factory=dict)
    """Environment variables; values may hold ``{dsn}``, ``{port}`` and references to secrets."""
    stop_wait: Duration | None = None
    """How long it may take to end after SIGTERM before it is killed; by default what the template says."""
    role: Role = "web"
    """``background`` for workers and schedulers, which run for one version at a time; ``web`` for what answers requests
    and runs for both versions at a switch."""
    settings: Settings = Field(default_factory=dict)
    """Further settings of ``[Service]`` that are put over the template's; no secrets."""


@dataclass(frozen=True)
class Plan:
    """What a slot consists of: its units by their role, their texts, and the files, logs and links beside them."""

    units: dict[Role, list[str]] = field(default_factory=lambda: {"web": [], "background": []})
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)
    links: dict[Path, Path] = field(default_factory=dict)


def plan_of(
    processes: Mapping[str, Unit | Template], at: Target, home: Path, *, wanted_by: str, log_to_file: bool
) -> Plan:
    """Return what a target's slot consists of; environments, and logs if they are files, lie in ``home``."""
    plan = Plan()
    for name, process in processes.items():
        variables = home / "environment" / f"{at.slot}-{name}"
        plan.files[variables] = environment_file({key: at.fill(value) for key, value in process.environment.items()})
        unit = _name_of(process, name, at)
        plan.units[process.role].append(unit)
        service: dict[str, str | tuple[str, ...]] = {"EnvironmentFile": literal(str(variables), "a path")}
        if process.stop_wait is not None:
            service["TimeoutStopSec"] = f"{max(1, round(process.stop_wait))}s"
        if log_to_file:
            plan.logs.append(log_file(home, unit))
            service |= {"StandardOutput": f"append:{literal(str(plan.logs[-1]), 'a path')}", "StandardError": "inherit"}
        own = {key: _filled(at, value) for key, value in process.settings.items()}
        if isinstance(process, Unit):
            plan.texts[unit] = sections(
                Unit={
                    "Description": literal(f"{at.system} {at.version}: {name} in {at.slot}", "a description"),
                    "After": "network.target",
                    "StartLimitIntervalSec": "0",
                },
                Service=service | _service(process, at) | own,
                Install={"WantedBy": wanted_by},
            )
        else:
            plan.texts[f"{unit}.d/golive.conf"] = sections(Service=service | own)
            if process.link:
                plan.links[Path(at.fill(process.link))] = at.release_dir
    return plan


def log_file(home: Path, unit: str) -> Path:
    """Return where a unit's output goes if it goes to a file."""
    return home / "log" / f"{unit.removesuffix('.service')}.log"


def _name_of(process: Unit | Template, name: str, at: Target) -> str:
    if isinstance(process, Unit):
        return f"{at.system}-{at.slot}-{name}.service"
    return process.template.replace("@.", f"@{at.slot if process.instance == 'slot' else at.port}.")


def _service(process: Unit, at: Target) -> dict[str, str | tuple[str, ...]]:
    """Return how a process is run and kept running."""
    directory = at.fill(process.directory)
    service: dict[str, str | tuple[str, ...]] = {
        "Type": "exec",
        "ExecStart": _exec_start(process, at, directory),
        "WorkingDirectory": literal(directory, "a directory"),
        "Restart": "always",
        "RestartSec": "1s",
        "KillMode": "mixed",
    }
    return service | ({"User": process.user} if process.user else {})


def _exec_start(process: Unit, at: Target, directory: str) -> str:
    program, *arguments = [at.fill(word) for word in process.command]
    if "/" in program:
        return command_line(str(Path(directory) / program), arguments)
    found = at.world.host.which(program)
    if found is None:
        raise ToolMissing(f"{program} is not installed", where=at.world.host.name, do="install it, or give its path")
    return command_line(str(found), arguments)


def _filled(at: Target, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return one_line(at.fill(value), "a setting")
    return tuple(one_line(at.fill(one), "a setting") for one in value)
