"""What golive asks Django in the release's own Python, and what that answers.

Each script runs by ``manage.py shell -c``, so that settings, database routers and applications are the release's own.
It prints its answer as one line of JSON behind a mark, because settings and Django itself may print as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.domain.errors import CommandFailed

NAMES = "GOLIVE_NAMES"
"""The variable that holds the names of migrations, one a line."""
_MARK = "golive says: "

_BEGIN = f"""
import hashlib, json, os, sys
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor

executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
loader, graph = executor.loader, executor.loader.graph
plan = list(dict.fromkeys(key for leaf in graph.leaf_nodes() for key in graph.forwards_plan(leaf)))
wanted = set(os.environ.get({NAMES!r}, "").split("\\n"))
named = [key for key in plan if ".".join(key) in wanted]


def answer(**said):
    print("\\n" + {_MARK!r} + json.dumps(said), flush=True)
"""

STATE = (
    _BEGIN
    + """
def reversible(operations):
    return all(
        reversible(one.database_operations) if hasattr(one, "database_operations") else one.reversible
        for one in operations
    )


def digest(migration):
    with open(sys.modules[migration.__module__].__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


answer(
    plan=[
        {
            "name": ".".join(key),
            "parents": sorted(".".join(one.key) for one in graph.node_map[key].parents),
            "applied": key in loader.applied_migrations,
            "reversible": reversible(graph.nodes[key].operations),
        }
        for key in plan
    ],
    digests={".".join(key): digest(one) for key, one in sorted(loader.disk_migrations.items())},
    conflicts={app: sorted(names) for app, names in loader.detect_conflicts().items()},
)
"""
)
"""How far the database has come, and a digest of each migration's file, those of installed packages too."""

SQL = (
    _BEGIN
    + """
done = [key for key in plan if key in loader.applied_migrations and key not in named]
state, texts = loader.project_state(done), {}
for key in named:
    migration = graph.nodes[key]
    with executor.connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
        state = migration.apply(state, editor, collect_sql=True)
    texts[".".join(key)] = {"text": "\\n".join(editor.collected_sql), "atomic": migration.atomic}
answer(texts=texts)
"""
)
"""The SQL of migrations, none of which is run; what Django asks the database for it is only read."""

DOWN = (
    _BEGIN
    + """
executor.migrate(None, plan=[(graph.nodes[key], True) for key in reversed(named) if key in loader.applied_migrations])
answer()
"""
)
"""Takes back migrations by their names and no other, the last one first."""


@dataclass(frozen=True)
class Known:
    """A migration of the release, by its application and name, with those that it builds on directly."""

    name: str
    parents: tuple[str, ...]
    applied: bool
    reversible: bool


def words(script: str) -> tuple[str, ...]:
    """Return the arguments of Django's program that run a script.

    What is at a script's top must be global: older versions of Django run it among the variables of a function.
    """
    return ("shell", "-c", f"exec({script!r}, {{'__name__': 'golive'}})")


def answer_in(said: str, where: str) -> dict[str, Any]:
    """Return what a script answered; raises `CommandFailed` if there is no answer, whatever else was printed."""
    lines = [line for line in said.splitlines() if line.startswith(_MARK)]
    try:
        found = json.loads(lines[-1].removeprefix(_MARK)) if lines else None
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise CommandFailed(
            f"Django ended well without an answer; it printed {said.strip()[-200:]!r}",
            expected="its command 'shell -c' to run what it is given",
            where=where,
            do="let migration.command be Django's own program, such as a Python with manage.py",
        )
    return found


def known(plan: Sequence[dict[str, Any]]) -> list[Known]:
    """Return the migrations of an answer, in the order in which Django applies them."""
    return [Known(one["name"], tuple(one["parents"]), one["applied"], one["reversible"]) for one in plan]
