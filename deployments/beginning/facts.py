"""All that was seen of a repository, and what follows from it for more than one part of the release file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.beginning import node, node_routes, node_settings
from deployments.beginning.database import Migrations, Variables, driver_of, migrations_of, sql_of, variables_of
from deployments.beginning.django import DjangoSeen, django_of
from deployments.beginning.node_migration import ToolSeen, tool_of
from deployments.beginning.package import Package, package_of
from deployments.beginning.python import PythonTools
from deployments.beginning.reads import reads_of
from deployments.beginning.repository import ComposeFile, Repository, Seen, compose_of
from deployments.beginning.routes import Routes
from deployments.beginning.service import Program, health_of, ports_of, prefixes_of, programs_of
from deployments.beginning.settings import settings_of
from deployments.beginning.tables import TableSeen

_OF_VERSIONS = frozenset({"versions", "releases", "builds", "dist"})
"""What a directory of versions is called that tells nothing of whose they are."""


class Tools(Protocol):
    """How a service in some language is installed, and how its programs are called then."""

    @property
    def usual_port(self) -> int:
        """The port on which such a service usually listens."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What its programs are given because the language's packages go by it."""

    @property
    def build(self) -> Sequence[tuple[str, ...]]:
        """The commands that install what it needs, and build it."""

    @property
    def about_build(self) -> Sequence[str]:
        """What a reader of the commands has to know."""

    def brings(self, package: str) -> bool:
        """Tell whether the commands install a package that the code's requirements do not name."""

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command as it is called in a version's directory."""


@dataclass(frozen=True)
class Facts:
    """All that was seen, and what follows from it for more than one part of the file."""

    repository: Repository
    project: str
    """What the code calls itself."""
    description: str
    compose: ComposeFile | None
    programs: Sequence[Program]
    tools: Tools
    variables: Variables
    migrations: Migrations | ToolSeen | None
    driver: str
    listens: Seen | None
    """The port that the code names."""
    reads_port: bool
    """Whether it listens where the variable ``PORT`` says."""
    tables: Sequence[TableSeen] | None
    health: Seen | None
    """The route by which it says that it is well, as it stands in the code."""
    mounted: Seen | None
    """The whole path of that route, if the code tells through which routers it is reached."""
    prefixes: Sequence[Seen]
    """The prefixes under which routers are mounted."""
    django: DjangoSeen | None = None
    """The Django project that it is, if it is one."""

    @property
    def title(self) -> str:
        """What the service is called: as its directory, or where that is named like a version as its project.

        A project without a name is called as the directory in which its versions lie.
        """
        root = self.repository.root.resolve()
        if not self.repository.is_a_version:
            return root.name
        above = (one.name for one in root.parents if one.name.lower() not in _OF_VERSIONS)
        return self.project or next(above, "") or root.name

    @property
    def on_node(self) -> bool:
        """Whether Node runs it."""
        return isinstance(self.tools, node.NodeTools)

    @property
    def port(self) -> int:
        """The port that its clients know, as the code names it; else a usual one."""
        return int(self.listens.value) if self.listens else self.tools.usual_port

    @property
    def in_containers(self) -> bool:
        """Whether the service's own containers stand in a Compose file."""
        return self.compose is not None and bool(self.compose.own)

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

    @property
    def dsn_for_program(self) -> str:
        """The placeholder by which the program gets its database."""
        return f"{{dsn+{self.driver}}}" if self.driver else "{dsn}"


def facts_of(repository: Repository, tables: Sequence[TableSeen] | None) -> Facts:
    """Look at a repository."""
    django = django_of(repository)
    package, programs = package_of(repository), programs_of(repository, django.programs if django else ())
    if package is not None and node.is_node(repository, package, programs):
        return _on_node(repository, package, programs, tables)
    migrations, reads = migrations_of(repository), reads_of(repository)
    health = (django.health if django else None) or health_of(repository)
    return Facts(
        repository=repository,
        project=str(repository.project.get("name") or ""),
        description=str(repository.project.get("description") or ""),
        compose=compose_of(repository),
        programs=programs,
        tools=PythonTools(repository, programs, migrations.kind if migrations else "", django),
        variables=variables_of(repository, [*settings_of(repository), *reads], [one.seen for one in reads]),
        migrations=migrations,
        driver=driver_of(repository),
        listens=_usable(ports_of(repository)),
        reads_port=False,
        tables=tables,
        health=health,
        mounted=django.health if django else Routes(repository).mounted(health) if health else None,
        prefixes=prefixes_of(repository),
        django=django,
    )


def _on_node(
    repository: Repository, package: Package, started: Sequence[Program], tables: Sequence[TableSeen] | None
) -> Facts:
    programs = [node.settled(package, one) for one in started if not one.where.partition(":")[0].endswith(".py")]
    programs = programs or node.programs_of(package)
    settings, tool = node_settings.settings_of(repository), tool_of(repository, package)
    health, mounted = node_routes.health_of(repository)
    return Facts(
        repository=repository,
        project=package.name,
        description=package.description,
        compose=compose_of(repository),
        programs=programs,
        tools=node.NodeTools(package, programs, tool.package if tool else ""),
        variables=variables_of(repository, settings, [one.seen for one in settings]),
        migrations=tool or sql_of(repository),
        driver="",
        listens=_usable([*ports_of(repository), *node.ports_of(repository)]),
        reads_port=node.reads_port(repository, programs),
        tables=tables,
        health=health,
        mounted=mounted,
        prefixes=node_routes.prefixes_of(repository),
    )


def _usable(ports: Iterable[Seen]) -> Seen | None:
    """Return the first port that a service may listen on without being root."""
    return next((seen for seen in ports if 1024 <= int(seen.value) < 65536), None)
