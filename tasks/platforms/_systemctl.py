"""systemd as its own programs tell of it: the system's manager, or a user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.errors import RolloutFailed, ToolMissing
from tasks.domain.ports import Command, Finished, Host
from tasks.platforms import Running

_TIMEOUT = 30.0
_ANY = tuple(range(256))
_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "NRestarts", "MainPID", "Result", "ExecMainStatus", "UnitFileState",
    "NeedDaemonReload", "Job",
)  # fmt: skip


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit."""

    unit: str
    said: Mapping[str, str]

    @property
    def running(self) -> Running:
        """Whether it runs; one that waits to be started again after an end does not."""
        active, sub = self.said.get("ActiveState", ""), self.said.get("SubState", "")
        if active in {"active", "reloading"}:
            return Running.UP if sub != "exited" else Running.DOWN
        if sub == "auto-restart" or active == "deactivating":
            return Running.DOWN
        return Running.STARTING if active == "activating" or not self.is_("Job", "", "0") else Running.DOWN

    @property
    def mark(self) -> tuple[str, str, str]:
        """What tells this life of its main process from another."""
        return self.unit, self.said.get("MainPID", ""), self.said.get("NRestarts", "")

    @property
    def idle(self) -> bool:
        """Whether there is nothing to stop."""
        return self.is_("ActiveState", "inactive", "failed") and self.is_("Job", "", "0")

    def is_(self, name: str, *values: str) -> bool:
        """Tell whether a property has one of these values."""
        return self.said.get(name, "") in values

    def __str__(self) -> str:
        words = f"{self.said.get('ActiveState', 'unknown')} ({self.said.get('SubState', 'unknown')})"
        if self.is_("LoadState", "not-found", "bad-setting", "error", "masked"):
            words += f", {self.said['LoadState']}"
        if not self.is_("NRestarts", "", "0"):
            words += f", {self.said['NRestarts']} restarts"
        if not self.is_("Result", "", "success"):
            words += f", result {self.said['Result']}, status {self.said.get('ExecMainStatus', '')}"
        return words


class Manager:
    """The systemd of a machine; ``prefix`` stands before its programs, as ``sudo -n`` does."""

    def __init__(self, host: Host, prefix: Sequence[str], *, user: bool, runtime_directory: str = "") -> None:
        self._host, self._prefix, self._user = host, tuple(prefix), user
        self._runtime_directory = runtime_directory
        if user and not runtime_directory:
            self._runtime_directory = f"/run/user/{self._ask('id', '-u').stdout.strip()}"

    def home(self) -> str:
        """Return the home directory of the user whose manager it is."""
        return self._ask("printenv", "HOME").stdout.strip()

    def show(self, units: Sequence[str]) -> list[UnitState]:
        """Return how the units are, by one question."""
        if not units:
            return []
        said = self._systemctl("show", *(f"--property={name}" for name in _PROPERTIES), "--", *units).stdout
        blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in said.strip().split("\n\n")]
        return [UnitState(unit, block) for unit, block in zip(units, blocks, strict=True)]

    def reload(self) -> None:
        """Let systemd read its units anew."""
        self._systemctl("daemon-reload")

    def start(self, units: Sequence[str], *, enable: bool) -> None:
        """Begin to start units, and let the machine start them after a reboot if ``enable`` says so."""
        if enable:
            self._systemctl("enable", "--no-reload", "--", *units)
        if failed := [one.unit for one in self.show(units) if one.is_("ActiveState", "failed")]:
            self._systemctl("reset-failed", "--", *failed)  # or the limit of its starts would count on
        self._systemctl("start", "--no-block", "--", *units)

    def stop(self, units: Sequence[str], *, patience: float) -> None:
        """Stop units, which systemd kills when their time is over, and start them after no reboot."""
        states = self.show(units)
        if running := [one.unit for one in states if not one.idle]:
            self._systemctl("stop", "--", *running, timeout=patience)
        if enabled := [one.unit for one in states if one.is_("UnitFileState", "enabled", "enabled-runtime")]:
            self._systemctl("disable", "--no-reload", "--", *enabled)
        if failed := [one.unit for one in self.show(units) if one.is_("ActiveState", "failed")]:
            self._systemctl("reset-failed", "--", *failed)

    def log(self, unit: str, lines: int) -> list[str]:
        """Return the last lines that the journal has of a unit."""
        of = "--user-unit" if self._user else "--unit"
        self._run("journalctl", "--sync", any_exit=True)  # only root may; without it a last line may be late
        said = self._run("journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}", f"{of}={unit}")
        return said.stdout.splitlines()

    def verify(self, texts: Mapping[str, str], stage: Path, beside: str) -> None:
        """Raise `RolloutFailed` with systemd's words unless units and drop-ins are sound.

        Their paths are those below ``beside``, but they are looked at in ``stage``, before systemd can find them.
        """
        if self._host.which("systemd-analyze") is None:
            raise ToolMissing("systemd-analyze is not installed", do="install the package systemd")
        try:
            for path, text in texts.items():
                self._host.write(stage / path, text, mode=0o644)
            units = sorted({path.split("/")[0].removesuffix(".d") for path in texts})
            refused = self._refused(units, stage, beside)
        finally:
            self._host.remove_tree(stage)
        if refused:
            lines = "\n".join(dict.fromkeys(refused)).replace(f"{stage}/", "")
            raise RolloutFailed(lines, expected="units that systemd takes", where="systemd-analyze verify")

    def _refused(self, units: Sequence[str], stage: Path, beside: str) -> list[str]:
        argv = ("systemd-analyze", "verify", "--man=no", *(["--user"] if self._user else []))
        env = {"SYSTEMD_UNIT_PATH": f"{stage}:{beside}:"} | self._environment()  # the last colon: and where it looks
        words = [one if "@" in one else str(stage / one) for one in units]
        done = self._host.run(Command((*argv, "--", *words), env=env, timeout=_TIMEOUT, ok_exit=_ANY))
        lines = (done.stderr + done.stdout).splitlines()
        ours = [line for line in lines if any(f"{unit}:" in line or f"{unit}.d/" in line for unit in units)]
        if ours or done.exit_code == 0:
            return ours
        # What is wrong with a unit of someone else's, on which these depend, is not for this release to mend.
        again = (*argv, "--recursive-errors=no", "--", *words)
        alone = self._host.run(Command(again, env=env, timeout=_TIMEOUT, ok_exit=_ANY))
        return lines if alone.exit_code else []

    def _environment(self) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": self._runtime_directory} if self._user else {}

    def _systemctl(self, *words: str, timeout: float = _TIMEOUT) -> Finished:
        return self._run("systemctl", *words, timeout=timeout)

    def _run(self, program: str, *words: str, timeout: float = _TIMEOUT, any_exit: bool = False) -> Finished:
        if self._user:
            # In the arguments, since a prefix such as sudo does not hand the environment on.
            env = (f"{name}={value}" for name, value in self._environment().items())
            scope = ("--user",) if program == "systemctl" else ()
            return self._ask("env", *env, program, *scope, *words, timeout=timeout, any_exit=any_exit)
        return self._ask(program, *words, timeout=timeout, any_exit=any_exit)

    def _ask(self, *words: str, timeout: float = _TIMEOUT, any_exit: bool = False) -> Finished:
        command = Command((*self._prefix, *words), timeout=timeout, ok_exit=_ANY if any_exit else (0,))
        return self._host.run(command)
