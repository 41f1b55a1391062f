"""By which route a service for Node says that it is well, and under which prefix that is mounted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from deployments.beginning.repository import Repository, Seen
from deployments.beginning.service import HEALTH_NAMES, likeliest

_PATH = rf"(?P<path>/?(?:[\w.-]+/)*_?(?:{HEALTH_NAMES})/?)"
_CALLED = re.compile(rf"""\b(?P<owner>\w+)(?:\.\w+\([^()\n]*\))*\s*\.(?:get|all|use|head)\(\s*["'`]{_PATH}["'`]""")
_LISTED = re.compile(
    rf"""\bmethod\s*:\s*\[?\s*["'`](?:GET|get)["'`][^{{}}]{{0,120}}?\b(?:url|path)\s*:\s*["'`](?=/){_PATH}["'`]"""
)
_CLIENTS = re.compile(r"axios|https?|client|request|agent|fetch|superagent|supertest|got|api|config\w*", re.IGNORECASE)
_CONTROLLER = re.compile(r"""@Controller\(\s*(?:\{[^}]*?path\s*:\s*)?(?:["'`](?P<path>[\w/.-]*)["'`])?""")
_GET = re.compile(r"""@Get\(\s*(?:["'`](?P<path>[\w/.-]*)["'`])?\s*\)""")
_GLOBAL = re.compile(r"""\.setGlobalPrefix\(\s*["'`](?P<path>[\w/.-]+)["'`]\s*(?P<more>,)?""")
_VERSIONS = re.compile(r"\.enableVersioning\(")
_MADE = (
    r"\b{name}(?:\s*:[^=\n]+)?\s*=\s*(?:await\s+)?(?:new\s+)?"
    r"(?:express|fastify|Fastify|Koa|Hono|restify\.\w+)\s*(?:<[^>\n]*>)?\("
)
_MOUNT = re.compile(
    r"""\b(?P<parent>\w+)\.(?:use|route|register)\(\s*(?:["'`](?P<path>/[\w/.-]*)["'`]\s*,)?(?P<given>[^;\n]*)"""
)
_PREFIX = re.compile(
    r"""\bprefix\s*:\s*["'`](?P<path>/[\w/.-]+)["'`]|\.(?:use|route)\(\s*["'`](?P<used>/[\w/.-]+)["'`]\s*,"""
)
_FILES = re.compile(
    rf"(?:src/)?(?:app/(?P<app>(?:[\w().-]+/)*(?:{HEALTH_NAMES}))/route|pages/(?P<page>api/(?:[\w.-]+/)*(?:{HEALTH_NAMES}))(?:/index)?)"
)


def health_of(repository: Repository) -> tuple[Seen | None, Seen | None]:
    """Return the route by which the service says that it is well, and its whole path if the code tells that."""
    of_next = likeliest(_of_next(repository))
    if of_next is not None:
        return of_next, of_next
    of_nest = likeliest(_of_nest(repository))
    if of_nest is not None:
        return of_nest, _with_global_prefix(repository, of_nest)
    found = dict(_of_calls(repository))
    health = likeliest(found)
    return health, _mounted(repository, health, found[health]) if health else None


def prefixes_of(repository: Repository) -> list[Seen]:
    """Return the prefixes under which routers are mounted, one of which may come before a route."""
    found = [*repository.find(_PREFIX, repository.scripts), *repository.find(_GLOBAL, repository.scripts)]
    return [Seen(_absolute(next(filter(None, match.groups()))), seen.where) for match, seen in found]


def _of_next(repository: Repository) -> Iterator[Seen]:
    for path in repository.scripts:
        if match := _FILES.fullmatch(str(path.with_suffix(""))):
            parts = [part for part in (match["app"] or match["page"]).split("/") if not part.startswith("(")]
            yield Seen(f"/{'/'.join(parts)}", str(path))


def _of_nest(repository: Repository) -> Iterator[Seen]:
    for path in repository.scripts:
        text = repository.text(path)
        controllers = list(_CONTROLLER.finditer(text))
        ends = [one.start() for one in controllers[1:]] + [len(text)]
        for controller, end in zip(controllers, ends, strict=False):
            for get in _GET.finditer(text, controller.end(), end):
                whole = "/".join(part.strip("/") for part in (controller["path"], get["path"]) if part and part != "/")
                if re.fullmatch(_PATH, f"/{whole}"):
                    yield Seen(f"/{whole}", f"{path}:{text.count(chr(10), 0, get.start()) + 1}")


def _with_global_prefix(repository: Repository, route: Seen) -> Seen | None:
    prefixes = list(repository.find(_GLOBAL, repository.scripts))
    if any(True for _ in repository.find(_VERSIONS, repository.scripts)) or len(prefixes) > 1:
        return None
    if not prefixes:
        return route
    match, seen = prefixes[0]
    return None if match["more"] else Seen(f"{_absolute(match['path'])}{route.value}", seen.where)


def _of_calls(repository: Repository) -> Iterator[tuple[Seen, str]]:
    """Yield the routes with the names of what they are hung on; none for those in a list of routes."""
    for match, seen in repository.find(_CALLED, repository.scripts):
        if not _CLIENTS.fullmatch(match["owner"]):
            yield Seen(_absolute(match["path"]), seen.where), match["owner"]
    for match, seen in repository.find(_LISTED, repository.scripts):
        yield Seen(match["path"], seen.where), ""


def _mounted(repository: Repository, route: Seen, owner: str) -> Seen | None:
    """Return the whole path of a route of an application, or of a router that an application mounts itself."""
    path = Path(route.where.rpartition(":")[0])
    if _is_application(repository, path, owner) or not prefixes_of(repository):
        return route
    found = []
    for match, seen in repository.find(_MOUNT, repository.scripts):
        where = Path(seen.where.rpartition(":")[0])
        if _is_application(repository, where, match["parent"]) and _names(
            repository, where, match["given"], path, owner
        ):
            found.append(Seen(f"{(match['path'] or '').rstrip('/')}{route.value}", seen.where))
    return min(found, key=lambda one: len(one.value), default=None)


def _is_application(repository: Repository, path: Path, name: str) -> bool:
    return bool(name) and re.search(_MADE.format(name=re.escape(name)), repository.text(path)) is not None


def _names(repository: Repository, here: Path, given: str, path: Path, owner: str) -> bool:
    """Tell whether what is mounted in a file is the router of that name, or what another file hands out."""
    if "prefix" in given:
        return False
    if here == path:
        return re.search(rf"\b{re.escape(owner)}\b", given) is not None
    text = repository.text(here)
    for name in re.findall(r"\b[A-Za-z_]\w*\b", given):
        made = rf"""(?:\b{name}\b[^;\n]*\bfrom\s*|\b{name}\b[^;\n=]*=\s*require\(\s*)["'](?P<file>\.[^"']*)["']"""
        if (match := re.search(made, text)) and _is(here, match["file"], path):
            return True
    within = re.search(r"""require\(\s*["'](?P<file>\.[^"']*)["']""", given)
    return within is not None and _is(here, within["file"], path)


def _is(here: Path, named: str, path: Path) -> bool:
    """Tell whether a module that a file names is the one at a path."""
    meant = PurePosixPath(os.path.normpath(here.parent / named))
    return path.with_suffix("") in {Path(meant), Path(meant.with_suffix("")), Path(meant / "index")}


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"
