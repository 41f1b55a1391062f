"""The platform supervisor."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from tasks.domain.errors import CommandFailed, OutsideError, RolloutFailed, ToolMissing
from tasks.domain.kind import Duration
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.platforms import Instance, Platform, Running, Status
from tasks.platforms._process import Name, Process
from tasks.platforms._slots import Slots, digest, plain_path
from tasks.platforms._supervisord import COMING, RUNS, Supervisord

_LONGEST_SOCKET = 90  # Linux allows 107 bytes; supervisord first binds a name with its process id appended.


class Supervisor(Platform):
    """Runs a system's processes under a supervisord of its own, which outlives golive and restarts what ends.

    A process is started by a small shell script that sets its environment and becomes the program, because
    supervisor's own ``environment=`` cannot express every value. After a reboot the next start brings supervisord up
    again with all that ran; ``supervisord -c {root}/supervisor/supervisord.conf`` at boot does so earlier.
    """

    kind: Literal["supervisor"] = "supervisor"
    """Which kind of platform this is."""
    processes: Annotated[dict[Name, Process], Field(min_length=1)]
    """The programs of the system by name."""
    directory: str = "{root}/supervisor"
    """Where supervisord keeps its configuration, its socket and the logs."""
    start_within: Duration = 15.0
    """How long the processes may take until supervisor calls them running, which is one second after their start."""
    slots_at_once: ClassVar[bool] = True
    _starting: Lock = PrivateAttr(default_factory=Lock)

    def start(self, target: Target, instance: Instance) -> None:
        """Run the instance in its slot; what else ran there is stopped first."""
        host, home = target.world.host, self._home(target)
        with self._starting:
            self._ensure_daemon(target, home)
        files = self._render(target, home, instance)
        meta = {"version": instance.version, "port": instance.port, "hash": digest(files)}
        slots = Slots(host, home)
        if slots.read(instance.slot) != meta:
            self.stop(target, instance.slot)
            for path, text in files.items():
                host.write(path, text)
            slots.write(instance.slot, meta)
        self._run_group(target, home, instance.slot, instance.slot)
        if instance.background:
            self.background(target, instance.slot, run=True)

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        """Start or stop the slot's background processes."""
        home, group = self._home(target), f"{slot}-background"
        if run and target.world.host.exists(home / "slots" / f"{group}.ready"):
            self._run_group(target, home, slot, group)
        elif not run:
            self._end_groups(target, home, [group])

    def stop(self, target: Target, slot: str) -> None:
        """Stop the slot's processes by SIGTERM and after their ``stop_wait`` by SIGKILL, and forget its files."""
        home = self._home(target)
        self._end_groups(target, home, _groups(slot))
        mine = re.compile(rf"{re.escape(slot)}(-background)?(\.json|\.ready|--.*\.sh)")
        self._remove(
            target, *(home / "slots" / name for name in target.world.host.list(home / "slots") if mine.fullmatch(name))
        )

    def status(self, target: Target, slot: str) -> Status:
        """Return what supervisor says of the slot's processes, with the version and port that were started there."""
        home = self._home(target)
        known = Slots(target.world.host, home).read(slot)
        version, port = str(known.get("version", "")), int(known.get("port", 0))
        if not known:
            return Status(Running.DOWN)
        try:
            states = self._daemon(target, home).states(_groups(slot))
        except OutsideError as error:
            return Status(Running.UNKNOWN, version, port, {"supervisor": error.seen})
        if not states or set(states.values()) - {RUNS, COMING}:
            running = Running.DOWN
        else:
            running = Running.STARTING if COMING in states.values() else Running.UP
        return Status(running, version, port, states)

    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:
        """Return the last lines of each of the slot's processes, secrets masked."""
        home, found = self._home(target), []
        for name in self.processes:
            path = home / "log" / f"{slot}-{name}.log"
            if target.world.host.exists(path):
                tail = target.world.host.run(Command(("tail", "-n", str(lines), "--", str(path)), timeout=10.0)).stdout
                found += [f"{name}: {target.world.secrets.mask(line)}" for line in tail.splitlines()]
        return found

    def close(self, target: Target) -> None:
        """Stop all slots and end supervisord."""
        home, clock = self._home(target), target.world.clock
        if not self._running_daemon(target, home):
            return
        self._daemon(target, home).shut_down()
        until = clock.monotonic() + self._patience()
        while self._running_daemon(target, home) and clock.monotonic() < until:
            clock.sleep(0.2)
        if short := target.world.host.read(home / "socket"):
            self._remove(target, Path(short).parent, home / "socket")

    def _home(self, target: Target) -> Path:
        return plain_path(target.fill(self.directory), "supervisor's directory")

    def _patience(self) -> float:
        return 20.0 + max(float(process.stop_wait) for process in self.processes.values())

    def _render(self, target: Target, home: Path, instance: Instance) -> Mapping[Path, str]:
        """Return the slot's files: a script for each process, and a configuration for each of the two groups."""
        at = target.at(port=instance.port, dsn=instance.dsn, version=instance.version, release_dir=instance.release_dir)
        files: dict[Path, str] = {}
        for role, group in (("web", instance.slot), ("background", f"{instance.slot}-background")):
            sections, programs = [], []
            for name, process in self.processes.items():
                if process.role == role:
                    script = _script(process, at)
                    mark = hashlib.sha256(script.encode()).hexdigest()[:12]
                    path = home / "slots" / f"{group}--{name}-{mark}.sh"
                    files[path] = script
                    programs.append(f"{instance.slot}-{name}")
                    sections.append(_program(programs[-1], path, home / "log", process.stop_wait))
            if programs:
                sections.append(f"[group:{group}]\nprograms={','.join(programs)}\n")
                files[home / "slots" / f"{group}.ready"] = "\n".join(sections)
        return files

    def _run_group(self, target: Target, home: Path, slot: str, group: str) -> None:
        """Let supervisord know the group and wait until all its processes run."""
        host = target.world.host
        text = host.read(home / "slots" / f"{group}.ready")
        if text is None:
            return
        host.write(home / "slots" / f"{group}.conf", text)
        states = self._daemon(target, home).run(group, self.start_within)
        if set(states.values()) == {RUNS}:
            return
        lines = "\n".join(self.log(target, slot, 20))
        self._end_groups(target, home, [group])
        raise RolloutFailed(
            ", ".join(f"{name} is {state}" for name, state in states.items()) or "supervisor does not know it",
            expected=f"RUNNING within {self.start_within:g} s",
            where=f"supervisor, {group}",
            do=f"read what it wrote last:\n{lines}",
        )

    def _end_groups(self, target: Target, home: Path, groups: Sequence[str]) -> None:
        """Stop groups and let supervisord forget them; one that does not run has nothing to stop."""
        confs = [home / "slots" / f"{group}.conf" for group in groups]
        if not any(target.world.host.exists(path) for conf in confs for path in (conf, conf.with_suffix(".ready"))):
            return
        # It must not find them again if it is started anew before they are stopped.
        self._remove(target, *confs)
        try:
            self._daemon(target, home).end(groups)
        except CommandFailed:
            if self._running_daemon(target, home):
                raise

    def _remove(self, target: Target, *paths: Path) -> None:
        for path in paths:
            target.world.host.remove_tree(path)

    def _running_daemon(self, target: Target, home: Path) -> bool:
        if not target.world.host.exists(home / "supervisord.conf"):
            return False
        try:
            self._daemon(target, home).states(())
        except CommandFailed:
            return False
        return True

    def _daemon(self, target: Target, home: Path) -> Supervisord:
        return Supervisord(target.world.host, self._known_socket(target, home), self._patience())

    def _ensure_daemon(self, target: Target, home: Path) -> None:
        if self._running_daemon(target, home):
            return
        host, clock = target.world.host, target.world.clock
        for name in ("slots/.keep", "log/.keep", "supervisord.log"):
            if not host.exists(home / name):
                host.write(home / name, "")  # supervisord makes no directories, and opens its log to all readers
        host.write(home / "supervisord.conf", _daemon(home, self._socket(target, home)))
        host.run(Command((_tool(target, "supervisord"), "-c", str(home / "supervisord.conf")), timeout=20.0))
        until = clock.monotonic() + 10.0
        while not self._running_daemon(target, home):
            if clock.monotonic() > until:
                raise RolloutFailed(
                    "supervisord does not answer",
                    expected="an answer within 10 s",
                    where=str(home),
                    do="read supervisord.log there",
                )
            clock.sleep(0.1)

    def _socket(self, target: Target, home: Path) -> str:
        """Return the control socket's path: beside the configuration, or in a short private directory on record."""
        host, known = target.world.host, self._known_socket(target, home)
        if known == str(home / "sock") or (known and host.exists(Path(known).parent)):
            return known
        made = host.run(Command(("mktemp", "-d", "-t", "golive-XXXXXXXX"), timeout=10.0)).stdout.strip()
        host.write(home / "socket", f"{made}/sock")
        return f"{made}/sock"

    def _known_socket(self, target: Target, home: Path) -> str:
        """Return the control socket's path if it was chosen already, else an empty text."""
        if len(str(home / "sock").encode()) <= _LONGEST_SOCKET:
            return str(home / "sock")
        return (target.world.host.read(home / "socket") or "").strip()


