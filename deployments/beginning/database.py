"""How a repository's service reaches its database and changes its schema, as far as its files show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployments.beginning.repository import Repository, Seen, compose_of

_EXAMPLES = re.compile(r"\.?env[._-](?:example|sample|template|dist)|(?:example|sample|template)\.env", re.IGNORECASE)
_URL = re.compile(r"(?:[A-Z0-9]+_)*(?:DATABASE|DB|POSTGRES|POSTGRESQL|PG|SQLALCHEMY)(?:_[A-Z0-9]+)*_?(?:URL|URI|DSN)")
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
_FIELD = re.compile(r"^\s+(?P<name>[A-Za-z][A-Za-z0-9_]*)\s*:\s*[^=\n]+", re.MULTILINE)
_EMPTY_FIELD = re.compile(
    r"^    (?P<name>[A-Z][A-Z0-9_]{2,})\s*:\s*[^=\n]+?(?:=\s*(?:None|Field\(\s*\.\.\.[^\n]*))?$", re.MULTILINE
)
_SETTINGS = re.compile(r"class\s+\w+\(.*BaseSettings.*\)")
_DOWN = re.compile(r"(?:[._-](?:down|rollback|undo|revert))\.sql$", re.IGNORECASE)
_UP = re.compile(r"[._-]up\.sql$", re.IGNORECASE)
_MOST_SETTINGS = 40
_PLACES = ("migrations", "migration", "sql", "schema", "db")


@dataclass(frozen=True)
class Variables:
    """The variables by which the service learns of its database, and the others that it is given."""

    url: Seen | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    """The variables for the parts of a DSN, each with golive's placeholder for it."""
    parts_seen: str = ""
    others: tuple[Seen, ...] = ()


def variables_of(repository: Repository) -> Variables:
    """Return the variables that the repository's example of an environment, or else its code, names."""
    named = _in_examples(repository) or _in_code(repository)
    names = {one.value: one for one in named}
    url = next((one for name, one in names.items() if _URL.fullmatch(name)), None)
    url = url or next((one for one in _in_code(repository) if _URL.fullmatch(one.value)), None)
    parts: dict[str, str] = {}
    seen = ""
    if url is None:
        for one in [*names.values(), *_in_code(repository)]:
            if (match := _PART.fullmatch(one.value)) and one.value not in parts:
                parts[one.value] = f"{{{_PARTS[match['part']]}}}"
                seen = seen or one.where
        if "db_host" not in "".join(parts.values()):
            parts, seen = {}, ""
    others = tuple(one for name, one in names.items() if one is not url and name not in parts and name != "PORT")
    return Variables(url, parts, seen, others if _in_examples(repository) else _unset_settings(repository, url, parts))


def _in_examples(repository: Repository) -> list[Seen]:
    found: dict[str, Seen] = {}
    for path in (one for one in repository.files if _EXAMPLES.fullmatch(one.name)):
        for number, line in enumerate(repository.text(path).splitlines(), 1):
            if match := re.match(r"\s*#?\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=", line):
                found.setdefault(match[1], Seen(match[1], f"{path}:{number}"))
    return list(found.values())


def _in_code(repository: Repository) -> list[Seen]:
    found = {match["name"]: Seen(match["name"], seen.where) for match, seen in repository.find(_READ)}
    for path in repository.python:
        text = repository.text(path)
        if not _SETTINGS.search(text):
            continue
        for match in _FIELD.finditer(text):
            name = match["name"].upper()
            if _URL.fullmatch(name) or _PART.fullmatch(name):
                found.setdefault(name, Seen(name, f"{path}:{text.count(chr(10), 0, match.start('name')) + 1}"))
    return list(found.values())


def _unset_settings(repository: Repository, url: Seen | None, parts: Mapping[str, str]) -> tuple[Seen, ...]:
    """Return the settings of the code's own classes that have no value unless the environment gives one."""
    found: dict[str, Seen] = {}
    for path in repository.python:
        text = repository.text(path)
        for match in _EMPTY_FIELD.finditer(text) if _SETTINGS.search(text) else ():
            line = text.count("\n", 0, match.start()) + 1
            if match["name"] not in parts and (url is None or match["name"] != url.value):
                found.setdefault(match["name"], Seen(match["name"], f"{path}:{line}"))
    return tuple(found.values())[:_MOST_SETTINGS]


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
    return _alembic(repository) or _django(repository) or _sql(repository)


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
    within = {path.parent for path in repository.files if path.parent.name == "migrations" and path.suffix == ".py"}
    files = tuple(f"{directory}/*.py" for directory in sorted(within))
    return Migrations("django", str(manage), directory=str(manage.parent), files=files)


def _sql(repository: Repository) -> Migrations | None:
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
