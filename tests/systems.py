"""A system that golive takes live in tests: its release file and databases, what golive does, and what came of it.

`System.of` takes the release file of ``deployments/systems/NAME``, moved to what a test has; `tests.flows.SmallSystem`
is a system of its own making.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from tasks.adapters.postgres import Postgres
from tasks.domain.errors import GoliveError
from tasks.domain.ports import RunningServer

SYSTEMS = Path(__file__).parents[1] / "deployments" / "systems"


def run(flow: Coroutine[Any, Any, Any]) -> Any:
    """Run a flow to its end; what it raises comes out as it is."""

    async def awaited() -> Any:
        return await flow

    return asyncio.run(awaited())


@contextmanager
def without_prefect() -> Iterator[None]:
    """Let flows run as they do where Prefect's server does not answer, in half the time.

    The steps, their order, their retries and what stands in the ledger are the same.
    """
    from prefect import Flow

    from tasks import acting

    through_prefect = Flow.__call__

    def alone(flow: Any, *args: Any, **given: Any) -> Any:
        return flow.fn(*args, **given)

    Flow.__call__ = alone  # type: ignore[method-assign, assignment]
    token = acting._ALONE.set(True)
    try:
        yield
    finally:
        acting._ALONE.reset(token)
        Flow.__call__ = through_prefect  # type: ignore[method-assign]


def new_database(server: RunningServer, pattern: str) -> str:
    """Create a database, with a star in its name for what makes it the only one of that name; return its DSN."""
    postgres = Postgres()
    dsn = server.dsn(pattern.replace("*", secrets.token_hex(5)))
    with postgres.session(postgres.with_database(dsn, "postgres")) as session:
        session.execute(f"CREATE DATABASE {_quoted(postgres.name_of(dsn))}")
    return dsn


@dataclass
class System:
    """One system with its production database and a ledger of its own, below ``home``."""

    home: Path
    name: str
    dsn: str = field(repr=False)
    ledger_url: str = field(repr=False)
    file: dict[str, Any]
    variables: dict[str, str] = field(repr=False)
    """What its release file refers to as ``${env:NAME}``."""
    through_prefect: bool = False
    """Whether its flows run as Prefect's, or `without_prefect`."""
    _environment: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        home: Path,
        name: str,
        server: RunningServer,
        dsn: str,
        variables: Mapping[str, str],
        changes: Mapping[str, Any],
    ) -> Self:
        """Set up a system of ``deployments/systems`` with its checklist; ``changes`` are as in `write`.

        The ledger is a new database of ``server``; production's database is made and filled already.
        """
        file: dict[str, Any] = YAML(typ="safe").load((SYSTEMS / name / "release.yaml").read_text(encoding="utf-8"))
        system = cls(home, name, dsn, new_database(server, "ledger_*"), file, dict(variables))
        system.enter()
        system.write(changes)
        shutil.copy(SYSTEMS / name / "checklist.csv", system.path.parent)
        return system

    def enter(self, *, guarded: bool = False) -> None:
        """Make its directories and set its environment; unless ``guarded``, its releases start no guard."""
        for directory in (f"systems/{self.name}", "versions", "golive"):
            (self.home / directory).mkdir(parents=True)
        for name, value in self.environment.items():
            self._environment[name] = os.environ.get(name)
            os.environ[name] = value
        if not guarded:
            self.ledger.leases.take("guard", "held off by the test", 24 * 3600)

    @property
    def path(self) -> Path:
        """Its release file."""
        return self.home / "systems" / self.name / "release.yaml"

    def write(self, changes: Mapping[str, Any] | None = None) -> None:
        """Write the release file, with some of its keys (dotted, as in ``rollout.port``) changed for good."""
        for dotted, value in (changes or {}).items():
            *path, last = dotted.split(".")
            node = self.file
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        # JSON is YAML too.
        self.path.write_text(json.dumps(self.file, indent=1))

    # -- what golive does ---------------------------------------------------------------------------------------------

    def phase(self, name: str, version: str, **parameters: Any) -> Any:
        """Run one phase alone, as ``golive phase`` does."""
        import importlib

        return self._run(getattr(importlib.import_module(f"flows.{name}"), name), self.name, version, **parameters)

    def _run(self, flow: Any, *args: Any, **parameters: Any) -> Any:
        with nullcontext() if self.through_prefect else without_prefect():
            return run(flow(*args, **parameters))

    def release(self, version: str, **parameters: Any) -> str:
        """Run a whole release and return what it says."""
        from flows.release import release

        return str(self._run(release, self.name, version, **parameters))

    def deploy_unsigned(self, version: str) -> None:
        """Let a version serve by the phase deploy alone, which is refused where somebody has to sign."""
        sign_off, signed = self.file.get("sign_off", {}), self.file["checklist"].get("signed", {})
        self.write({"sign_off": {}, "checklist.signed": {}})
        self.phase("deploy", version)
        self.write({"sign_off": sign_off, "checklist.signed": signed})

    def release_signed(self, version: str, **parameters: Any) -> str:
        """Run a whole release that somebody signs for in every role, and return what the last signature led to."""
        said = self.release(version, started_by="ann", reason="for a test", **parameters)
        waiting = self.latest().id
        for role in self.file["sign_off"]["go"]:
            said = self.approve(waiting, role, f"who is {role}")
        return said

    def rollback(self, **parameters: Any) -> str:
        """Run a rollback and return which version serves."""
        from flows.rollback import rollback

        return str(self._run(rollback, self.name, **parameters))

    def approve(self, waiting: str, role: str, person: str, **parameters: Any) -> str:
        """Sign for a release, and let it go on if nobody's signature is missing."""
        from flows.approve import approve

        return str(self._run(approve, waiting, role, person, **parameters))

    # -- what came of it ----------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Any:
        """The ledger as golive itself has it open."""
        from tasks.context import ledger
        from tasks.settings import Settings

        return ledger(Settings.from_environment())

    def latest(self) -> Any:
        """Return the newest release on record."""
        return self.ledger.releases.latest(self.name, 1)[0]

    def steps(self, release_id: str = "") -> list[tuple[str, str, str]]:
        """Return phase, name and event of each step of a release, by default of the newest, in order."""
        rows = self.ledger.releases.steps(release_id or self.latest().id)
        return [(one.phase, one.name, one.event) for one in rows]

    def notes(self, release_id: str = "") -> str:
        """Return the notes of all moves of a release as one text."""
        return "\n".join(one.note for one in self.ledger.releases.moves(release_id or self.latest().id))

    def sql(self, statement: str, dsn: str = "") -> list[dict[str, Any]]:
        """Run a statement on production's database, or another one, and return its rows."""
        with Postgres().session(dsn or self.dsn) as session:
            return list(session.query(statement))

    def sql_in_ledger(self, statement: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a statement on the ledger and return its rows."""
        with Postgres().session(self.ledger_url) as session:
            return list(session.query(statement, params))

    @property
    def environment(self) -> dict[str, str]:
        """What golive needs in its environment for this system."""
        return {
            "GOLIVE_HOME": str(self.home / "golive"),
            "GOLIVE_SYSTEMS": str(self.home / "systems"),
            "GOLIVE_LEDGER_URL": self.ledger_url,
            **self.variables,
        }

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """Give the block an environment that it may spoil."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                _set(name, value)

    def no_scratch_is_left(self) -> None:
        """Require that no scratch copy of this system is left behind."""
        directory = self.home / "golive" / "scratch"
        assert not (directory.exists() and list(directory.iterdir()))
        taken = [row["datname"] for row in self.sql("SELECT datname FROM pg_database")]
        ours = {row.id.replace("-", "_") for row in self.ledger.releases.latest(self.name, 1000)}
        assert not [name for name in taken if any(name.endswith(one) for one in ours)]

    def stop_service(self) -> None:
        """End the processes, and the router, that golive runs for the system."""
        from tasks.context import production, site_of, world
        from tasks.settings import Settings
        from tasks.spec.loading import load

        file, settings = load(self.path), Settings.from_environment()
        target = site_of(file, settings, production(file, settings, world(), "v1")).target
        with suppress(GoliveError):
            file.platform.close(target)
        if file.router is not None:
            with suppress(GoliveError):
                file.router.close(target)

    def close(self) -> None:
        """End all that was started for the system, drop its databases, and forget what was cached of it."""
        from tasks import context
        from tasks.adapters.pg_server import EmbeddedServers

        os.environ.update(self.environment)
        try:
            self.stop_service()
            for kept in (self.home / "golive" / "scratch").glob("*"):
                EmbeddedServers().remove(kept)
            self.ledger.close()
        finally:
            context.ledger.cache_clear()
            context.world.cache_clear()
            for name, value in self._environment.items():
                _set(name, value)
            self._drop_databases()

    def _drop_databases(self) -> None:
        postgres = Postgres()
        for dsn in (self.dsn, self.ledger_url):
            with postgres.session(postgres.with_database(dsn, "postgres")) as session:
                # Copies beside it are named after it. Its sessions may not have ended yet.
                tail = re.findall(r"[0-9a-f]{10}", postgres.name_of(dsn))[-1]
                for row in session.query("SELECT datname FROM pg_database WHERE datname LIKE %s", (f"%{tail}%",)):
                    session.execute(f"DROP DATABASE IF EXISTS {_quoted(row['datname'])} WITH (FORCE)")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
