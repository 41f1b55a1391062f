"""The release file from which a new system starts."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.domain.errors import Refused, UserError
from tasks.domain.release import SYSTEM_PATTERN
from tasks.spec.loading import FILE_NAME

TEMPLATE = """\
# How @NAME@ goes live. `golive schema` gives the whole form of this file, `golive validate @NAME@` checks it.
system: @NAME@
description: What it is, in a sentence.
base_url: http://127.0.0.1:8000

database:
  dsn: ${env:@UPPER@_DSN}

# One directory per version. For git: {kind: git, repository: …}
source: {kind: directory, path: /srv/@NAME@/versions}

platform:
  kind: supervisor
  processes:
    web:
      command: ["{python}", -m, uvicorn, "app:app", --host, 127.0.0.1, --port, "{port}"]
      environment: {DATABASE_URL: "{dsn}"}

router: {kind: embedded, listen: 8000}

rollout:
  kind: blue_green
  ports: [8101, 8102]
  ready: {path: /health, within: 30s}

migration: {kind: sql, files: ["migrations/*.sql"]}

# The roles that sign before production is touched, as in go: [technical_lead, dba]
sign_off: {go: []}

checks:
  compatibility:
    - {kind: http, name: the service is healthy, url: "{base_url}/health", status: 200}
  health:
    - {kind: http, name: API answers, url: "{base_url}/", status: 200, within: 2s}

watch:
  every: 1h
  for: 24h
  probe: {every: 30s, check: API answers}

rollback:
  when:
    - {kind: down, for: 10 min}
    - {kind: errors, above: 20%, for: 15 min}
  automatic: true
"""


def write_release_file(systems: Path, name: str, text: str = "") -> Path:
    """Write a release file to start from, by default the one that needs no code to look at, and return its path.

    Raises `UserError` for a name that cannot be a system's, and `Refused` if the system has one already.
    """
    if not re.fullmatch(SYSTEM_PATTERN[1:-1], name):
        raise UserError(
            f"{name!r} is not a system's name",
            expected="lower-case letters, digits and '-', at most 40, beginning with a letter",
        )
    path = systems / name / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text or TEMPLATE.replace("@NAME@", name).replace("@UPPER@", name.upper().replace("-", "_"))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Refused("there is one already", where=str(path), do=f"golive validate {name}") from error
    return path


def name_for(title: str) -> str:
    """Return a system's name made from what a service is called; raises `UserError` if none can be made."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].rstrip("-")
    name = re.sub(r"^[0-9-]+", "", name)
    if not name:
        raise UserError(f"{title!r} makes no system's name", do="give one: --name NAME")
    return name


def is_directory(what: str) -> bool:
    """Tell whether a word means a directory rather than a system: it is written with a slash, or is ``.`` or ``..``."""
    return "/" in what or what in {".", ".."}
