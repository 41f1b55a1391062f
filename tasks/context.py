"""What a step needs at hand: the release, its file, the ledger, the world, and where things lie."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tasks.adapters.age import Age
from tasks.adapters.clock import SystemClock
from tasks.adapters.host import LocalHost
from tasks.adapters.http import HttpxHttp
from tasks.adapters.kafka import KafkaClients
from tasks.adapters.network import SocketNetwork
from tasks.adapters.pg_image import InImage
from tasks.adapters.pg_server import EmbeddedServer, EmbeddedServers
from tasks.adapters.pg_tools import ClientTools
from tasks.adapters.postgres import Postgres
from tasks.adapters.process import mark_of
from tasks.adapters.redis import RedisConnections
from tasks.adapters.secrets import SecretStore
from tasks.adapters.ssh import SshHost
from tasks.adapters.ssh_connection import Login
from tasks.adapters.storage import FsspecStores
from tasks.domain.errors import SecretMissing
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.domain.turn import Turn
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.part import Part
from tasks.ledger.reading import Armed
from tasks.ledger.releases import Claim
from tasks.rollouts import Host, Site
from tasks.rollouts._containers import Containers
from tasks.rollouts._starting import Starting
from tasks.settings import POOL, Settings
from tasks.spec import loading
from tasks.spec.hosts import OWN_MACHINE, Machine
from tasks.spec.release_file import ReleaseFile


@cache
def holder() -> str:
    """Return the name by which this process holds releases: host, process id, when it began, and a random part."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{mark_of(pid) or ''}-{uuid.uuid4().hex[:8]}"


def once() -> str:
    """Return a name that never recurs: what is held by it is held by no other thread of this process either."""
    return f"{holder()}/{os.urandom(4).hex()}"


def is_gone(name: str) -> bool:
    """Tell whether the process that holds something by this name has surely ended.

    Of a process on another host, or in another container, that cannot be known from here.
    """
    host, _, rest = name.rpartition(":")[0].rpartition(":")
    began = name.rpartition(":")[2].partition("-")[0]
    if not began or host != socket.gethostname() or not rest.isdigit():
        return False
    own, now = mark_of(os.getpid()) or "", mark_of(int(rest))
    # Process numbers are told apart by the name space in which they count.
    same_space = own.partition(".")[0] == began.partition(".")[0]
    return same_space and now != began


@cache
def ledger(settings: Settings) -> Ledger:
    """Return the ledger of this installation, starting the embedded PostgreSQL if no other is configured."""
    settings.home.mkdir(parents=True, exist_ok=True)
    if settings.ledger_url is not None:
        return Ledger(settings.ledger_url, part_of(settings))
    server = EmbeddedServer(settings.home / "ledger")
    server.ensure_running()
    return Ledger(server.dsn("golive"), part_of(settings))


def part_of(settings: Settings) -> Part:
    """Return what of a ledger is this machine's to do: all of it, or in a named pool the systems that it has here."""
    return Part() if settings.pool == POOL else Part(settings.pool, partial(loading.systems_in, settings.systems))


def revive_ledger(settings: Settings) -> None:
    """Start the embedded ledger again if it was there and does not run; another ledger is its owner's to start."""
    place = settings.home / "ledger"
    if settings.ledger_url is None and (place / "data").exists():
        EmbeddedServer(place).ensure_running()


def _prefect_block(name: str) -> str:
    from prefect.blocks.system import Secret

    try:
        # A step runs in the thread of an event loop, where Prefect would hand back a coroutine unless told otherwise.
        load: Any = Secret.load
        block = load(name, _sync=True)
    except ValueError as error:
        raise SecretMissing(
            f"no Prefect Secret block {name!r}", do="make it in the Prefect UI, under Blocks"
        ) from error
    return str(block.get())


@cache
def world() -> World:
    """Return the outside world as this process reaches it."""
    host = LocalHost()
    return World(
        clock=SystemClock(),
        http=HttpxHttp(),
        host=host,
        databases=Postgres(),
        pg_tools=ClientTools(host, Settings.from_environment().pg_tools),
        pg_servers=EmbeddedServers(),
        secrets=SecretStore(read_block=_prefect_block),
        stores=FsspecStores(),
        cipher=Age(),
        network=SocketNetwork(),
        redis=RedisConnections(),
        kafka=KafkaClients(),
        progress=lambda line: print(line, file=sys.stderr),  # noqa: T201 - the console is where progress goes
    )


@cache
def _there(machine: Machine) -> SshHost:
    """Return a machine as this process reaches it: over one connection, which stays open until the process ends."""
    files = [path and path.expanduser().absolute() for path in (machine.identity, machine.known_hosts)]
    return SshHost(machine.name, Login(machine.hostname, machine.user, machine.port, *files), machine.python)


@cache
def _http_there(machine: Machine) -> HttpxHttp:
    return HttpxHttp(_there(machine))


def world_of(file: ReleaseFile) -> World:
    """Return the outside world with the client programs that a release file names, if it names any."""
    tools = file.database.tools
    if tools is None:
        return world()
    directory = Path(tools.directory)
    host = InImage(tools.image, directory, tools.engine) if tools.image else world().host
    return replace(world(), pg_tools=ClientTools(host, [directory], only=True))