def _tool(target: Target, name: str) -> str:
    found = target.world.host.which(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed", do="install Python 3 and supervisor there")
    return str(found)


def _groups(slot: str) -> tuple[str, str]:
    return f"{slot}-background", slot


def _script(process: Process, at: Target) -> str:
    lines = ["#!/bin/sh"]
    lines += [f"export {name}={shlex.quote(at.fill(value))}" for name, value in sorted(process.environment.items())]
    lines.append(f"cd {shlex.quote(at.fill(process.directory))} || exit 126")
    lines.append("exec " + shlex.join(at.fill(part) for part in process.command))
    return "\n".join(lines) + "\n"


def _program(name: str, script: Path, log: Path, stop_wait: float) -> str:
    return f"""[program:{name}]
command=/bin/sh "{script}"
autostart=true
autorestart=true
startsecs=1
startretries=30
stopsignal=TERM
stopwaitsecs={max(1, round(stop_wait))}
stopasgroup=true
killasgroup=true
umask=022
redirect_stderr=true
stdout_logfile={log / name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=3
"""


def _daemon(home: Path, socket: str) -> str:
    return f"""[supervisord]
logfile={home}/supervisord.log
logfile_maxbytes=5MB
pidfile={home}/supervisord.pid
childlogdir={home}/log
umask=077
[unix_http_server]
file={socket}
chmod=0600
[supervisorctl]
serverurl=unix://{socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = slots/*.conf
"""
