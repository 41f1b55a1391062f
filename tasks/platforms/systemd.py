"""The platform systemd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tasks.domain.errors import OutsideError, Refused, RolloutFailed
from tasks.domain.kind import Duration, no_secret_in
from tasks.domain.ports import Command, Host
from tasks.domain.target import Target
from tasks.platforms import Instance, Platform, Running, Status
from tasks.platforms._process import Name
from tasks.platforms._slots import Slots, digest, plain_path, stays_up
from tasks.platforms._systemctl import Manager, UnitState
from tasks.platforms._unit_text import HEADER
from tasks.platforms._units import Plan, Template, Unit, log_file, plan_of

_DEFAULT_STOP = 90.0  # systemd's own, for a template that says nothing
_MARGIN = 30.0


class Systemd(Platform):
    """Runs a system's processes as systemd units, which golive writes, or as instances of templates that are there.

    What runs in a slot starts again when it ends, and after a reboot. Environments are in files of their owner only
    (0600); units and drop-ins, which everyone may read, hold no secret.
    """

    kind: Literal["systemd"] = "systemd"
    """Which kind of platform this is."""
    scope: Literal["system", "user"] = "system"
    """Whose systemd it is: the machine's, or that of golive's user, who needs ``loginctl enable-linger`` for it to run
    without a session."""
    units: dict[Name, Unit] = Field(default_factory=dict)
    """The programs for which golive writes units, named ``{system}-{slot}-NAME.service``."""
    templates: dict[Name, Template] = Field(default_factory=dict)
    """The programs for which there are template units."""
    files: str = "{root}/systemd"
    """Where golive keeps the environments, logs and records of the slots."""
    directory: str = ""
    """Where units are written, by default ``/etc/systemd/system`` or ``~/.config/systemd/user``; golive's user must be
    able to write there."""
    log_to: Literal["journal", "file"] = "journal"
    """Where the output goes; files are below ``files`` and grow until something rotates them."""
    prefix: Annotated[tuple[str, ...], AfterValidator(no_secret_in)] = ()
    """What stands before each ``systemctl`` and ``journalctl``, as in ``["sudo", "-n"]``."""
    runtime_directory: str = ""
    """The ``XDG_RUNTIME_DIR`` of a user's systemd, by default ``/run/user/UID``."""
    start_within: Duration = 15.0
    """How long the units may take until systemd calls them active."""

    @model_validator(mode="after")
    def _whole(self) -> Systemd:
        if not self.units and not self.templates:
            raise ValueError("nothing to run; expected units or templates")
        if both := set(self.units) & set(self.templates):
            raise ValueError(f"{min(both)} is both a unit and a template")
        if self.scope == "user" and any(unit.user for unit in self.units.values()):
            raise ValueError("a user's systemd runs everything as that user; leave user out")
        return self

    def start(self, target: Target, instance: Instance) -> None:
        """Run the instance in its slot; what else ran there is stopped first."""
        host, slot, home = target.world.host, instance.slot, self._home(target)
        manager, slots = self._manager(target), Slots(host, self._home(target))
        directory = self._directory(manager)
        at = target.at(
            slot=slot,
            port=instance.port,
            dsn=instance.dsn,
            version=instance.version,
            release_dir=instance.release_dir,
        )
        wanted_by = "default.target" if self.scope == "user" else "multi-user.target"
        plan = plan_of(self._processes(), at, home, wanted_by=wanted_by, log_to_file=self.log_to == "file")
        own = {directory / name: text for name, text in plan.texts.items()}
        record = {
            "version": instance.version,
            "port": instance.port,
            "units": plan.units,
            "files": sorted(map(str, (*own, *plan.files))),
            "hash": digest(own | plan.files | {path: str(to) for path, to in plan.links.items()}),
        }
        known = slots.read(slot)
        if {key: known.get(key) for key in record} != record:
            for path in own:
                _require_own(host, path)
            manager.verify(plan.texts, home / "verify" / slot, str(directory))
            self.stop(target, slot)
            slots.write(slot, record | {"hash": ""})  # so that a start that was cut off here writes all of it again
            _write(host, plan, own)
            manager.reload()
            slots.write(slot, record)
        background = plan.units["background"] if instance.background else []
        self._run(target, manager, slot, [*plan.units["web"], *background])
        if background:
            slots.write(slot, record | {"background": True})

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        """Start or stop the slot's background units."""
        slots = Slots(target.world.host, self._home(target))
        record = slots.read(slot)
        if not record or not record["units"]["background"]:
            return
        manager, units = self._manager(target), record["units"]["background"]
        if run:
            self._run(target, manager, slot, units)
        else:
            manager.stop(units, patience=self._patience())
        if record.get("background", False) != run:
            slots.write(slot, record | {"background": run})

    def stop(self, target: Target, slot: str) -> None:
        """Stop the slot's units by SIGTERM and after their ``stop_wait`` by SIGKILL, and remove what golive wrote."""
        host, slots = target.world.host, Slots(target.world.host, self._home(target))
        record = slots.read(slot)
        if not record:
            return
        manager = self._manager(target)
        manager.stop([*record["units"]["background"], *record["units"]["web"]], patience=self._patience())
        for path in map(Path, record["files"]):
            host.remove_tree(path)
            if path.parent.suffix == ".d" and not host.list(path.parent):
                host.remove_tree(path.parent)  # a drop-in's directory, in which nobody else has one
        manager.reload()
        slots.forget(slot)

    def status(self, target: Target, slot: str) -> Status:
        """Return what systemd says of the slot's units, with the version and port that were started there."""
        record = Slots(target.world.host, self._home(target)).read(slot)
        if not record:
            return Status(Running.DOWN)
        version, port, units = str(record["version"]), int(record["port"]), record["units"]
        try:
            states = self._manager(target).show(
                units["web"] + (units["background"] if record.get("background") else [])
            )
        except OutsideError as error:
            return Status(Running.UNKNOWN, version, port, {"systemd": error.seen})
        return Status(_together(states), version, port, {one.unit: str(one) for one in states})

    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:
        """Return the last lines of each of the slot's units, secrets masked."""
        host, home = target.world.host, self._home(target)
        record = Slots(host, home).read(slot)
        units = [unit for of in record.get("units", {}).values() for unit in of]
        found: list[str] = []
        for unit in units:
            path = log_file(home, unit)
            if self.log_to == "journal":
                said = self._manager(target).log(unit, lines)
            elif host.exists(path):
                tail = Command(("tail", "-n", str(lines), "--", str(path)), timeout=10.0)
                said = host.run(tail).stdout.splitlines()
            else:
                continue
            found += [f"{unit.removesuffix('.service')}: {target.world.secrets.mask(line)}" for line in said]
        return found

    def _run(self, target: Target, manager: Manager, slot: str, units: Sequence[str]) -> None:
        """Start units and wait until all of them are up to stay; if not, those that were not up before are stopped."""
        before = manager.show(units)
        if any(one.is_("NeedDaemonReload", "yes") for one in before):
            manager.reload()
        states: list[UnitState] = []

        def look() -> tuple[Running, object]:
            states[:] = manager.show(units)
            return _together(states), [one.mark for one in states]

        # What a rehearsal runs must not come back with the machine.
        manager.start(units, enable=not slot.startswith("rehearsal"))
        if stays_up(target.world.clock, look, self.start_within):
            return
        seen = ", ".join(f"{one.unit} is {one}" for one in states)
        lines = "\n".join(self.log(target, slot, 20))
        pairs = zip(before, states, strict=True)
        to_stop = [now.unit for was, now in pairs if not (was.running is now.running is Running.UP)]
        manager.stop(to_stop, patience=self._patience())
        raise RolloutFailed(
            seen,
            expected=f"active within {self.start_within:g} s, and without a restart",
            where=f"systemd, slot {slot}",
            do=f"read what it wrote last:\n{lines}",
        )

    def _processes(self) -> Mapping[str, Unit | Template]:
        return {**self.units, **self.templates}

    def _home(self, target: Target) -> Path:
        return plain_path(target.fill(self.files), "the directory of systemd's environments")

    def _directory(self, manager: Manager) -> Path:
        default = f"{manager.home()}/.config/systemd/user" if self.scope == "user" else "/etc/systemd/system"
        return plain_path(self.directory or default, "a directory of units")

    def _manager(self, target: Target) -> Manager:
        user = self.scope == "user"
        return Manager(target.world.host, self.prefix, user=user, runtime_directory=self.runtime_directory)

    def _patience(self) -> float:
        waits = [process.stop_wait for process in self._processes().values()]
        return _MARGIN + max(_DEFAULT_STOP if wait is None else float(wait) for wait in waits)


def _together(states: Sequence[UnitState]) -> Running:
    seen = {one.running for one in states}
    return next((one for one in (Running.DOWN, Running.STARTING, Running.UP) if one in seen), Running.DOWN)


def _write(host: Host, plan: Plan, texts: Mapping[Path, str]) -> None:
    for path, text in plan.files.items():
        host.write(path, text)
    for path, text in texts.items():
        host.write(path, text, mode=0o644)
    for path in plan.logs:
        if not host.exists(path):
            host.write(path, "")  # for its owner only, since systemd would open it to all readers
    for path, to in plan.links.items():
        host.link(path, to)


def _require_own(host: Host, path: Path) -> None:
    text = host.read(path)
    if text is not None and not text.startswith(HEADER):
        raise Refused(
            "is not golive's", where=str(path), expected="no such unit, or one that golive wrote", do="rename it"
        )
