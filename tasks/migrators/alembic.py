"""Migrations written for Alembic."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from tasks.domain.errors import CommandFailed, Refused
from tasks.domain.kind import Argv
from tasks.domain.release import MARKER
from tasks.domain.target import Target
from tasks.migrators import Migrated, SqlText, only_runner
from tasks.migrators._alembic_revisions import Revision, has_way_down, heads_among, parse, with_ancestors
from tasks.migrators._by_tool import ToolMigrator
from tasks.migrators._fence import Fence
from tasks.migrators._locks import LockSamples
from tasks.migrators._tool import migrated


class Alembic(ToolMigrator):
    """Runs Alembic in the release's own environment; lock_timeout reaches it through PGOPTIONS.

    That takes a driver on libpq (psycopg 2 or 3). asyncpg does not read PGOPTIONS: there ``env.py`` must hand it on as
    ``server_settings``, or preflight refuses the release. A migration under ``autocommit_block`` gets the same
    lock_timeout.
    """

    kind: Literal["alembic"] = "alembic"
    """Alembic."""
    command: Annotated[Argv, Field(examples=[["{release_dir}/.venv/bin/alembic"]])] = ("{python}", "-m", "alembic")
    """The program with its first arguments; placeholders such as ``{release_dir}`` may stand in it, but no secrets."""
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")] = "head"
    """The revision to reach: ``head``, ``heads`` or a revision's id."""
    _told: dict[tuple[Path, str], str] = PrivateAttr(default_factory=dict)

    def asking(self, target: Target) -> tuple[Sequence[str], str]:
        """Return the command that tells where the database stands."""
        return self._words(target, "current"), "alembic current"

    def fingerprint(self, target: Target) -> str:
        """Return a hash of the revisions, ``env.py``, Alembic's settings, and the limits."""
        host, directory = target.world.host, target.release_dir / self.directory
        revisions = self._revisions(target).values()
        settings = tomllib.loads(host.read(directory / "pyproject.toml") or "").get("tool", {}).get("alembic")
        environments = sorted({Path(revision.path).parent.parent / "env.py" for revision in revisions})
        parts = [
            self.model_dump(),
            host.read(directory / "alembic.ini"),
            settings,
            [host.read(path) for path in environments],
            [(revision.id, host.read(Path(revision.path))) for revision in revisions],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the ids of the revisions between the database and ``revision``, in order.

        Raises `Refused` if ``head`` is more than one, `CommandFailed` if the database is at a revision that the
        release does not hold.
        """
        return self._state(target).pending

    def upgrade(self, target: Target) -> Migrated:
        """Upgrade to ``revision`` and read back that the database is there.

        Raises `LockNotGranted`, `TimedOut` or `CommandFailed`, with Alembic's last lines, and `Refused` when another
        migration runs.
        """
        began = target.world.clock.monotonic()
        with only_runner(target) as fence:
            state = self._state(target)
            if not state.pending:
                return Migrated((), target.world.clock.monotonic() - began, locks_exact=False)
            goal = self.revision if self.revision in {"head", "heads"} else state.goal[0]
            samples, tries = self._change(target, fence, "upgrade", goal)
            if left := set(state.pending) - with_ancestors(state.revisions, self._current(target)):
                raise CommandFailed(
                    f"it ended well and yet {', '.join(sorted(left))} is not applied", where="alembic upgrade"
                )
        return migrated(state.pending, target.world.clock.monotonic() - began, samples, tries)

    def can_downgrade(self, target: Target) -> bool:
        """Tell whether each pending revision has a ``downgrade`` that does something; with none pending, the last one.

        A revision that cannot be read by golive's Python counts as one without.
        """
        state = self._state(target)
        return all(has_way_down(target, state.revisions[name]) for name in state.pending or state.goal)

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Downgrade past the named revisions that are applied, and read back that the database is there.

        Raises `Refused` if a revision that is not named builds on them, or what is left has more than one head.
        """
        began = target.world.clock.monotonic()
        with only_runner(target) as fence:
            revisions = self._revisions(target)
            applied = with_ancestors(revisions, self._current(target))
            gone = [name for name in revisions if name in applied and name in names]
            left = applied - set(gone)
            if not gone:
                return Migrated((), target.world.clock.monotonic() - began, locks_exact=False)
            if orphans := sorted(with_ancestors(revisions, left) - left):
                builds = ", ".join(n for n in revisions if n in left and orphans[0] in with_ancestors(revisions, [n]))
                raise Refused(f"{builds} builds on {orphans[0]} and would be lost too", where=self.directory)
            heads = heads_among(revisions, left)
            if len(heads) > 1:
                raise Refused(f"what is left has {len(heads)} heads: {', '.join(heads)}", where=self.directory)
            goal = heads[0] if heads else "base"
            samples, tries = self._change(target, fence, "downgrade", goal)
            if still := with_ancestors(revisions, self._current(target)) & set(gone):
                raise CommandFailed(
                    f"it ended well and yet {', '.join(sorted(still))} is applied", where="alembic downgrade"
                )
        return migrated(gone[::-1], target.world.clock.monotonic() - began, samples, tries)

    def sql_of(self, target: Target, names: Sequence[str]) -> Sequence[SqlText]:
        """Return what Alembic prints for each named revision with ``--sql``; a merge of others has no SQL of its own.

        ``env.py`` may connect all the same, and a revision may run a statement there: nothing that it writes is kept.
        Raises `CommandFailed` where a revision needs the database to be asked.
        """
        revisions, texts = self._revisions(target), []
        for revision in (revisions[name] for name in names if len(revisions[name].parents) < 2):
            span = ":".join((*revision.parents, revision.id))
            said = self._alembic(target, "upgrade", span, "--sql", read_only=True)
            # Alembic writes BEGIN and COMMIT where it will send them.
            texts.append(SqlText(Path(revision.path).name, said, in_transaction=False))
        return texts

    def books(self) -> frozenset[str]:
        """Return Alembic's own table, under its usual name."""
        return frozenset({"public.alembic_version"})

    def _revisions(self, target: Target) -> dict[str, Revision]:
        """Return the release's revisions, each after those that it builds on."""
        # What golive has fetched stays as it is, so that Alembic, which may take seconds to start, is asked only once.
        fetched = target.world.host.read(target.release_dir / MARKER)
        known = self._told.get((target.release_dir, fetched)) if fetched else None
        said = known or self._alembic(target, "history", "--verbose")
        if fetched:
            self._told[target.release_dir, fetched] = said
        return {revision.id: revision for revision in reversed(parse(said))}

    def _state(self, target: Target) -> _State:
        revisions = self._revisions(target)
        goal = self._goal(revisions)
        missing = with_ancestors(revisions, goal) - with_ancestors(revisions, self._current(target))
        return _State(revisions, goal, [name for name in revisions if name in missing])

    def _current(self, target: Target) -> list[str]:
        return [revision.id for revision in parse(self._alembic(target, "current", "--verbose"))]

    def _goal(self, revisions: dict[str, Revision]) -> list[str]:
        heads = heads_among(revisions, revisions)
        if self.revision == "heads" or (self.revision == "head" and len(heads) < 2):
            return heads
        found = [name for name in revisions if name.startswith(self.revision)]
        if self.revision == "head":
            raise Refused(
                f"{len(heads)} heads: {', '.join(heads)}",
                expected="one",
                where=self.directory,
                do="merge them ('alembic merge heads'), or set 'revision: heads'",
            )
        if len(found) != 1 and self.revision not in revisions:
            raise Refused(f"{len(found)} revisions are called {self.revision}", expected="one", where=self.directory)
        return [self.revision] if self.revision in revisions else found

    def _alembic(self, target: Target, *arguments: str, read_only: bool = False) -> str:
        """Run Alembic and return what it printed; ``read_only`` lets its sessions write nothing."""
        words, where = self._words(target, *arguments), f"alembic {' '.join(arguments)}"
        return self.tool(target).run(words, where, read_only=read_only)

    def _change(self, target: Target, fence: Fence, verb: str, revision: str) -> tuple[LockSamples, int]:
        return self.tool(target).change(fence, self._words(target, verb, revision), f"alembic {verb} {revision}")

    def _words(self, target: Target, *arguments: str) -> tuple[str, ...]:
        return tuple(target.fill(part) for part in self.command) + arguments


@dataclass(frozen=True)
class _State:
    """The release's revisions, those to reach, and those still to be applied, each in order."""

    revisions: dict[str, Revision]
    goal: list[str]
    pending: list[str]
