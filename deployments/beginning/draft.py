"""A release file as it is being written, and the facts that it is written from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from deployments.beginning.database import Migrations, Variables, driver_of, migrations_of, variables_of
from deployments.beginning.repository import ComposeFile, Repository, Seen, compose_of
from deployments.beginning.routes import Routes
from deployments.beginning.service import Program, health_of, ports_of, programs_of
from deployments.beginning.tables import TableSeen

FILL_IN = "FILL IN"
"""How a line begins that says what a person must add or correct."""
_PYTHON_PROGRAMS = frozenset(
    {
        "python",
        "python3",
        "uvicorn",
        "gunicorn",
        "hypercorn",
        "daphne",
        "waitress-serve",
        "flask",
        "fastapi",
        "celery",
        "rq",
    }
)
_ASYNC_SQLALCHEMY = re.compile(r"^\s*from sqlalchemy\.ext\.asyncio\b", re.MULTILINE)
_WRAP = 118
VENV = "{release_dir}/.venv/bin"


@dataclass
class Draft:
    """A release file as it is being written."""

    name: str
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Add lines as they are."""
        self.lines += lines

    def note(self, words: str, depth: int = 0) -> None:
        """Add a comment, broken into lines."""
        line = f"{' ' * depth}#"
        for word in words.split():
            if len(line) + 1 + len(word) > _WRAP:
                self.lines.append(line)
                line = f"{' ' * depth}#"
            line += f" {word}"
        self.lines.append(line)

    def fill(self, words: str, depth: int = 0) -> None:
        """Add a comment about what a person must add or correct."""
        self.note(f"{FILL_IN}: {words}", depth)

    @property
    def prefix(self) -> str:
        """What the system's own variables begin with."""
        return self.name.upper().replace("-", "_")

    def reference(self, variable: str) -> str:
        """Return the reference to the variable of golive's own environment that holds one of the service's."""
        return f"${{env:{variable if variable.startswith(f'{self.prefix}_') else f'{self.prefix}_{variable}'}}}"


@dataclass(frozen=True)
class Facts:
    """All that was seen, and what follows from it for more than one part of the file."""

    repository: Repository
    compose: ComposeFile | None
    programs: Sequence[Program]
    variables: Variables
    migrations: Migrations | None
    driver: str
    port: int
    tables: Sequence[TableSeen] | None
    health: Seen | None
    """The route by which it says that it is well, as it stands in the code."""
    mounted: Seen | None
    """The whole path of that route, if the code tells through which routers it is reached."""

    @property
    def in_containers(self) -> bool:
        """Whether the service's own containers stand in a Compose file."""
        return self.compose is not None and bool(self.compose.own)

    @property
    def install(self) -> tuple[tuple[str, ...], ...]:
        """The commands that install the code's dependencies into its own virtual environment."""
        repository, pip = self.repository, ".venv/bin/pip"
        if repository.text("requirements.txt"):
            made: tuple[tuple[str, ...], ...] = ((pip, "install", "-r", "requirements.txt"),)
        elif repository.project.get("name") and "[build-system]" in repository.text("pyproject.toml"):
            made = ((pip, "install", "."),)
        else:
            return ()
        missing = self.unnamed
        return (("python3", "-m", "venv", ".venv"), *made, *(((pip, "install", *missing),) if missing else ()))

    @property
    def unnamed(self) -> list[str]:
        """The packages that it needs to run and its requirements do not name."""
        found = [name for name in self._programs_used if not self.repository.needs(name)]
        if "sqlalchemy[asyncio" not in self.repository.requirements and not self.repository.needs("greenlet"):
            # SQLAlchemy 2.1 does not bring it along any more.
            found += ["greenlet" for _ in islice(self.repository.find(_ASYNC_SQLALCHEMY), 1)]
        return found

    @property
    def _programs_used(self) -> list[str]:
        used = [program.words[2] for program in self.programs if program.words[:2] == ("{python}", "-m")]
        return [*used, *(["alembic"] if self.migrations and self.migrations.kind == "alembic" else [])]

    def told(self) -> list[str]:
        """Return in lines what was seen."""
        variables, migrations = self.variables, self.migrations
        found = [f"{one.name}: {' '.join(one.words)} ({one.where})" for one in self.programs]
        if self.compose is not None:
            found.append(f"services {', '.join(self.compose.services)} ({self.compose.path})")
        if (route := self.mounted or self.health) is not None:
            found.append(f"the route {route.value} ({route.where})")
        if migrations is not None:
            found.append(f"migrations of {migrations.kind} ({migrations.where})")
        if variables.url is not None:
            found.append(
                f"the database by {', '.join((variables.url.value, *variables.likewise))} ({variables.url.where})"
            )
        elif variables.parts:
            found.append(f"the database by {', '.join(variables.parts)} ({variables.parts_seen})")
        if self.tables is not None:
            found.append(f"{len(self.tables)} tables")
        return found or ["nothing that golive knows"]

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command with its Python being that of the version's own environment, if it has one."""
        if not self.install:
            return ["{python}" if words[0] in {"python", "python3"} else words[0], *words[1:]]
        if words[0] == "{python}":
            return [f"{VENV}/python", *words[1:]]
        name = words[0].rpartition("/")[2]
        return [f"{VENV}/{name}", *words[1:]] if name in _PYTHON_PROGRAMS else list(words)

    @property
    def dsn_for_program(self) -> str:
        """The placeholder by which the program gets its database."""
        return f"{{dsn+{self.driver}}}" if self.driver else "{dsn}"


def facts_of(repository: Repository, tables: Sequence[TableSeen] | None) -> Facts:
    """Look at a repository."""
    compose, health = compose_of(repository), health_of(repository)
    port = next((int(seen.value) for seen in ports_of(repository) if 1024 <= int(seen.value) < 65536), 8000)
    return Facts(
        repository=repository,
        compose=compose,
        programs=programs_of(repository),
        variables=variables_of(repository),
        migrations=migrations_of(repository),
        driver=driver_of(repository),
        port=port,
        tables=tables,
        health=health,
        mounted=Routes(repository).mounted(health) if health else None,
    )


def quoted_text(value: str) -> str:
    """Return a text as YAML takes it, whatever is in it."""
    return json.dumps(value, ensure_ascii=False)


def flow_list(words: Sequence[str]) -> str:
    """Return texts as a list on one line of YAML."""
    return f"[{', '.join(map(quoted_text, words))}]"