@dataclass(frozen=True)
class Context:
    """One release with all that its steps need."""

    settings: Settings
    world: World
    ledger: Ledger
    file: ReleaseFile
    release: Release
    claim: Claim

    @property
    def root(self) -> Path:
        """Where golive keeps the system's releases, backups and logs."""
        return root_of(self.file, self.settings)

    def place(self, directory: str) -> Path:
        """Return a directory of the release file, in which ``{root}``, ``{data}`` and ``{system}`` may stand."""
        return place_of(self.file, self.settings, directory)

    def release_dir(self, version: str) -> Path:
        """Return where the code of a version lies on the host."""
        return self.root / "releases" / version

    def target(self, version: str | None = None) -> Target:
        """Return production as a target, running ``version`` (by default the one being released)."""
        of = version or self.release.version
        own = production_everywhere(self.file, self.settings, self.world, of)
        return own.at(baseline=self.ledger.evidence.baselines(self.release.id))

    def on_copy(self) -> Context:
        """Return the release as it is rehearsed: whatever runs then has the values of ``rehearsal.environment``."""
        if not self.file.rehearsal.environment:
            return self
        platform = self.file.platform.given(self.file.rehearsal.environment)
        return replace(self, file=self.file.model_copy(update={"platform": platform}))

    def in_turn(self) -> Target:
        """Return production as a target to migrate: only while this process holds the release."""
        require = partial(self.ledger.releases.beat, self.claim)
        return self.target().at(turn=Turn(self.release.id, self.release.created_at, self.claim.epoch, require))

    def site(self, version: str) -> Site:
        """Return where a rollout of ``version`` works."""
        target = self.target(version)
        return site_of(self.file, self.settings, target.at(dsn=self.application_dsn(target.dsn)))

    def targets(self, version: str) -> Mapping[str, Target]:
        """Return where the code of a version is needed: golive's own machine, by an empty name, and each host."""
        own = self.target(version)
        return {"": own, **own.hosts}

    def application_dsn(self, dsn: str) -> str:
        """Return the DSN by which the application reaches the database that golive reaches by ``dsn``.

        That is on production's own server; for a scratch copy, which may lie on another one, ask `Scratch`.
        """
        return _application_dsn(self.file, self.world, dsn)


def _application_dsn(file: ReleaseFile, at: World, dsn: str) -> str:
    declared = file.database.application_dsn
    if declared is None:
        return dsn
    return at.databases.with_database(at.secrets.resolve(declared), at.databases.name_of(dsn))


def root_of(file: ReleaseFile, settings: Settings, directory: str = "") -> Path:
    """Return where golive keeps a system's releases, backups and logs, or another of the release file's directories."""
    text = directory or file.root
    return Path(text.replace("{data}", str(settings.home)).replace("{system}", file.system)).expanduser()


def place_of(file: ReleaseFile, settings: Settings, directory: str) -> Path:
    """Return a directory of the release file, in which ``{root}``, ``{data}`` and ``{system}`` may stand."""
    return root_of(file, settings, directory.replace("{root}", str(root_of(file, settings))))


def production(file: ReleaseFile, settings: Settings, at: World, version: str) -> Target:
    """Return production as a target, without anything that a release recorded."""
    root, dsn = root_of(file, settings), at.secrets.resolve(file.database.dsn)

    def of_application(known: str) -> str:
        # A copy may lie on another server, where the application's role is not known.
        beside = file.database.scratch.place == "same_server" and at.databases.address_of(
            known
        ) == at.databases.address_of(dsn)
        return _application_dsn(file, at, known) if known == dsn or beside else known

    return Target(
        world=at,
        system=file.system,
        version=version,
        base_url=file.base_url,
        dsn=dsn,
        root=root,
        release_dir=root / "releases" / version,
        containers=Containers(file.platform, file.rollout, file.router, of_application),
        starts=Starting(file.platform, file.rollout, of_application),
    )


def production_everywhere(file: ReleaseFile, settings: Settings, at: World, version: str) -> Target:
    """Return production as a target that knows the system's hosts, without anything that a release recorded."""
    own = production(file, settings, at, version)
    return own.at(hosts={name: host.target for name, host in site_of(file, settings, own).hosts.items()})


def site_of(file: ReleaseFile, settings: Settings, own: Target) -> Site:
    """Return where a rollout works, for a target as golive's own machine sees it."""
    hosts = {one.name: Host(_on(one, file, settings, own), one.address or one.hostname) for one in file.hosts}
    if not hosts:
        return Site(own, file.platform, file.router)
    first = next(iter(hosts.values())).target
    if file.router_on == OWN_MACHINE:
        return Site(first, file.platform, file.router, hosts, beside_router=own)
    near = file.router_on or next(iter(hosts))
    return Site(first, file.platform, file.router, hosts, beside_router=hosts[near].target, router_host=near)


def _on(machine: Machine, file: ReleaseFile, settings: Settings, own: Target) -> Target:
    """Return a target as it is on a machine; databases are reached from golive's own all the same."""
    root = root_of(file, settings, machine.root)
    return own.at(
        world=replace(own.world, host=_there(machine), http=_http_there(machine)),
        root=root,
        release_dir=root / "releases" / own.version,
        python=machine.python,
        hosts={},
    )


def context_of(claim: Claim, row: Release | None = None) -> Context:
    """Return the context of a release that this process drives; ``row`` is the release, where it was just read."""
    settings = Settings.from_environment()
    book = ledger(settings)
    row = row or book.releases.get(claim.release_id)
    file = loading.recorded(row.file_text, row.file)
    return Context(settings=settings, world=world_of(file), ledger=book, file=file, release=row, claim=claim)


def observing(row: Release | Armed) -> Context:
    """Return the context of a release, as it was when it was read, for a process that does not drive it."""
    return context_of(Claim(row.id, row.epoch, holder()), row if isinstance(row, Release) else None)
