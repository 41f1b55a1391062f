"""What a Django project shows of how it is served: its settings, its server, its workers, what it needs built."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.beginning.repository import Repository, Seen
from deployments.beginning.service import HEALTH_NAMES, Program, likeliest

_MODULE = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']""")
_MOUNTED = re.compile(
    r"""\b(?:re_)?(?:path|url)\(\s*r?["']\^?(?P<path>[\w/.-]*)\$?["']\s*,\s*(?P<what>include\(\s*["'](?P<module>[\w.]+)|[\w.]+)"""
)
_PATTERNS = re.compile(r"^\w*patterns\b", re.MULTILINE)
_WORKERS = {
    "django-rq": ("rqworker", ("rqworker", "default")),
    "django-q": ("qcluster", ("qcluster",)),
    "django-q2": ("qcluster", ("qcluster",)),
    "django-dramatiq": ("dramatiq", ("rundramatiq",)),
    "huey": ("huey", ("run_huey",)),
    "procrastinate": ("procrastinate", ("procrastinate", "worker")),
}
"""Packages by which a project does background work, and the command of manage.py that does it."""
_APP_OF_CELERY = re.compile(r"^(?P<name>\w+)\s*=\s*(?:\w+\.)?Celery\(", re.MULTILINE)
_BEAT = re.compile(r"\bbeat_schedule\b|\bCELERY_?BEAT_SCHED", re.IGNORECASE)


@dataclass(frozen=True)
class Hosts:
    """Which names a project answers for: by a variable, or as they stand in its settings."""

    seen: Seen
    variable: str = ""
    between: str = ","
    """What stands between two names in the variable."""
    allows_loopback: bool = False


