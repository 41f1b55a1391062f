"""The variables that a service for Node reads from its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deployments.beginning.repository import Repository, Seen
from deployments.beginning.settings import Setting

_NAME = r"(?P<name>[A-Z][A-Z0-9_]*)"
_READ = re.compile(
    rf"""\b(?:process|Bun|import\.meta)\.env(?:\.{_NAME}\b|\[["'`](?P<quoted>[A-Z][A-Z0-9_]*)["'`]\])"""
    r"""(?=(?P<after>[^\n;]{0,60}))"""
)
_DESTRUCTURED = re.compile(r"\{(?P<names>[^{}]*)\}\s*=\s*process\.env\b")
_DECLARED = re.compile(
    rf"""^\s*{_NAME}\s*:\s*(?P<what>z|Joi|yup|Type|str|num|bool|url|port|host|email|json)\b(?P<after>[^\n]*)""",
    re.MULTILINE,
)
_OF_NEST = re.compile(
    r"""\b[cC]onfig(?:Service)?\.(?P<how>get|getOrThrow)(?:<[^>\n]*>)?\(\s*["'`](?P<name>[A-Z][A-Z0-9_]*)["'`](?=(?P<after>[^\n;]{0,40}))"""
)
_PRISMA = re.compile(rf"""\benv\(\s*["']{_NAME}["']\s*\)""")
_FALLS_BACK = re.compile(r"\s*(?:,\s*\d+\s*)?\)*\s*(?:\|\||\?\?|[!=]==?)")
_HAS_DEFAULT = re.compile(r"\b(?:default|optional|devDefault)\w*\b")
_OF_EVERYONE = re.compile(r"NODE_ENV|NODE_OPTIONS|PORT|HOST|HOSTNAME|CI|TZ|PATH|HOME|PWD|npm_.*|LOG_LEVEL|DEBUG")
"""What is no setting of the service's own."""


def settings_of(repository: Repository) -> Sequence[Setting]:
    """Return the variables that the code reads, each once; ``None`` in quotes stands for one without a default."""
    found: dict[str, Setting] = {}
    for one in _all(repository):
        before = found.get(one.seen.value)
        if before is None or (before.is_empty and not one.is_empty and not before.is_needed):
            found[one.seen.value] = Setting((before or one).seen, one.value)
    return [one for name, one in found.items() if not _OF_EVERYONE.fullmatch(name)]


def _all(repository: Repository) -> Iterator[Setting]:
    scripts = repository.scripts
    declaring = [
        path for path in scripts if re.search(r"process\.env|ConfigModule|@nestjs/config", repository.text(path))
    ]
    for match, seen in repository.find(_DECLARED, declaring):
        yield Setting(Seen(match["name"], seen.where), "given" if _HAS_DEFAULT.search(match["after"]) else None)
    for match, seen in repository.find(_OF_NEST, scripts):
        given = match["after"].lstrip().startswith(",")
        needed = match["how"] == "getOrThrow"
        yield Setting(Seen(match["name"], seen.where), "given" if given else None if needed else "None")
    for match, seen in repository.find(_READ, scripts):
        value = "given" if _FALLS_BACK.match(match["after"]) else "None"
        yield Setting(Seen(match["name"] or match["quoted"], seen.where), value)
    for match, seen in repository.find(_DESTRUCTURED, scripts):
        for part in match["names"].split(","):
            if one := re.fullmatch(rf"\s*{_NAME}\s*(?::\s*\w+\s*)?(?P<default>=.*)?", part, re.DOTALL):
                yield Setting(Seen(one["name"], seen.where), "given" if one["default"] else "None")
    for match, seen in repository.find(_PRISMA, [path for path in repository.files if path.suffix == ".prisma"]):
        yield Setting(Seen(match["name"], seen.where), "None")
