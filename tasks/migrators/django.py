"""Migrations written for Django."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tasks.domain.errors import CommandFailed, Refused
from tasks.domain.kind import Argv, no_secret_in
from tasks.domain.target import Target
from tasks.migrators import Migrated, SqlText, only_runner
from tasks.migrators import _django_scripts as scripts
from tasks.migrators._by_tool import ToolMigrator
from tasks.migrators._django_scripts import NAMES, Known
from tasks.migrators._tool import migrated

_ASKED, _DOWN = "manage.py shell", "manage.py shell, taking back"
"""How golive's own scripts are shown."""


class Django(ToolMigrator):
    """Runs Django's ``migrate`` in the release's own environment, for the database ``default``.

    What is pending, its SQL, and the way back are asked of Django itself, also for the migrations of installed
    packages. A way down takes back exactly what was applied, in whichever application. lock_timeout reaches Django
    through PGOPTIONS, which psycopg reads. Content types and permissions that ``migrate`` adds for new models stay
    when it is taken back, as Django leaves them.
    """

    kind: Literal["django"] = "django"
    """Django."""
    command: Annotated[Argv, Field(examples=[["{release_dir}/.venv/bin/python", "manage.py"]])] = (
        "{python}",
        "manage.py",
    )
    """The program that takes Django's commands; placeholders such as ``{release_dir}`` may stand in it, but no
    secrets."""
    upgrade_by: Annotated[
        tuple[str, ...], AfterValidator(no_secret_in), Field(min_length=1, examples=[["migrate", "--noinput"]])
    ] = ("migrate", "--noinput")
    """Django's command that applies what is pending, with its arguments."""

    def asking(self, target: Target) -> tuple[Sequence[str], str]:
        """Return the command that tells where the database stands."""
        return self._words(target, *scripts.words(scripts.STATE)), _ASKED

    def fingerprint(self, target: Target) -> str:
        """Return a hash of all migrations, those of installed packages too, of the commands and the limits."""
        digests = self._ask(target, scripts.STATE)["digests"]
        return hashlib.sha256(json.dumps([self.model_dump(), digests], sort_keys=True).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the migrations that are not applied, as ``app.0002_name``, in the order in which they will be.

        Raises `Refused` if an application has more than one last migration, which Django would not apply either.
        """
        return [one.name for one in self._plan(target) if not one.applied]

    def upgrade(self, target: Target) -> Migrated:
        """Apply what is pending and ask again whether anything is.

        Raises `LockNotGranted`, `TimedOut` or `CommandFailed`, with Django's last lines, and `Refused` when another
        migration runs.
        """
        began = target.world.clock.monotonic()
        with only_runner(target) as fence:
            names = self.pending(target)
            if not names:
                return Migrated((), target.world.clock.monotonic() - began, locks_exact=False)
            shown = f"manage.py {' '.join(self.upgrade_by)}"
            words = self._words(target, *(target.fill(word) for word in self.upgrade_by))
            samples, tries = self.tool(target).change(fence, words, shown)
            if left := [name for name in self.pending(target) if name in names]:
                raise CommandFailed(f"it ended well and yet {', '.join(left)} is not applied", where=shown)
        return migrated(names, target.world.clock.monotonic() - began, samples, tries)

    def can_downgrade(self, target: Target) -> bool:
        """Tell whether each operation of what is pending can be reversed; with none pending, of the last migration."""
        plan = self._plan(target)
        return all(one.reversible for one in [one for one in plan if not one.applied] or plan[-1:])

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Take back the named migrations that are applied, the last one first, and ask whether they are pending then.

        Raises `Refused` if a migration that is not named builds on them.
        """
        began = target.world.clock.monotonic()
        with only_runner(target) as fence:
            plan = self._plan(target)
            gone = [one.name for one in plan if one.applied and one.name in names]
            if not gone:
                return Migrated((), target.world.clock.monotonic() - began, locks_exact=False)
            for one in plan:
                if one.applied and one.name not in gone and (below := set(one.parents) & set(gone)):
                    raise Refused(f"{one.name} builds on {min(below)} and would be lost too", where=self.directory)
            words, given = self._words(target, *scripts.words(scripts.DOWN)), {NAMES: "\n".join(gone)}
            samples, tries = self.tool(target).change(fence, words, _DOWN, given=given)
            now = self.pending(target)
            if still := [name for name in gone if name not in now]:
                raise CommandFailed(f"it ended well and yet {', '.join(still)} is applied", where=_DOWN)
        return migrated(gone[::-1], target.world.clock.monotonic() - began, samples, tries)

    def sql_of(self, target: Target, names: Sequence[str]) -> Sequence[SqlText]:
        """Return the SQL that Django would send for each named migration; what is code in Python has none.

        Raises `CommandFailed` where Django can only tell it once an earlier one is applied.
        """
        if not names:
            return []
        texts = self._ask(target, scripts.SQL, **{NAMES: "\n".join(names)})["texts"]
        return [SqlText(name, texts[name]["text"], in_transaction=texts[name]["atomic"]) for name in names]

    def books(self) -> frozenset[str]:
        """Return Django's own table of what is applied."""
        return frozenset({"public.django_migrations"})

    def leaves_rows_in(self) -> frozenset[str]:
        """Return the tables to which ``migrate`` adds what new models need, and from which Django never removes it."""
        return frozenset({"public.django_content_type", "public.auth_permission"})

    def _plan(self, target: Target) -> list[Known]:
        said = self._ask(target, scripts.STATE)
        for app, names in said["conflicts"].items():
            raise Refused(
                f"{app} has {len(names)} last migrations: {', '.join(names)}",
                expected="one",
                where=self.directory,
                do="merge them with 'manage.py makemigrations --merge'",
            )
        return scripts.known(said["plan"])

    def _ask(self, target: Target, script: str, **given: str) -> dict[str, Any]:
        tool, reads = self.tool(target), script is not scripts.STATE
        return scripts.answer_in(
            tool.run(self._words(target, *scripts.words(script)), _ASKED, given=given, read_only=reads), _ASKED
        )

    def _words(self, target: Target, *arguments: str) -> tuple[str, ...]:
        return tuple(target.fill(part) for part in self.command) + arguments
