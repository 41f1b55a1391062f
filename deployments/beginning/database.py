"""How a repository's service reaches its database and changes its schema, as far as its files show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from deployments.beginning.repository import Repository, Seen, compose_of
from deployments.beginning.settings import Setting

_EXAMPLES = re.compile(r"\.?env[._-](?:example|sample|template|dist)|(?:example|sample|template)\.env", re.IGNORECASE)
_URL = re.compile(
    r"(?:[A-Z0-9]+_)*(?:DATABASE|DB|POSTGRES|POSTGRESQL|PG|SQLALCHEMY)(?:_[A-Z0-9]+)*_{0,2}(?:URL|URI|DSN|CONNECTION_?STRING)"
)
_BESIDE = re.compile(r"(?:TEST|SHADOW)_|.*_TEST_")
"""Databases that a service in production does without."""
_PART = re.compile(
    r"(?P<prefix>(?:[A-Z0-9]+_)*(?:POSTGRES|POSTGRESQL|PG|DB|DATABASE)_?)"
    r"(?P<part>HOSTNAME|HOST|PORT|USERNAME|USER|PASSWORD|PASS|DBNAME|DATABASE|NAME|DB)"
)
_PARTS = {
    "HOST": "db_host", "HOSTNAME": "db_host", "PORT": "db_port", "USER": "db_user", "USERNAME": "db_user",
    "PASSWORD": "db_password", "PASS": "db_password", "DB": "db_name", "NAME": "db_name", "DBNAME": "db_name",
    "DATABASE": "db_name",
}  # fmt: skip
_READ = re.compile(
    r"""(?:environ(?:\.get)?\s*[\[(]|getenv\s*\(|env(?:\.\w+)?\s*\()\s*["'](?P<name>[A-Z][A-Z0-9_]*)["']"""
)
_DOWN = re.compile(r"(?:[._-](?:down|rollback|undo|revert))\.sql$", re.IGNORECASE)
_UP = re.compile(r"[._-]up\.sql$", re.IGNORECASE)
_MOST_SETTINGS = 40
_PLACES = ("migrations", "migration", "sql", "schema", "db")


@dataclass(frozen=True)
class Variables:
    """The variables by which the service learns of its database, and the others that it is given."""

    url: Seen | None = None
    likewise: tuple[str, ...] = ()
    """Variables that hold a URL as ``url`` does, in another group of the same settings, as for reading only."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """The variables for the parts of a DSN, each with golive's placeholder for it."""
    parts_seen: str = ""
    others: tuple[Seen, ...] = ()
    """Variables that it may want."""
    needed: tuple[Seen, ...] = ()
    """Variables without which its code does not start."""

    @property
    def given(self) -> Set[str]:
        """The variables that are given a value of this."""
        url = (self.url.value, *self.likewise) if self.url else ("DATABASE_URL",) if not self.parts else ()
        return {*url, *self.parts, *(one.value for one in self.needed)}


def variables_of(repository: Repository, settings: Sequence[Setting], reads: Sequence[Seen]) -> Variables:
    """Return the variables that the repository's example of an environment, or else its code, names.

    ``settings`` are what its code declares, and ``reads`` the names that it asks its environment for elsewhere.
    """
    in_examples, in_code = _in_examples(repository), _in_code(reads, settings)
    names = {one.value: one for one in in_examples or in_code}
    urls = [one for one in (*names.values(), *in_code) if is_url(one.value)]
    # What only Alembic reads is no variable of the program, unless there is no other.
    urls.sort(key=lambda one: (_is_environment_of_alembic(repository, one), _BESIDE.match(one.value) is not None))
    url = urls[0] if urls else None
    likewise = [one.value for one in urls if url and one.where == url.where and one.value != url.value]
    parts: dict[str, str] = {}
    seen = ""
    if url is None:
        for one in [*names.values(), *in_code]:
            if (match := _PART.fullmatch(one.value)) and one.value not in parts:
                parts[one.value] = f"{{{_PARTS[match['part']]}}}"
                seen = seen or one.where
        if "db_host" not in "".join(parts.values()):
            parts, seen = {}, ""
    own = {*parts, *likewise, "PORT", "NODE_ENV", *([url.value] if url else [])}
    empty = [one for one in settings if one.is_empty and one.seen.value not in own][:_MOST_SETTINGS]
    needed = tuple(one.seen for one in empty if one.is_needed)
    others = in_examples or [one.seen for one in empty]
    others = [one for one in others if one.value not in own and one.value not in {need.value for need in needed}]
    return Variables(url, tuple(dict.fromkeys(likewise)), parts, seen, tuple(others), needed)


def _is_environment_of_alembic(repository: Repository, one: Seen) -> bool:
    path = Path(one.where.rpartition(":")[0])
    return path.name == "env.py" and (repository.root / path).with_name("script.py.mako").exists()


def _in_examples(repository: Repository) -> list[Seen]:
    found: dict[str, Seen] = {}
    for path in (one for one in repository.files if _EXAMPLES.fullmatch(one.name)):
        for number, line in enumerate(repository.text(path).splitlines(), 1):
            if match := re.match(r"\s*#?\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=", line):
                found.setdefault(match[1], Seen(match[1], f"{path}:{number}"))
    return list(found.values())


def _in_code(reads: Sequence[Seen], settings: Sequence[Setting]) -> list[Seen]:
    found = {one.value: one for one in reads}
    for one in settings:
        if is_url(one.seen.value) or _PART.fullmatch(one.seen.value):
            found.setdefault(one.seen.value, one.seen)
    return list(found.values())


def is_url(name: str) -> bool:
    """Tell whether a variable's name is one by which programs are told of a database."""
    return _URL.fullmatch(name) is not None


def driver_of(repository: Repository) -> str:
    """Return the driver that SQLAlchemy has to be told in the scheme of a DSN; empty if its usual one will do."""
    if not (repository.needs("sqlalchemy") or repository.needs("sqlmodel") or repository.needs("flask-sqlalchemy")):
        return ""
    older = any(repository.needs(name) for name in ("psycopg2", "psycopg2-binary"))
    if repository.needs("asyncpg") and not older:
        return "asyncpg"
    return "psycopg" if repository.needs("psycopg") and not older else ""


# -- migrations ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Migrations:
    """What changes the schema: its kind in golive's words, where it is, and what more is known."""

    kind: str
    where: str
    directory: str = "."
    files: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    reads: str = ""
    """The variable by which Alembic's ``env.py`` learns of the database, if it says so itself."""


def migrations_of(repository: Repository) -> Migrations | None:
    """Return what changes the schema: Alembic, Django, or SQL files; None if nothing of that was seen."""
    return _alembic(repository) or _django(repository) or sql_of(repository)


def _alembic(repository: Repository) -> Migrations | None:
    ini = repository.named("alembic.ini")
    if ini is None:
        if "[tool.alembic" not in repository.text("pyproject.toml"):
            return None
        ini = Path("pyproject.toml")
    place = re.search(r"(?m)^\s*script_location\s*=\s*[\"']?(\S+?)[\"']?\s*$", repository.text(ini))
    location = (place[1] if place else "alembic").replace("%(here)s", ".").strip("/")
    env = repository.text(Path(ini.parent, location, "env.py"))
    read = next((match["name"] for match in _READ.finditer(env) if _URL.fullmatch(match["name"])), "")
    return Migrations("alembic", str(ini), directory=str(ini.parent), reads=read)


def _django(repository: Repository) -> Migrations | None:
    manage = repository.named("manage.py")
    if manage is None or "django" not in repository.text(manage).lower():
        return None
    return Migrations("django", str(manage), directory=str(manage.parent))


def sql_of(repository: Repository) -> Migrations | None:
    """Return the SQL files that change the schema, None if there are none."""
    within: dict[Path, list[Path]] = {}
    for path in repository.files:
        if path.suffix.lower() == ".sql" and any(part.lower() in _PLACES for part in path.parent.parts):
            within.setdefault(path.parent, []).append(path)
    if not within:
        return None
    directory = max(within, key=lambda one: (one.name.lower() in _PLACES[:2], len(within[one]), str(one)))
    files = within[directory]
    ways_back = [path for path in files if _DOWN.search(path.name)]
    if any(_UP.search(path.name) for path in files):
        up = {_UP.search(path.name)[0] for path in files if _UP.search(path.name)}  # type: ignore[index]
        down = {_DOWN.search(path.name)[0] for path in ways_back}  # type: ignore[index]
        return Migrations(
            "sql",
            str(directory),
            files=tuple(f"{directory}/*{end}" for end in sorted(up)),
            down=tuple(f"{directory}/*{end}" for end in sorted(down)),
        )
    return Migrations("sql", str(directory), files=(f"{directory}/*.sql",))


def server_in(repository: Repository) -> Seen | None:
    """Return the PostgreSQL that the repository's Compose file starts, if there is one."""
    compose = compose_of(repository)
    for name, one in (compose.services if compose else {}).items():
        if re.search(r"postg|timescale", str(one.get("image", ""))):
            return Seen(f"{one['image']} (service {name})", str(compose.path) if compose else "")
    return None
