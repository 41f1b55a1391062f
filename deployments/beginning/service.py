"""How a repository's service is started and asked whether it is well, as far as its files show it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.beginning.repository import Repository, Seen

_FRAMEWORKS = "fastapi|flask|starlette|quart|litestar"
_OBJECT = re.compile(
    r"^(?P<name>\w+)(?:\s*:[^=\n]+)?\s*=\s*(?P<what>FastAPI|Flask|Starlette|Quart|Litestar)\(", re.MULTILINE
)
_FACTORY = re.compile(
    r"^(?:async\s+)?def\s+(?P<name>(?:create|make|build|start)_(?:app|application))\((?P<given>[^)]*)", re.MULTILINE
)
_MADE = re.compile(
    r"^(?P<name>app|application|api)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)*(?:create|make|build|get|init)_\w*app\w*\(",
    re.MULTILINE,
)
"""An application that a function of the code's own makes, with whatever it needs."""
_IMPORTED = re.compile(rf"^\s*(?:from|import)\s+(?P<what>{_FRAMEWORKS})\b", re.MULTILINE)
HEALTH_NAMES = "health|healthz|health[-_]?check|livez|readyz?|ready|alive|liveness|ping|status|heartbeat"
"""What the last part of a route is called by which a service says that it is well."""
_HEALTH = re.compile(
    r"""(?:@\s*[\w.]+\.(?:get|route|api_route)|\b(?:re_)?path|\bRoute|add_url_rule|add_api_route)\(\s*r?["']"""
    rf"""(?P<path>[\w/.-]*\b(?:{HEALTH_NAMES})\b/?)["']"""
)
_BEST = ("health", "healthz", "ready", "readyz", "alive", "ping", "status")
_SHELL = re.compile(r"[|&;<>`]|\$\(")
ASYNC = frozenset({"fastapi", "starlette", "quart", "litestar"})


@dataclass(frozen=True)
class Program:
    """A program of the service: its words as a release file has them, its role, and where it was seen."""

    name: str
    words: tuple[str, ...]
    where: str
    background: bool = False
    guessed: str = ""
    """What of it is a guess, in words; nothing if it stands so in the repository."""
    given: tuple[tuple[str, str], ...] = ()
    """The variables that its command begins with, each with its value."""
    directory: str = "."
    """Where it runs, relative to the repository."""


def programs_of(repository: Repository, of_project: Sequence[Program] = ()) -> list[Program]:
    """Return the programs that the repository's files start: by Procfile or systemd, else by a framework's object.

    ``of_project`` are those that a framework's own form of a project shows, before any object is looked for.
    """
    return _of_procfile(repository) or _of_units(repository) or list(of_project) or _of_framework(repository)


def _of_procfile(repository: Repository) -> list[Program]:
    found = []
    for number, line in enumerate(repository.text("Procfile").splitlines(), 1):
        match = re.fullmatch(r"\s*([A-Za-z][\w-]*)\s*:\s*(\S.*)", line)
        if match and match[1] != "release":
            name = match[1].lower().replace("-", "_")
            found.append(Program(name, words_of(match[2]), f"Procfile:{number}", background=name not in {"web", "api"}))
    return found


def _of_units(repository: Repository) -> list[Program]:
    found = []
    for path in (one for one in repository.files if one.suffix == ".service"):
        for number, line in enumerate(repository.text(path).splitlines(), 1):
            if match := re.fullmatch(r"\s*ExecStart\s*=\s*[-@:+!]*(\S.*)", line):
                name = re.sub(r"[^a-z0-9_]", "_", path.stem.lower().partition("@")[0]).lstrip("0123456789_") or "web"
                background = bool(re.search(r"worker|beat|scheduler|consumer|cron", name + match[1]))
                guess = "the absolute paths of the unit, which are not those of a version" if "/" in match[1] else ""
                found.append(Program(name, words_of(match[1]), f"{path}:{number}", background, guess))
    return found


