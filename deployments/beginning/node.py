"""How a service for Node is started and installed, as its ``package.json`` and its code show it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.beginning.package import Package
from deployments.beginning.repository import Repository, Seen
from deployments.beginning.service import Program, words_of

BIN = "{release_dir}/node_modules/.bin"
_STARTS = ("start:prod", "start:production", "start")
_BACKGROUND = re.compile(
    r"(?:start:|run:)?(?P<name>[\w-]*(?:workers?|queues?|scheduler|consumers?|jobs?|cron))(?::start|:prod(?:uction)?)?"
)
_FOR_DEVELOPMENT = re.compile(
    r"(?:^|\s)(?:vite|react-scripts|webpack(?:-dev-server)?|parcel|ng|concurrently|npm-run-all|run-[ps]|turbo|nx|lerna"
    r"|ts-node-dev|tsnd|next dev|nuxt dev|astro dev|gatsby|http-server|serve|live-server|storybook|expo)(?=\s|$)"
)
_RUNS = re.compile(
    r"(?:npm|pnpm|yarn)\s+(?:(?:run|run-script)\s+)?(?:-s\s+|--silent\s+)?(?P<name>[\w:.-]+)(?:\s+--\s+(?P<more>.*))?"
)
_SHELL = re.compile(r"[|&;<>`$()*]")
_GIVEN = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_BY_NPM = "npm, which does not always hand a signal on: better is what the script runs in the end"
_MANAGERS = frozenset({"npm", "pnpm", "yarn"})
_PLAIN = frozenset(
    {"node", "nodejs", "npm", "npx", "pnpm", "yarn", "bun", "deno", "sh", "bash", "env", "python", "python3"}
)
"""Programs of the machine, not of ``node_modules``."""
_OF_NODE = re.compile(r"node|nodejs|npm|npx|pnpm|yarn|bun|deno|tsx|ts-node|next|nest|nuxt|remix-serve|pm2-runtime")
_OF_PYTHON = re.compile(
    r"\{?python[\d.]*\}?|gunicorn|uvicorn|hypercorn|daphne|waitress-serve|flask|fastapi|celery|rq|uv|poetry"
)
_LISTENS = re.compile(r"\.listen\(|\bcreateServer\(|\bserve\(")
_READS_PORT = re.compile(r"""\benv(?:\.PORT\b|\[["'`]PORT["'`]\])|\{[^{}]*\bPORT\b[^{}]*\}\s*=\s*process\.env"""
                         r"""|\bPORT\s*:\s*(?:z|Joi|yup|port|num)\b""")  # fmt: skip
_PORT = re.compile(
    r"""\benv(?:\.PORT\b|\[["'`]PORT["'`]\])\s*(?:,\s*10\s*)?\)*\s*(?:\|\||\?\?)\s*(?:Number\()?["'`]?(?P<port>\d{2,5})\b"""
    r"""|\{[^{}]*\bPORT\s*(?::\s*\w+\s*)?=\s*["'`]?(?P<taken>\d{2,5})[^{}]*\}\s*=\s*process\.env"""
    r"""|\bPORT\s*:\s*[^\n]*?\bdefault\w*(?:\(|:\s*)["'`]?(?P<declared>\d{2,5})"""
)
_MANIFESTS = ("pyproject.toml", "requirements.txt", "setup.py", "setup.cfg", "Pipfile", "manage.py")
_FRAMEWORKS = ("express", "koa", "fastify", "next", "@nestjs/core", "hapi", "@hapi/hapi", "restify", "hono")


@dataclass(frozen=True)
class NodeTools:
    """Node with npm, pnpm or yarn, whose packages lie in ``node_modules`` of each version."""

    package: Package
    programs: Sequence[Program] = ()
    migrator: str = ""
    """The package whose program changes its schema."""

    usual_port = 3000

    @property
    def environment(self) -> Mapping[str, str]:
        """What its programs are given because packages for Node go by it."""
        return {"NODE_ENV": "production"} if self.package.needs(*_FRAMEWORKS) else {}

    @property
    def build(self) -> Sequence[tuple[str, ...]]:
        """The commands that install its packages and build it."""
        used = [one.words[0].removeprefix(f"{BIN}/") for one in self.programs if one.words[0].startswith(BIN)]
        packages = {_PACKAGES.get(name, name) for name in [*used, self.migrator]}
        return self.package.build(development=any(map(self.package.only_for_development, packages)))

    @property
    def about_build(self) -> Sequence[str]:
        """What a reader of the commands has to know."""
        found = ["Each version gets packages of its own, in its directory."]
        if not self.package.is_locked:
            found.append("No lock file was seen, so what is installed may differ from one day to the next.")
        if self.package.manager != "npm":
            found.append(f"{self.package.manager} must be there where golive runs.")
        if self.package.engine:
            found.append(f"It wants Node {self.package.engine}; the node on golive's own PATH is taken.")
        return found

    def brings(self, package: str) -> bool:  # noqa: ARG002 - package.json names what it needs
        """Tell whether the commands install a package that ``package.json`` does not name: never."""
        return False

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command as it is: it was settled when it was seen."""
        return list(words)


_PACKAGES = {"nest": "@nestjs/cli", "tsc": "typescript", "remix-serve": "@remix-run/serve"}
"""Packages whose programs are called otherwise than they."""


def is_node(repository: Repository, package: Package | None, programs: Sequence[Program]) -> bool:
    """Tell whether Node runs the service, from the programs that other files than ``package.json`` start."""
    if package is None:
        return False
    if not programs:
        return bool(programs_of(package)) or not _in_python(repository)
    place = Path(programs[0].where.partition(":")[0])
    if place.suffix != ".py":
        first = [one.words[0].rpartition("/")[2] for one in programs]
        if any(_OF_NODE.fullmatch(word) for word in first):
            return True
        return not (any(_OF_PYTHON.fullmatch(word) for word in first) or _in_python(repository))
    # A Python framework's object runs the service where it belongs to a project in Python, else it is beside the point.
    above = [repository.root / parent / name for parent in place.parents for name in _MANIFESTS]
    return not any(one.is_file() for one in above) and bool(programs_of(package))


def _in_python(repository: Repository) -> bool:
    return any((repository.root / name).is_file() for name in _MANIFESTS)


def programs_of(package: Package) -> list[Program]:
    """Return the programs that the scripts of ``package.json``, or the file that it names, start."""
    scripts = package.scripts
    web = next((name for name in _STARTS if name in scripts), "")
    found = []
    if web and not _FOR_DEVELOPMENT.search(_last(scripts[web])):
        found.append(settled(package, Program("web", ("npm", "run", web), package.where(web))))
    elif not web or package.main:
        found += _of_file(package)
    for name, text in scripts.items():
        if (match := _BACKGROUND.fullmatch(name)) and not _FOR_DEVELOPMENT.search(_last(text)):
            called = re.sub(r"[^a-z0-9_]", "_", match["name"].lower()).strip("_")
            program = Program(called, ("npm", "run", name), package.where(name), background=True)
            if found and called not in {one.name for one in found}:
                found.append(settled(package, program))
    return found


def _of_file(package: Package) -> list[Program]:
    """Return the file that npm, or whoever takes ``main``, would start, if something in the code listens."""
    repository = package.repository
    for name, where in (("server.js", "server.js"), (package.main, package.where("main"))):
        if (
            name
            and (repository.root / name).is_file()
            and any(True for _ in repository.find(_LISTENS, repository.scripts))
        ):
            return [Program("web", ("node", name.removeprefix("./")), where)]
    return []


def settled(package: Package, program: Program) -> Program:
    """Return a program with the words that its script runs itself, for npm does not always hand a signal on."""
    line = " ".join(program.words)
    script, before = "", []
    for _ in range(5):
        match = _RUNS.fullmatch(line)
        name = match["name"] if match else ""
        text = package.scripts.get(name)
        if text is None:
            break
        script = name
        steps = [step.strip() for step in text.split("&&")]
        before += [*filter(None, [package.scripts.get(f"pre{name}", "")]), *steps[:-1]]
        line = " ".join(filter(None, [steps[-1], match["more"] if match else ""]))
    if not script:
        given, words = _apart(program.words)
        guess = program.guessed or (_BY_NPM if words[0] in _MANAGERS else "")
        return replace(program, words=_placed(words), given=given, guessed=guess)
    if _SHELL.search(re.sub(r"\$\{?PORT(?::-\d+)?\}?", "", line)) or not line:
        return replace(program, words=(package.manager, "run", script), guessed=_BY_NPM)
    given, words = _apart(words_of(line))
    guess = f"the script {script} only after {_shown(before)}, which is left out here" if before else ""
    guess = guess or (_BY_NPM if words[0] in _MANAGERS else "")
    if words[:1] == ("nodemon",):
        words, guess = ("node", *words[1:]), "nodemon, which is for development"
    if words[:2] == ("next", "start") and "{port}" not in words:
        words += ("-p", "{port}")
    return replace(program, words=_placed(words), given=given, guessed=guess)


def _shown(steps: Sequence[str]) -> str:
    """Return how commands begin, without what they are given: that may be a password."""
    begins = [[word for word in step.split() if "=" not in word and "://" not in word][:3] for step in steps]
    return " and ".join(f"`{' '.join(words)}`" for words in begins)


def _apart(words: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return the variables that a command begins with, and the command."""
    given: list[tuple[str, str]] = []
    rest = list(words)
    while rest and (rest[0] in {"cross-env", "env", "exec"} or _GIVEN.fullmatch(rest[0])):
        if match := _GIVEN.fullmatch(rest.pop(0)):
            given.append((match["name"], match["value"]))
    return tuple(given), tuple(rest or words)


def _placed(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command whose program is taken from the version's own packages, unless it is one of the machine."""
    first, *rest = words[1:] if words[0] == "npx" and len(words) > 1 and not words[1].startswith("-") else words
    first = first.removeprefix("./").removeprefix("node_modules/.bin/") if ".bin/" in first else first
    return (first if first in _PLAIN or "/" in first else f"{BIN}/{first}", *rest)


def _last(text: str) -> str:
    return text.rpartition("&&")[2].strip()


def ports_of(repository: Repository) -> Iterator[Seen]:
    """Yield the ports on which the code listens where ``PORT`` does not say another."""
    for match, seen in repository.find(_PORT, repository.scripts):
        port = next(filter(None, match.groups()))
        yield Seen(port, seen.where)


def reads_port(repository: Repository, programs: Sequence[Program]) -> bool:
    """Tell whether the service listens where the variable ``PORT`` says."""
    return any(one.words[0].endswith("/next") for one in programs) or any(
        True for _ in repository.find(_READS_PORT, repository.scripts)
    )
