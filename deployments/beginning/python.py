"""How a service in Python gets what it needs, and how its programs are called then."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from deployments.beginning.django import DjangoSeen
from deployments.beginning.repository import Repository
from deployments.beginning.service import Program

VENV = "{release_dir}/.venv/bin"
_PROGRAMS = frozenset(
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
_REQUIREMENTS = (
    "requirements.txt",
    *(f"requirements/{name}.txt" for name in ("production", "prod", "base", "main", "requirements")),
)
"""The files that name what it needs, the likeliest first."""
_ASYNC_SQLALCHEMY = re.compile(r"^\s*from sqlalchemy\.ext\.asyncio\b", re.MULTILINE)


@dataclass(frozen=True)
class PythonTools:
    """Python with pip, in a virtual environment for each version."""

    repository: Repository
    programs: Sequence[Program]
    migrator: str
    """The kind of what changes its schema."""
    django: DjangoSeen | None = None
    """The Django project that it is, if it is one."""

    usual_port = 8000

    @property
    def environment(self) -> Mapping[str, str]:
        """What its programs are given because packages for Python go by it."""
        return self.django.environment if self.django else {}

    @property
    def build(self) -> Sequence[tuple[str, ...]]:
        """The commands that install the code's dependencies into its own virtual environment."""
        repository, pip = self.repository, ".venv/bin/pip"
        if named := next((name for name in _REQUIREMENTS if repository.text(name)), ""):
            made: tuple[tuple[str, ...], ...] = ((pip, "install", "-r", named),)
        elif repository.project.get("name") and "[build-system]" in repository.text("pyproject.toml"):
            made = ((pip, "install", "."),)
        else:
            return ()
        missing = self._unnamed
        return (("python3", "-m", "venv", ".venv"), *made, *(((pip, "install", *missing),) if missing else ()))

    @property
    def about_build(self) -> Sequence[str]:
        """What a reader of the commands has to know."""
        found = ["Each version gets an environment of its own, made in its directory."]
        if self.repository.named("uv.lock", "poetry.lock"):
            found.append("A lock file was seen: a command that installs exactly what it says would be better.")
        if self._unnamed:
            found.append(f"Its requirements do not name {', '.join(self._unnamed)}, which it needs.")
        return found

    def brings(self, package: str) -> bool:
        """Tell whether the commands install a package that the code's requirements do not name."""
        return bool(self.build) and package in self._unnamed

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command with its Python being that of the version's own environment, if it has one."""
        if not self.build:
            return ["{python}" if words[0] in {"python", "python3"} else words[0], *words[1:]]
        if words[0] == "{python}":
            return [f"{VENV}/python", *words[1:]]
        name = words[0].rpartition("/")[2]
        return [f"{VENV}/{name}", *words[1:]] if name in _PROGRAMS else list(words)

    @property
    def _unnamed(self) -> list[str]:
        """The packages that it needs to run and its requirements do not name."""
        found = [name for name in self._programs_used if not self.repository.needs(name)]
        if "sqlalchemy[asyncio" not in self.repository.requirements and not self.repository.needs("greenlet"):
            # SQLAlchemy 2.1 does not bring it along any more.
            found += ["greenlet" for _ in islice(self.repository.find(_ASYNC_SQLALCHEMY), 1)]
        return found

    @property
    def _programs_used(self) -> list[str]:
        used = [program.words[2] for program in self.programs if program.words[:2] == ("{python}", "-m")]
        return [*used, *(["alembic"] if self.migrator == "alembic" else [])]