def words_of(line: str) -> tuple[str, ...]:
    """Return a command line as a release file's words: the port by golive's name, a shell only where it needs one."""
    line = re.sub(r"\$\{?PORT(?::-\d+)?\}?", "{port}", line)
    if _SHELL.search(line) or "${" in line:
        return ("sh", "-c", f"exec {line}" if not _SHELL.search(line) else line.replace("${", "$ {"))
    try:
        words = shlex.split(line)
    except ValueError:
        return ("sh", "-c", line)
    for at, word in enumerate(words):
        # An address to listen on is golive's to give, since two versions stand beside each other.
        words[at] = re.sub(r"^((?:--(?:bind|listen|port)=)?(?:[\w.*]+:)?)\d{4,5}$", r"\1{port}", word)
    return tuple(words)


def _of_framework(repository: Repository) -> list[Program]:
    for match, seen in repository.find(_OBJECT):
        path = Path(seen.where.rpartition(":")[0])
        if _imports(repository, path):
            return [_server(repository, f"{_module(path)}:{match['name']}", match["what"].lower(), seen)]
    for match, seen in repository.find(_MADE):
        path = Path(seen.where.rpartition(":")[0])
        if framework := _imports(repository, path):
            return [_server(repository, f"{_module(path)}:{match['name']}", framework, seen)]
    for match, seen in repository.find(_FACTORY):
        path = Path(seen.where.rpartition(":")[0])
        if (framework := _imports(repository, path)) and _may_be_called(match["given"]):
            return [_server(repository, f"{_module(path)}:{match['name']}", framework, seen, factory=True)]
    return []


def _may_be_called(parameters: str) -> bool:
    """Tell whether a function can be called without arguments, as a server calls a factory."""
    named = [
        one.strip() for one in re.sub(r"\[[^\]]*\]", "", parameters).split(",") if one.strip() not in {"", "*", "/"}
    ]
    return all("=" in one or one.startswith("*") for one in named)


def _imports(repository: Repository, path: Path) -> str:
    match = _IMPORTED.search(repository.text(path))
    return match["what"] if match else ""


def _module(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    if parts[0] == "src":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _server(repository: Repository, entry: str, framework: str, seen: Seen, *, factory: bool = False) -> Program:
    beside = ("--app-dir", "src") if (repository.root / "src").is_dir() and seen.where.startswith("src/") else ()
    if framework in ASYNC:
        words = ("{python}", "-m", "uvicorn", *beside, *(("--factory",) if factory else ()), entry)
        words += ("--host", "127.0.0.1", "--port", "{port}")
        guess = "" if repository.needs("uvicorn") else "uvicorn, which its requirements do not name"
    elif repository.needs("waitress") and not repository.needs("gunicorn"):
        words = ("{python}", "-m", "waitress", "--listen=127.0.0.1:{port}", *(("--call",) if factory else ()), entry)
        guess = ""
    else:
        words = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", f"{entry}()" if factory else entry)
        guess = "" if repository.needs("gunicorn") else "gunicorn, which its requirements do not name"
    return Program("web", words, seen.where, guessed=guess)


def health_of(repository: Repository) -> Seen | None:
    """Return the route by which the service says that it is well, as it stands in the code."""
    return likeliest(Seen(_absolute(match["path"]), seen.where) for match, seen in repository.find(_HEALTH))


def likeliest(found: Iterable[Seen]) -> Seen | None:
    """Return the route that most likely says whether the service is well."""

    def rank(one: Seen) -> tuple[int, int]:
        last = one.value.rstrip("/").rpartition("/")[2]
        return (_BEST.index(last) if last in _BEST else len(_BEST), len(one.value))

    return min(found, key=rank, default=None)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def prefixes_of(repository: Repository) -> list[Seen]:
    """Return the prefixes under which routers are mounted, one of which may come before a route."""
    pattern = re.compile(r"""(?:(?:url_)?prefix\s*=\s*|include_router\([^)]*prefix\s*=\s*)["'](?P<path>/[\w/-]+)["']""")
    return [Seen(match["path"], seen.where) for match, seen in repository.find(pattern)]


def ports_of(repository: Repository) -> Iterator[Seen]:
    """Yield the ports that the repository names, the likeliest first."""
    for name in ("Dockerfile", "Procfile"):
        text = repository.text(name)
        for match in re.finditer(r"(?m)^EXPOSE\s+(\d{2,5})|--port[= ](\d{2,5})|:(\d{4,5})\b", text):
            yield Seen(next(filter(None, match.groups())), f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
