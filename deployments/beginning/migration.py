"""Writes how the schema changes, as far as a repository shows it."""

from __future__ import annotations

from dataclasses import replace

from deployments.beginning.database import Migrations
from deployments.beginning.draft import VENV, Draft, Facts, flow_list


def write_migration(draft: Draft, facts: Facts) -> None:
    """Write what changes the schema."""
    found = facts.migrations
    if found is None:
        draft.fill("what changes the schema; neither Alembic nor Django nor SQL files were seen")
        draft.add("migration: {kind: none}", "")
        return
    draft.note(f"Seen: {found.where}.")
    if found.kind == "sql":
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


def _alembic(draft: Draft, facts: Facts, found: Migrations) -> None:
    draft.add("migration:", "  kind: alembic")
    if found.directory != ".":
        draft.add(f"  directory: {found.directory}")
    if facts.install and not facts.in_containers:
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
    manage = facts.words(["{python}", "manage.py"])
    shown = " ".join(manage)
    names = r"sed -n 's/^\[ \]  \([^ ]*\).*/\1/p'"
    draft.fill(
        "a way down, which with Django is `manage.py migrate APP NAME`; without one a rollback may need a restore"
    )
    if not found.files:
        draft.fill("the files of its migrations; none were seen")
        found = replace(found, files=("manage.py",))
    draft.add("migration:", "  kind: command")
    if found.directory != ".":
        draft.add(f"  directory: {found.directory}")
    draft.add("  commands:", f"    pending: {flow_list(['sh', '-c', f'{shown} showmigrations --plan | {names}'])}")
    draft.add(f"    upgrade: {flow_list([*manage, 'migrate', '--noinput'])}", f"  files: {flow_list(found.files)}")
    if facts.variables.url and facts.variables.url.value != "DATABASE_URL":
        draft.add(f"  dsn_variable: {facts.variables.url.value}")
    if facts.variables.parts:
        draft.add("  environment:", *(f'    {name}: "{value}"' for name, value in facts.variables.parts.items()))
