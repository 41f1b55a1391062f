"""The platform compose."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.domain.docker import Address
from tasks.domain.errors import (
    CommandFailed,
    OutsideError,
    Refused,
    ReleaseFileError,
    RolloutFailed,
    TimedOut,
    Unreachable,
    UserError,
)
from tasks.domain.kind import HIDDEN_PLACEHOLDER, Duration, no_secret_in
from tasks.domain.ports import Command, Finished
from tasks.domain.release import IMAGE_FILE
from tasks.domain.target import Target, Within
from tasks.platforms import Instance, Platform, Running, Status, _in_container
from tasks.platforms._compose_file import require_usable
from tasks.platforms._docker import Container, Engine
from tasks.platforms._slot import Slot

_SECRET = re.compile(rf"\$\{{|{HIDDEN_PLACEHOLDER}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ONE_OFF = "once"

Service = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Compose(Platform):
    """Runs a system's containers by Docker Compose, one project for each slot, so that two versions stand side by side.

    Only the services named here are started, without what they depend on: what versions share, such as a database,
    runs in a project of its own, whose network the file joins as an ``external`` one. The file publishes the service's
    port as ``"127.0.0.1:${PORT}:8000"``, or uses the host's network; a fixed ``container_name`` would let only one slot
    run, ``${COMPOSE_PROJECT_NAME}-web`` does not. ``{dsn}`` must lead to the database from inside a container, whose
    127.0.0.1 is its own unless it uses the host's network; so must that of ``database.scratch``, for the rehearsal. Who
    may use Docker can read a container's environment by ``docker inspect``: what must not stand there goes through
    ``files``.
    """

    kind: Literal["compose"] = "compose"
    """Which kind of platform this is."""
    services: Annotated[
        dict[Service, Literal["web", "background"]],
        Field(min_length=1, examples=[{"api": "web", "worker": "background"}]),
    ]
    """The services of the Compose file that make up a version: ``background`` for workers and schedulers, which run for
    one version at a time; ``web`` for what answers requests and runs for both versions at a switch."""
    file: Annotated[tuple[str, ...], Field(min_length=1)] = ("{release_dir}/docker-compose.yml",)
    """The Compose file, or several of which later ones add to earlier ones."""
    project: str = "{system}"
    """The name of the Compose projects, to which the slot's is added, as in ``shop-blue``."""
    profiles: tuple[Service, ...] = ()
    """The active profiles of the Compose file, those of the services above among them."""
    environment: dict[Variable, str] = Field(
        default_factory=lambda: {"PORT": "{port}"}, examples=[{"PORT": "{port}", "IMAGE": "{image}"}]
    )
    """The variables that stand as ``${NAME}`` in the Compose file; golive's own environment is not handed over. Values
    may hold ``{port}``, ``{version}``, ``{dsn}``, ``{image}`` (of the source ``image``) and references to secrets. A
    variable that the file needs and nothing sets is refused."""
    files: dict[Variable, str] = Field(default_factory=dict, examples=[{"DSN_FILE": "{dsn}"}])
    """As ``environment``, but the value is written to a file that only golive's user reaches on the host, and the
    variable holds its path, for ``secrets: {dsn: {file: "${DSN_FILE}"}}`` in the Compose file."""
    build: bool = False
    """Whether images are built from the release's code as the Compose file says under ``build``."""
    compose: Literal["v1", "v2"] | None = None
    """``v2`` for ``docker compose``, ``v1`` for ``docker-compose``; by default v2 if it is there."""
    engine: Address = ""
    """The engine's address; the default one of golive's user if empty."""
    directory: str = "{root}/compose"
    """Where golive keeps what it knows of the slots."""
    make_within: Duration = 900.0
    """How long Compose may take to pull or build images and to make the containers."""
    start_within: Duration = 60.0
    """How long the containers may take until they run, and are healthy if a check of their health is declared."""
    stop_wait: Duration = 10.0
    """How long a container may take to end after its stop signal before it is killed."""

    @field_validator("file", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> Compose:
        no_secret_in((*self.file, self.project))
        if both := sorted(self.environment.keys() & self.files.keys()):
            raise ValueError(f"{', '.join(both)} stands in environment and in files; expected one of them")
        return self

    def require_possible(self, target: Target) -> None:
        """Raise unless the engine and Compose are there, and the version's file is valid if its code is there."""
        engine = self._engine(target)
        engine.require()
        engine.compose(self.compose)
        if target.world.host.exists(target.release_dir):
            image = _image(target)
            self._config(target.at(port=target.port or 1, image=image), "check")  # any port will do to read the file

    def start(self, target: Target, instance: Instance) -> None:
        """Run the instance in its slot; what else ran there is stopped first, once the Compose file is found valid.

        Containers of background services are made in any case, and run only if the instance says so.
        """
        slot = instance.slot
        at = target.at(port=instance.port, dsn=instance.dsn, version=instance.version, release_dir=instance.release_dir)
        at = at.at(image=_image(at))
        config, files = self._config(at, slot), self._secret_files(at, slot)
        digest = hashlib.sha256("\0".join((config, *files.values())).encode()).hexdigest()
        wanted = Slot(instance.version, instance.port, digest, self._having("web"), self._having("background"))
        known = self._known(target, slot)
        if known is None or not known.same_as(wanted) or self._crashed(target, slot, known):
            self.stop(target, slot)
            self._record(target, slot, wanted)
            for path, text in files.items():
                # Readable by the container's user, who is another; the directory around it has 0700.
                target.world.host.write(path, text, mode=0o644)
            known = wanted
        try:
            self._make(at, slot, known)
        except (CommandFailed, TimedOut) as error:
            self.stop(target, slot)
            raise RolloutFailed(
                f"Compose could not make the containers: {error.seen}", where=self._project(target, slot)
            ) from error
        self._await(target, slot, known.web)
        if instance.background:
            self.background(target, slot, run=True)

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        """Start or stop the slot's background services."""
        known = self._known(target, slot)
        if known is None or not known.background:
            return
        engine = self._engine(target)
        self._record(target, slot, replace(known, busy=run))
        containers = engine.containers(self._project(target, slot), known.background)
        if run:
            engine.release(containers, known.policies or {})
            self._await(target, slot, known.background)
        else:
            engine.halt(containers, self.stop_wait)

    def stop(self, target: Target, slot: str) -> None:
        """Stop the slot's containers, after ``stop_wait`` by force, remove them and forget the slot."""
        known = self._known(target, slot)
        if known is None:
            return
        engine, project = self._engine(target), self._project(target, slot)
        for services in (known.background, known.all):
            containers = engine.containers(project, services)
            engine.halt(containers, self.stop_wait)
        engine.remove(project, containers)
        target.world.host.remove_tree(self._home(target) / slot)
        target.world.host.remove_tree(self._home(target) / f"{slot}.json")

    def status(self, target: Target, slot: str) -> Status:
        """Return what the engine says of the slot's containers, with the version and port that were started there.

        A container that runs and is unhealthy, or was started again less than 10 s ago, counts as starting.
        """
        known = self._known(target, slot)
        if known is None:
            return Status(Running.DOWN)
        try:
            containers = self._engine(target).containers(self._project(target, slot), known.expected)
        except OutsideError as error:
            return Status(Running.UNKNOWN, known.version, known.port, {"docker": error.seen})
        now = target.world.clock.now()
        detail = dict.fromkeys(known.expected, "no container")
        for one in containers:
            before = f"{detail[one.service]}; " if detail[one.service] != "no container" else ""
            detail[one.service] = before + one.words()
        if not all(one.running for one in containers) or "no container" in detail.values():
            running = Running.DOWN
        elif all(one.ready and not one.restarted_lately(now) for one in containers):
            running = Running.UP
        else:
            running = Running.STARTING
        return Status(running, known.version, known.port, detail)

    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:
        """Return the last lines of each of the slot's containers, secrets masked."""
        known = self._known(target, slot)
        if known is None:
            return []
        engine, mask = self._engine(target), target.world.secrets.mask
        containers = engine.containers(self._project(target, slot), known.all)
        return [f"{one.service}: {mask(line)}" for one in containers for line in engine.log(one, lines)]

    def require_within(self, within: Within) -> None:
        """Raise `ReleaseFileError` if the container is to be one that runs, and its service is none of a version's."""
        if not within.one_off and within.service not in self.services:
            raise ReleaseFileError(
                f"there is no service {within.service!r} in platform.services",
                expected=f"one of {', '.join(self.services)}",
                where=within.service,
            )

    def run(self, target: Target, within: Within, command: Command) -> Finished:
        """Run a command within a service's container that runs in the target's slot, or in one made for it.

        A container that is made sees the release's directory, if the command runs below it, and cannot write there.
        Raises `Unreachable` if none of the service runs.
        """
        engine = self._engine(target)
        if within.one_off:
            return self._run_once(engine, target, within.service, command)
        project = self._project(target, target.slot)
        running = [one for one in engine.containers(project, (within.service,)) if one.running]
        if not running:
            raise Unreachable("no container of it runs", where=f"{project}: {within.service}")
        return _in_container.look_in(engine, running[0].id, command)

    def _run_once(self, engine: Engine, target: Target, service: str, command: Command) -> Finished:
        at = target.at(port=target.port or 1)  # any port will do: nobody asks this container
        at = at.at(image=_image(at))
        name = f"{self._project(target, _ONE_OFF)}-{secrets.token_hex(4)}"
        code = str(target.release_dir)
        below = command.cwd is not None and command.cwd.is_relative_to(target.release_dir)
        mounted = ("--volume", f"{code}:{code}:ro") if below else ()
        for path, text in self._secret_files(at, name).items():
            target.world.host.write(path, text, mode=0o644)
        try:
            if self.build:
                self._compose(at, _ONE_OFF, "build", service, files_of=name)
            asked = ("run", "--detach", "-T", "--no-deps", "--name", name, *mounted, *_in_container.options(command))
            make = self._command(at, _ONE_OFF, *asked, service, *command.argv, files_of=name)
            return _in_container.run_once(engine, make, name, command)
        finally:
            target.world.host.remove_tree(self._home(target) / name)

    def _having(self, role: str) -> tuple[str, ...]:
        return tuple(name for name, of in self.services.items() if of == role)

    def _engine(self, target: Target) -> Engine:
        return Engine(target.world.host, self.engine)

    def _project(self, target: Target, slot: str) -> str:
        name = f"{target.fill(self.project)}-{slot}"
        if not _PROJECT.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be a Compose project", expected="small letters, digits, '_', '-'", where="project"
            )
        return name

    def _home(self, target: Target) -> Path:
        return Path(target.fill(self.directory))

    def _known(self, target: Target, slot: str) -> Slot | None:
        text = target.world.host.read(self._home(target) / f"{slot}.json")
        return Slot.from_json(text) if text else None

    def _record(self, target: Target, slot: str, known: Slot) -> None:
        target.world.host.write(self._home(target) / f"{slot}.json", known.to_json())

    def _secret_files(self, at: Target, slot: str) -> Mapping[Path, str]:
        return {self._home(at) / slot / name: at.fill(value) for name, value in self.files.items()}

    def _crashed(self, target: Target, slot: str, known: Slot) -> bool:
        containers = self._engine(target).containers(self._project(target, slot), known.expected)
        return any(one.crashed(target.world.clock.now()) for one in containers)

    def _make(self, at: Target, slot: str, known: Slot) -> None:
        """Let Compose make all containers, and start those of the web."""
        built = "--build" if self.build else "--no-build"
        self._compose(at, slot, "up", "--no-start", "--no-deps", built, *known.all)
        engine = self._engine(at)
        made = engine.containers(self._project(at, slot), known.all)
        background = [one for one in made if one.service in known.background]
        if known.policies is None:
            self._record(at, slot, replace(known, policies={one.service: one.policy for one in background}))
            engine.halt(background, self.stop_wait)  # so that no restart of the engine starts them
        engine.start([one for one in made if one.service in known.web and not one.running])

    def _await(self, target: Target, slot: str, services: Sequence[str]) -> None:
        """Wait until the services are well; raises `RolloutFailed` with their last words if they are not in time."""
        engine, project = self._engine(target), self._project(target, slot)
        containers = engine.wait(project, services, target.world.clock, self.start_within)
        if containers is None:
            return
        said = [f"{one.service} is {one.words()}" for one in containers]
        said += [f"{name} has no container" for name in services if name not in {one.service for one in containers}]
        log = self._last_words(target, containers)
        engine.halt(containers, self.stop_wait)
        raise RolloutFailed(
            "; ".join(said),
            expected=f"running, and healthy where that is checked, within {self.start_within:g} s",
            where=project,
            do=f"read what it wrote last:\n{log}",
        )

    def _last_words(self, target: Target, containers: Sequence[Container]) -> str:
        engine = self._engine(target)
        lines = [f"{one.service}: {line}" for one in containers for line in engine.log(one, 20)]
        lines += [f"{one.service}, its check of health: {one.complaint}" for one in containers if one.complaint]
        return target.world.secrets.mask("\n".join(lines))

    def _config(self, at: Target, slot: str) -> str:
        """Return the file as Compose reads it, with all values filled in; raises `Refused` unless it can be used."""
        where = ", ".join(at.fill(name) for name in self.file)
        try:
            done = self._compose(at, slot, "config")
        except CommandFailed as error:
            raise Refused(f"Compose cannot read it: {error.seen}", where=where, do="mend it in the code") from error
        require_usable(done, self.services, where)
        return done.stdout

    def _compose(self, at: Target, slot: str, *words: str, files_of: str = "") -> Finished:
        """Run Compose for the slot's project."""
        return at.world.host.run(self._command(at, slot, *words, files_of=files_of))

    def _command(self, at: Target, slot: str, *words: str, files_of: str = "") -> Command:
        """Return what runs Compose for the slot's project; every value goes through its environment.

        The secret files are those of the slot, unless they are of something else.
        """
        engine, project = self._engine(at), self._project(at, slot)
        values = {name: at.fill(value) for name, value in self.environment.items()}
        values |= {name: str(self._home(at) / (files_of or slot) / name) for name in self.files}
        secret = {name for name, text in self.environment.items() if _SECRET.search(text)}
        files = [word for name in self.file for word in ("--file", at.fill(name))]
        profiles = [word for name in self.profiles for word in ("--profile", name)]
        return Command(
            (*engine.compose(self.compose), "--project-name", project, *files, *profiles, *words),
            env={
                **engine.env,
                "COMPOSE_PROJECT_NAME": project,
                **{name: value for name, value in values.items() if name not in secret},
            },
            secret_env={name: value for name, value in values.items() if name in secret},
            timeout=self.make_within,
        )


def _image(at: Target) -> str:
    return (at.world.host.read(at.release_dir / IMAGE_FILE) or "").strip()
