"""The platform command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.domain.errors import CommandFailed, OutsideError, RolloutFailed
from tasks.domain.kind import Argv, Duration, Strict
from tasks.domain.ports import Command as ToRun
from tasks.domain.ports import Finished
from tasks.domain.target import Target
from tasks.platforms import Instance, Platform, Running, Status
from tasks.platforms._process import Environment
from tasks.platforms._slots import Slots, digest, plain_path, stays_up

_EXIT = Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)]


class SlotCommands(Strict):
    """What is run for a slot, without a shell; no secrets, because arguments can be read by every user of the machine.

    ``{slot}``, ``{port}``, ``{version}`` and ``{release_dir}`` are those of the slot it is about.
    """

    start: Annotated[Argv, Field(examples=[["/opt/shop/start", "{slot}", "{port}"]])]
    """What starts a slot, without its background processes if ``background_start`` is given."""
    stop: Annotated[Argv, Field(examples=[["/opt/shop/stop", "{slot}"]])]
    """What stops a slot: gracefully, and then by force."""
    status: Annotated[Argv, Field(examples=[["/opt/shop/status", "{slot}"]])]
    """What tells by its exit code whether a slot runs."""
    version: Argv | None = None
    """What prints the version that runs in a slot, and nothing else; it is held against golive's own record."""
    log: Argv | None = None
    """What prints the last lines that a slot's processes wrote."""
    background_start: Argv | None = None
    """What starts a slot's background processes."""
    background_stop: Argv | None = None
    """What stops a slot's background processes."""

    @model_validator(mode="after")
    def _both_or_none(self) -> SlotCommands:
        if (self.background_start is None) != (self.background_stop is None):
            raise ValueError("background_start and background_stop go together; give both or none")
        return self


