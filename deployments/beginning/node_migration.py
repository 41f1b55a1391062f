"""The tools for Node that change a schema, and the commands by which golive asks and runs them.

What is not marked to be filled in was run with the tool itself, against PostgreSQL: knex 3, node-pg-migrate 9,
sequelize-cli 6, typeorm 1 and db-migrate 0.11.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployments.beginning.database import sql_of
from deployments.beginning.node import BIN, settled
from deployments.beginning.package import Package
from deployments.beginning.repository import Repository
from deployments.beginning.service import Program

_NO_STATE = "{tool} prints no SQLSTATE: a lock that is not granted ends it, and is not tried for again."
_SEE_THAT = "must print the names of what is not yet applied, one a line and in order, and nothing if nothing is"
_PRISMA_LOCKS = (
    "whether prisma's engine reads PGOPTIONS, by which golive limits the wait for locks; preflight tells. If it does "
    "not: let each migration begin with SET lock_timeout, and write lock_timeout_by: release"
)
_SOURCE = re.compile(r"\bnew\s+DataSource\(")
_MIGRATION = re.compile(r"\bimplements\s+MigrationInterface\b")
_OWN_SCRIPTS = re.compile(r"(?:db:)?migrat(?:e|ion|ions)(?::(?:up|run|latest|deploy|prod|production))?")
_GIVEN = r"""["']?\s*:\s*(?P<given>path\.\w+\([^()]*\)|["'`][^"'`\n]+["'`])"""
_CONFIG, _DIRECTORY = re.compile(rf"\bconfig{_GIVEN}"), re.compile(rf"\bdirectory{_GIVEN}")
_ENVIRONMENT = re.compile(r"""\benv\b|env_variable|\b(?:from|require\()\s*["']\.""")


@dataclass(frozen=True)
class ToolSeen:
    """A tool that changes the schema by commands of its own."""

    kind: str
    """The tool."""
    where: str
    pending: Sequence[str]
    upgrade: Sequence[str]
    files: Sequence[str]
    downgrade: Sequence[str] = ()
    package: str = ""
    """The package that brings its program."""
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    fill_in: Sequence[str] = ()


def told(command: str, program: str) -> tuple[str, ...]:
    """Return a command that prints only names out of what another prints, and fails where that fails.

    ``program`` is one for awk; it sets ``told`` where it saw a line that says how things stand, so that output in
    another form is never taken for nothing pending.
    """
    return ("sh", "-c", f"said=$({command}) && printf '%s\\n' \"$said\" | awk '{program} END {{exit !told}}'")


def tool_of(repository: Repository, package: Package) -> ToolSeen | None:
    """Return the tool that changes the schema, None if none was seen."""
    ways = (_prisma, _knex, _sequelize, _typeorm, _node_pg_migrate, _db_migrate, _own_script)
    return next((found for way in ways if (found := way(repository, package)) is not None), None)


def _prisma(repository: Repository, package: Package) -> ToolSeen | None:
    schema = repository.named("schema.prisma")
    if schema is None or not package.needs("prisma", "@prisma/client"):
        return None
    within = _holding(repository, r"migrations/[^/]+/migration\.sql", schema.parent)
    given = "" if str(schema) in {"prisma/schema.prisma", "schema.prisma"} else f" --schema {schema}"
    # It ends with another code than 0 also where something is pending, so only its words tell.
    status = f"{{ node_modules/.bin/prisma migrate status{given} 2>&1 || :; }}"
    names = "/up to date/ {told = 1} /not yet been applied/ {on = told = 1; next} !NF {on = 0} on {print $1}"
    return ToolSeen(
        "prisma",
        str(schema),
        pending=told(status, names),
        upgrade=(f"{BIN}/prisma", "migrate", "deploy", *given.split()),
        files=(f"{within}/*/migration.sql" if within else str(schema),),
        package="prisma",
        fill_in=(
            f"golive's makers could not try these commands with prisma: `pending` {_SEE_THAT}",
            _PRISMA_LOCKS,
            "a way down: prisma has none of its own; without one a rollback may need a restore",
            *(() if within else ("its migrations: none were seen below the schema",)),
        ),
    )


def _knex(repository: Repository, package: Package) -> ToolSeen | None:
    config = repository.named("knexfile.js", "knexfile.cjs", "knexfile.mjs", "knexfile.ts")
    if config is None or not package.needs("knex"):
        return None
    said = _path(_DIRECTORY, repository, config)
    directory = said or config.parent / "migrations"
    given = "" if config.parent == Path() else f" --knexfile {config}"
    names = "/^Found [0-9]+ Pending/ {on = told = 1; next} /^No Pending/ {told = 1} on && NF {print $1}"
    return ToolSeen(
        "knex",
        str(config),
        pending=told(f"node_modules/.bin/knex migrate:list{given}", names),
        upgrade=(f"{BIN}/knex", "migrate:latest", *given.split()),
        downgrade=(f"{BIN}/knex", "migrate:down", "{name}", *given.split()),
        files=(str(config), f"{directory}/*"),
        package="knex",
        environment={"NODE_ENV": "production"},
        notes=(_NO_STATE.format(tool="knex"),),
        fill_in=(
            *_reads_environment(repository, config),
            *_typescript(config),
            *(() if said else (f"where the migrations lie; {config} does not say it in so many words",)),
        ),
    )


def _sequelize(repository: Repository, package: Package) -> ToolSeen | None:
    within = _holding(repository, r"(?:[\w-]+/)*migrations/[^/]+\.[cm]?[jt]s")
    if not package.needs("sequelize-cli") or within is None:
        return None
    config = repository.named(".sequelizerc", "config.json", "config.js", "config.cjs")
    if config is not None and config.name == ".sequelizerc":
        config = _path(_CONFIG, repository, config)
    names = '/^(up|down) / {told = 1} $1 == "down" {print $2}'
    return ToolSeen(
        "sequelize",
        str(within),
        pending=told("node_modules/.bin/sequelize-cli db:migrate:status", names),
        upgrade=(f"{BIN}/sequelize-cli", "db:migrate"),
        downgrade=(f"{BIN}/sequelize-cli", "db:migrate:undo", "--name", "{name}"),
        files=(f"{within}/*",),
        package="sequelize-cli",
        environment={"NODE_ENV": "production"},
        notes=(_NO_STATE.format(tool="sequelize-cli"),),
        fill_in=_reads_environment(repository, config),
    )


def _typeorm(repository: Repository, package: Package) -> ToolSeen | None:
    source = next((seen for _match, seen in repository.find(_SOURCE, repository.scripts)), None)
    migrations = {Path(seen.where).parent for _match, seen in repository.find(_MIGRATION, repository.scripts)}
    if not package.needs("typeorm") or not (source and migrations):
        return None
    path = Path(source.where.rpartition(":")[0])
    made, fill_in = path, [*_reads_environment(repository, path)]
    if path.suffix != ".js":
        made = Path("dist", *path.parts[path.parts[0] == "src" :]).with_suffix(".js")
        fill_in += [f"the file that the build makes of {path}; {made} is only the usual one"]
    names = r"/^ *\[[X ]\] / {told = 1} /^ *\[ \] / {print $NF}"
    return ToolSeen(
        "typeorm",
        source.where,
        pending=told(f"node_modules/.bin/typeorm migration:show -d {made}", names),
        upgrade=(f"{BIN}/typeorm", "migration:run", "-d", str(made)),
        # It takes back the last one only, and knows no names: each name is a run of its own, the last one first.
        downgrade=("sh", "-c", f"exec node_modules/.bin/typeorm migration:revert -d {made}", "{name}"),
        files=tuple(f"{one}/*" for one in sorted(migrations)),
        package="typeorm",
        fill_in=fill_in,
    )


def _node_pg_migrate(repository: Repository, package: Package) -> ToolSeen | None:
    within = _holding(repository, r"(?:[\w-]+/)*migrations/[^/]+\.(?:[cm]?[jt]s|sql)")
    if not package.needs("node-pg-migrate") or within is None:
        return None
    given = () if within == Path("migrations") else ("-m", str(within))
    asked = " ".join(("node_modules/.bin/node-pg-migrate up --dry-run", *given))
    names = "/^No migrations to run/ {told = 1} /^> Migrating files:/ {told = 1} /^> - / {print $3}"
    return ToolSeen(
        "node-pg-migrate",
        str(within),
        pending=told(asked, names),
        upgrade=(f"{BIN}/node-pg-migrate", "up", *given),
        downgrade=(f"{BIN}/node-pg-migrate", "down", "{count}", *given),
        files=(f"{within}/*",),
        package="node-pg-migrate",
    )


def _db_migrate(repository: Repository, package: Package) -> ToolSeen | None:
    within = _holding(repository, r"(?:[\w-]+/)*migrations/[^/]+\.(?:[cm]?[jt]s|sql)")
    if not package.needs("db-migrate") or within is None:
        return None
    given = ("-e", "production", *(() if within == Path("migrations") else ("-m", str(within))))
    # A list beyond a hundred names is cut by Node; that must not look whole.
    names = r"/Migrations to run:/ {told = 1} /more items?$/ {told = 0; exit} told && !over "
    names += r"{n = split($0, part, /\047/); for (i = 2; i < n; i += 2) print part[i]} told && /\]$/ {over = 1}"
    return ToolSeen(
        "db-migrate",
        str(within),
        pending=told(f"node_modules/.bin/db-migrate check {' '.join(given)}", names),
        upgrade=(f"{BIN}/db-migrate", "up", *given),
        downgrade=(f"{BIN}/db-migrate", "down", "-c", "{count}", *given),
        files=(f"{within}/*",),
        package="db-migrate",
        environment={"NODE_ENV": "production"},
        notes=(_NO_STATE.format(tool="db-migrate"),),
    )


def _own_script(repository: Repository, package: Package) -> ToolSeen | None:
    """Return what a script of the service's own does: golive cannot know how to ask it."""
    name = next((name for name in package.scripts if _OWN_SCRIPTS.fullmatch(name)), None)
    if name is None:
        return None
    program = settled(package, Program("migrate", ("npm", "run", name), package.where(name)))
    sql = sql_of(repository)
    files = [word for word in program.words if (repository.root / word).is_file()]
    locks = [
        name for name in ("package-lock.json", "pnpm-lock.yaml", "yarn.lock") if (repository.root / name).is_file()
    ]
    return ToolSeen(
        f"the script {name}",
        program.where,
        pending=("sh", "-c", "echo 'migration.commands.pending is to be filled in' >&2; exit 1"),
        upgrade=program.words,
        files=tuple(dict.fromkeys([*files, *(sql.files if sql else ()), *locks])) or ("package.json",),
        package=program.words[0].removeprefix(f"{BIN}/"),
        environment=dict(program.given),
        fill_in=(
            f"the command `pending`, which fails as it stands, so that nothing is overlooked: it {_SEE_THAT}",
            "a command `downgrade`, if there is a way down; without one a rollback may need a restore",
            *([] if not program.guessed else [f"the command is started by {program.guessed}"]),
        ),
    )


def _holding(repository: Repository, pattern: str, below: Path = Path()) -> Path | None:
    """Return the directory of migrations below another that holds files of the pattern, the least deep one."""
    prefix = "" if below == Path() else f"{re.escape(str(below))}/"
    found = [path for path in repository.files if re.fullmatch(prefix + pattern, str(path))]
    places = {Path(*path.parts[: path.parts.index("migrations") + 1]) for path in found}
    return min(places, key=lambda path: (len(path.parts), str(path)), default=None)


def _reads_environment(repository: Repository, config: Path | None) -> Sequence[str]:
    """Return what is to be filled in where a tool's configuration does not show that it looks at its environment."""
    if config is not None and _ENVIRONMENT.search(repository.text(config)):
        return ()
    where = config or "its configuration"
    return (f"see that {where} takes the database from the environment: golive hands it over there, as to the program",)


def _path(pattern: re.Pattern[str], repository: Repository, config: Path) -> Path | None:
    """Return the path that a configuration names in so many words, relative to the repository."""
    match = pattern.search(repository.text(config))
    parts = re.findall(r"""["'`]([^"'`\n]+)["'`]""", match["given"]) if match else []
    found = os.path.normpath(config.parent.joinpath(*parts)) if parts else ".."
    return None if found.startswith((".", "/")) else Path(found)


def _typescript(config: Path) -> Sequence[str]:
    if config.suffix != ".ts":
        return ()
    return (f"{config} needs tsx or ts-node at run time; golive's makers tried the commands with JavaScript only",)