@dataclass(frozen=True)
class DjangoSeen:
    """A Django project."""

    repository: Repository
    manage: Path
    module: str
    """The module of the settings that production takes."""
    chosen: bool
    """Whether its programs must be told the module, since ``manage.py`` takes another."""
    settings: Sequence[Path]

    @property
    def directory(self) -> Path:
        """Where ``manage.py`` lies, and its packages."""
        return self.manage.parent

    @property
    def package(self) -> str:
        """The project's own package."""
        return self.module.partition(".")[0] or "PROJECT"

    @property
    def environment(self) -> dict[str, str]:
        """What each program of it is given."""
        return {"DJANGO_SETTINGS_MODULE": self.module} if self.chosen else {}

    @property
    def static(self) -> Seen | None:
        """Where its settings say that static files are collected; None if they are not."""
        return next((seen for _match, seen in self._in_settings(r"^STATIC_ROOT\s*=\s*(?!None\b)\S")), None)

    @property
    def to_https(self) -> Seen | None:
        """Where its settings send what came without HTTPS elsewhere."""
        return next((seen for _match, seen in self._in_settings(r"^SECURE_SSL_REDIRECT\s*=\s*(?!False\b)\S")), None)

    @property
    def hosts(self) -> Hosts | None:
        """The names that it answers for, as the last of its settings has them; None where they tell nothing."""
        found = None
        for match, seen in self._in_settings(r"^ALLOWED_HOSTS\s*\+?=\s*(?P<value>(?:[^\n\[]|\[[^\]]*\])+)"):
            value = match["value"]
            names = re.findall(r"""(?:env(?:\.\w+)?|environ(?:\.get)?|getenv|config)\s*[\[(]\s*["']([A-Z]\w*)""", value)
            spaces = re.search(r"""\.split\((?:\s*["'] ["'])?\s*\)""", value) is not None
            loops = bool(re.search(r"""["'](?:\*|127\.0\.0\.1)["']""", value))
            found = Hosts(Seen("ALLOWED_HOSTS", seen.where), names[0] if names else "", " " if spaces else ",", loops)
        return found

    def _in_settings(self, pattern: str) -> list[tuple[re.Match[str], Seen]]:
        return list(self.repository.find(re.compile(pattern, re.MULTILINE), self.settings))

    # -- its programs -------------------------------------------------------------------------------------------------

    @property
    def programs(self) -> list[Program]:
        """What serves, and what works in the background."""
        return [
            replace(one, directory=str(self.directory)) for one in (self._server, *self._celery, *self._of_packages)
        ]

    @property
    def _server(self) -> Program:
        entry, where = self._entry("wsgi")
        needs = self.repository.needs
        if needs("gunicorn") or not (needs("daphne") or needs("uvicorn") or needs("channels")):
            asgi = self._entry("asgi") if needs("channels") and needs("uvicorn") else None
            worker = ("-k", "uvicorn.workers.UvicornWorker") if asgi else ()
            entry, where = asgi or (entry, where)
            words: tuple[str, ...] = ("gunicorn", "--bind", "127.0.0.1:{port}", *worker, entry)
        else:
            entry, where = self._entry("asgi")
            if needs("daphne") or not needs("uvicorn"):
                words = ("daphne", "-b", "127.0.0.1", "-p", "{port}", entry)
            else:
                words = ("uvicorn", entry, "--host", "127.0.0.1", "--port", "{port}")
        guess = "" if needs(words[0]) else f"{words[0]}, which its requirements do not name"
        guess = guess if self.module else "the name of the package, PROJECT"
        return Program("web", ("{python}", "-m", *words), where, guessed=guess)

    def _entry(self, kind: str) -> tuple[str, str]:
        """Return the application for a server of ``wsgi`` or ``asgi``, and where it was seen."""
        named = re.compile(rf"""^{kind.upper()}_APPLICATION\s*=\s*["']([\w.]+)\.(\w+)["']""", re.MULTILINE)
        found = [path for path in self.repository.python if path.name == f"{kind}.py" and self._below(path)]
        if found:
            return f"{self._module(found[0])}:application", str(found[0])
        for match, seen in self.repository.find(named, self.settings):
            return f"{match[1]}:{match[2]}", seen.where
        return f"{self.package}.{kind}:application", str(self.manage)

    @property
    def _celery(self) -> list[Program]:
        for match, seen in self.repository.find(_APP_OF_CELERY):
            path = Path(seen.where.rpartition(":")[0])
            if not self._below(path):
                continue
            module = self._module(path).removesuffix(".celery")
            app = module if match["name"] in {"app", "celery"} else f"{module}:{match['name']}"
            words = ("{python}", "-m", "celery", "-A", app)
            found = [Program("worker", (*words, "worker", "--loglevel", "info"), seen.where, background=True)]
            scheduler = self.repository.needs("django-celery-beat")
            if scheduler or any(True for _ in self.repository.find(_BEAT)):
                by = ("--scheduler", "django_celery_beat.schedulers:DatabaseScheduler") if scheduler else ()
                found.append(Program("beat", (*words, "beat", "--loglevel", "info", *by), seen.where, background=True))
            return found
        return []

    @property
    def _of_packages(self) -> list[Program]:
        return [
            Program(name, ("{python}", "manage.py", *words), str(self.manage), background=True)
            for package, (name, words) in _WORKERS.items()
            if self.repository.needs(package)
        ]

    def _below(self, path: Path) -> bool:
        return path.parts[: len(self.directory.parts)] == self.directory.parts

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self.directory).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    # -- its routes ---------------------------------------------------------------------------------------------------

    @property
    def health(self) -> Seen | None:
        """The whole path of the route by which it says that it is well, through all that it is included by."""
        tables = [path for path in self.repository.python if _PATTERNS.search(self.repository.text(path))]
        found = []
        for path in tables:
            for match, seen in self.repository.find(_MOUNTED, [path]):
                well = re.fullmatch(rf"(?:.*/)?(?:{HEALTH_NAMES})/?", match["path"]) and not match["module"]
                if well or (match["module"] or "").startswith("health_check"):
                    found += [Seen(f"/{before}{match['path']}", seen.where) for before in self._before(path, tables)]
        return likeliest(found)

    @property
    def admin(self) -> Seen | None:
        """The page by which people sign in to Django's own administration, which anybody gets."""
        for match, seen in self.repository.find(_MOUNTED):
            if match["what"].endswith("site.urls"):
                return Seen(f"/{match['path']}login/", seen.where)
        return None

    def _before(self, path: Path, tables: Sequence[Path], depth: int = 5) -> list[str]:
        """Return the prefixes under which a table of routes is included; one empty if it is nowhere."""
        module, found = self._module(path) if self._below(path) else "", []
        for table in tables if depth and module else ():
            for match, _seen in self.repository.find(_MOUNTED, [table]):
                if match["module"] and module.endswith(match["module"]) and table != path:
                    found += [f"{before}{match['path']}" for before in self._before(table, tables, depth - 1)]
        return found or [""]


def django_of(repository: Repository) -> DjangoSeen | None:
    """Return the Django project in a repository, None if there is none."""
    manage = repository.named("manage.py")
    if manage is None or "django" not in repository.text(manage).lower():
        return None
    own = _module_in(repository, manage)
    serving = [path for path in repository.python if path.name in {"wsgi.py", "asgi.py"}]
    served = next((found for path in serving if (found := _module_in(repository, path))), "")
    module = served or own
    return DjangoSeen(
        repository, manage, module, bool(served and served != own), _settings_of(repository, manage.parent, module)
    )


def _module_in(repository: Repository, path: Path) -> str:
    match = _MODULE.search(repository.text(path))
    return match[1] if match else ""


def _settings_of(repository: Repository, directory: Path, module: str) -> list[Path]:
    """Return the files of a module of settings, those that it imports from its own package before it."""
    todo, found = [module] if module else [], list[Path]()
    while todo and len(found) < 10:
        name = todo.pop(0)
        path = directory / Path(*name.split("."))
        for one in (path.with_suffix(".py"), path / "__init__.py"):
            text = repository.text(one)
            if text and one not in found:
                found.insert(0, one)
                todo += _imported(text, name if one.name == "__init__.py" else name.rpartition(".")[0])
    return found


def _imported(text: str, package: str) -> list[str]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return []
    found = []
    for node in body:
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            found.append(".".join([*above, *([node.module] if node.module else [])]))
            found += [".".join([*above, alias.name]) for alias in node.names if node.level and not node.module]
    return [name for name in found if name.partition(".")[0] == package.partition(".")[0]]
