"""Writes how the schema changes, as far as a repository shows it."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.beginning.database import Migrations
from deployments.beginning.draft import Draft, flow_list, quoted_text
from deployments.beginning.facts import Facts
from deployments.beginning.node_migration import ToolSeen
from deployments.beginning.python import VENV


def write_migration(draft: Draft, facts: Facts) -> None:
    """Write what changes the schema."""
    found = facts.migrations
    if found is None:
        known = "no tool that golive knows and no" if facts.on_node else "neither Alembic nor Django nor"
        draft.fill(f"what changes the schema; {known} SQL files were seen. If it does that when it starts: at_start")
        draft.add("migration: {kind: none}", "")
        return
    draft.note(f"Seen: {found.where}.")
    if isinstance(found, ToolSeen):
        _tool(draft, facts, found)
    elif found.kind == "sql":
        draft.fill(
            "what production has already must not be applied again: leave those files out, or see that they bear it"
        )
        draft.add("migration:", "  kind: sql", f"  files: {flow_list(found.files)}")
        if found.down:
            draft.add(f"  down: {flow_list(found.down)}")
    elif found.kind == "alembic":
        _alembic(draft, facts, found)
    else:
        _django(draft, facts, found)
    draft.add("  limits: {duration: 2 min, lock: 5s}", "")


def _tool(draft: Draft, facts: Facts, found: ToolSeen) -> None:
    for note in found.notes:
        draft.note(note)
    for words in found.fill_in:
        draft.fill(words)
    if facts.in_containers:
        draft.fill("golive runs these on its own machine: node_modules must be there, or name a command")
    draft.add("migration:", "  kind: command", "  commands:")
    draft.add(f"    pending: {flow_list(found.pending)}", f"    upgrade: {flow_list(found.upgrade)}")
    if found.downgrade:
        draft.add(f"    downgrade: {flow_list(found.downgrade)}")
    draft.add(f"  files: {flow_list(found.files)}")
    _database(draft, facts, found.environment)


def _database(draft: Draft, facts: Facts, given: Mapping[str, str]) -> None:
    """Write how a tool that runs by commands learns of its database, and what else it is given."""
    variables = facts.variables
    if variables.url and variables.url.value != "DATABASE_URL":
        draft.add(f"  dsn_variable: {variables.url.value}")
    every = {**given, **dict.fromkeys(variables.likewise, facts.dsn_for_program), **variables.parts}
    lines = [f"    {name}: {quoted_text(value)}" for name, value in every.items()]
    if facts.django is not None:
        # Whatever Django does, it loads its settings first.
        lines += [f"    {one.value}: {draft.reference(one.value)}" for one in variables.needed]
    if lines:
        draft.add("  environment:", *lines)


def _alembic(draft: Draft, facts: Facts, found: Migrations) -> None:
    draft.add("migration:", "  kind: alembic")
    if found.directory != ".":
        draft.add(f"  directory: {found.directory}")
    if facts.tools.build and not facts.in_containers:
        draft.add(f"  command: {flow_list([f'{VENV}/alembic'])}")
    elif facts.in_containers:
        draft.fill("golive runs Alembic on its own machine: the code's imports must be there, or name a command", 2)
    if facts.driver:
        draft.add(f"  dsn_scheme: postgresql+{facts.driver}")
    if facts.driver == "asyncpg":
        draft.note("asyncpg does not read PGOPTIONS: preflight says what env.py has to hand on.", 2)
    _alembic_dsn(draft, facts, found)


def _alembic_dsn(draft: Draft, facts: Facts, found: Migrations) -> None:
    variable = found.reads or (facts.variables.url.value if facts.variables.url else "")
    if variable and variable != "DATABASE_URL":
        draft.add(f"  dsn_variable: {variable}")
    if found.reads:
        return
    if variable:
        draft.fill(f"see that env.py takes the database's URL from {variable}; it does not name it itself", 2)
    elif facts.variables.parts:
        draft.add("  environment:", *(f'    {name}: "{value}"' for name, value in facts.variables.parts.items()))
    else:
        draft.fill("env.py must take the database's URL from DATABASE_URL; that was not seen", 2)


def _django(draft: Draft, facts: Facts, found: Migrations) -> None:
    if facts.in_containers:
        draft.fill("golive runs Django on its own machine: the code's imports must be there, or name a service")
    draft.add("migration:", "  kind: django", f"  command: {flow_list(facts.tools.words(['{python}', 'manage.py']))}")
    if found.directory != ".":
        draft.add(f"  directory: {found.directory}")
    _database(draft, facts, facts.tools.environment)