class Command(Platform):
    """Lets commands of the release file start and stop a system that something else runs: a script, pm2, an init.d.

    A command may be repeated after a crash, so starting what runs and stopping what does not must do no harm. What a
    command leaves running should write to a file of its own, since golive reads only the output of the command.
    """

    kind: Literal["command"] = "command"
    """Which kind of platform this is."""
    commands: SlotCommands
    """The commands."""
    environment: Environment = Field(default_factory=dict)
    """Environment variables of the commands; values may hold ``{dsn}``, ``{port}`` and references to secrets."""
    directory: str = "{root}"
    """The working directory of the commands."""
    records: str = "{root}/command"
    """Where golive keeps on record which version it put into which slot."""
    up: _EXIT = (0,)
    """The exit codes of ``status`` that mean that the slot runs."""
    down: _EXIT = (3,)
    """The exit codes of ``status`` that mean that it does not; any other means that nobody knows."""
    timeout: Duration = 60.0
    """How long each command may take."""
    start_within: Duration = 30.0
    """How long it may take after ``start`` until ``status`` says that the slot runs."""
    stop_within: Duration = 30.0
    """How long it may take after ``stop`` until ``status`` says that it does not."""

    @model_validator(mode="after")
    def _told_apart(self) -> Command:
        if both := set(self.up) & set(self.down):
            raise ValueError(f"exit code {min(both)} cannot mean both up and down")
        return self

    def start(self, target: Target, instance: Instance) -> None:
        """Run the instance in its slot by ``start``; what else golive started there is stopped first."""
        slots, slot = self._slots(target), instance.slot
        record = {"version": instance.version, "port": instance.port, "release_dir": str(instance.release_dir)}
        at = self._at(target, slot, record).at(dsn=instance.dsn)
        shown = {Path(name): at.fill(value) for name, value in self.environment.items()}
        record["hash"] = digest(shown | {Path("/"): "\0".join(at.fill(word) for word in self.commands.start)})
        known = slots.read(slot)
        same = {key: known.get(key) for key in record} == record
        if not (same and self._look(at, known)[:2] == (Running.UP, instance.version)):
            self.stop(target, slot)
            slots.write(slot, record)
            self._begin(at, record)
        if instance.background:
            self.background(at, slot, run=True)

    def stop(self, target: Target, slot: str) -> None:
        """Stop what golive started in the slot, background processes first, and see that it no longer runs."""
        slots, clock = self._slots(target), target.world.clock
        record = slots.read(slot)
        if not record:
            return
        self.background(target, slot, run=False)
        at = self._at(target, slot, record)
        self._run(at, self.commands.stop)
        until = clock.monotonic() + self.stop_within
        while (seen := self._running(at))[0] is not Running.DOWN:
            if clock.monotonic() > until:
                raise RolloutFailed(
                    f"after the command stop, status ended with exit code {seen[1]}",
                    expected=f"exit code {' or '.join(map(str, self.down))} within {self.stop_within:g} s",
                    where=f"slot {slot}",
                    do="stop it by hand, or correct the commands stop and status",
                )
            clock.sleep(0.2)
        slots.forget(slot)

    def status(self, target: Target, slot: str) -> Status:
        """Return what the status command says of the slot, with the version and port that golive started there."""
        record = self._slots(target).read(slot)
        if not record:
            return Status(Running.DOWN)
        running, version, detail = self._look(self._at(target, slot, record), record)
        return Status(running, version, int(record["port"]), detail)

    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:
        """Return the last lines that the log command prints, secrets masked."""
        record = self._slots(target).read(slot)
        if self.commands.log is None or not record:
            return []
        try:
            said = self._run(self._at(target, slot, record), self.commands.log)
        except OutsideError as error:
            return [f"the command log failed: {error.seen}"]
        return [target.world.secrets.mask(line) for line in said.stdout.splitlines()[-lines:]]

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        """Start or stop the slot's background processes, if there are commands for that."""
        slots = self._slots(target)
        record = slots.read(slot)
        if not record or not self.commands.background_start or not self.commands.background_stop:
            return
        at = self._at(target, slot, record)
        if run and record.get("background") != "runs":
            slots.write(slot, record | {"background": "starts"})
            self._run(at, self.commands.background_start)
            slots.write(slot, record | {"background": "runs"})
        elif not run and record.get("background"):
            self._run(at, self.commands.background_stop)
            slots.write(slot, {key: value for key, value in record.items() if key != "background"})

    def _begin(self, at: Target, record: dict[str, Any]) -> None:
        """Run the start command and wait until the slot is up, and with the right version."""
        try:
            self._run(at, self.commands.start)
        except CommandFailed as error:
            raise self._failed(at, error.seen, "the command start to succeed") from error
        risen = False

        def look() -> tuple[Running, object]:
            nonlocal risen
            running = self._running(at)[0]
            risen = risen or running is Running.UP
            # A command may return before what it started is there.
            return (running if risen or running is not Running.DOWN else Running.STARTING), None

        if not stays_up(at.world.clock, look, self.start_within):
            code = self._running(at)[1]
            raise self._failed(
                at,
                f"it has ended: status ended with exit code {code}" if risen else f"status ended with exit code {code}",
                f"exit code {' or '.join(map(str, self.up))} within {self.start_within:g} s, and for a second",
            )
        running, version, detail = self._look(at, record)
        if version != record["version"]:
            raise self._failed(at, f"version {version} runs", f"version {record['version']}")
        if running is not Running.UP:
            raise self._failed(at, "; ".join(detail.values()), "an answer of the command version")

    def _failed(self, at: Target, seen: str, expected: str) -> RolloutFailed:
        """Stop what was half started, and return the error with the last lines of its log."""
        lines = "\n".join(self.log(at, at.slot, 20))
        try:
            self.stop(at, at.slot)
        except (OutsideError, RolloutFailed) as error:
            lines += f"\nand it could not be stopped: {error.seen}"
        do = f"read what it wrote last:\n{lines}" if lines else "look at its log"
        return RolloutFailed(seen, expected=expected, where=f"slot {at.slot}", do=do)

    def _look(self, at: Target, record: dict[str, Any]) -> tuple[Running, str, dict[str, str]]:
        """Return how the slot is, which version runs there, and in words what was seen."""
        version = str(record["version"])
        try:
            running, code = self._running(at)
            detail = {"status": f"exit code {code}"}
            if running is Running.UP and self.commands.version is not None:
                said = at.world.secrets.mask(self._run(at, self.commands.version).stdout.strip()[:200])
                if said != version:
                    detail["version"] = f"{said or 'nothing'} is said, {version} is on record"
                version = said
        except OutsideError as error:
            return Running.UNKNOWN, version, {"command": error.seen}
        return running, version, detail

    def _running(self, at: Target) -> tuple[Running, int]:
        code = self._run(at, self.commands.status, any_exit=True).exit_code
        if code in self.up:
            return Running.UP, code
        return (Running.DOWN if code in self.down else Running.UNKNOWN), code

    def _run(self, at: Target, words: Argv, *, any_exit: bool = False) -> Finished:
        return at.world.host.run(
            ToRun(
                tuple(at.fill(word) for word in words),
                cwd=Path(at.fill(self.directory)),
                secret_env={name: at.fill(value) for name, value in self.environment.items()},
                timeout=self.timeout,
                ok_exit=tuple(range(256)) if any_exit else (0,),
            )
        )

    def _slots(self, target: Target) -> Slots:
        return Slots(target.world.host, plain_path(target.fill(self.records), "the directory of records"))

    def _at(self, target: Target, slot: str, record: dict[str, Any]) -> Target:
        """Return the target as it is in the slot."""
        return target.at(
            slot=slot,
            version=str(record["version"]),
            port=int(record["port"]),
            release_dir=Path(record["release_dir"]),
        )
