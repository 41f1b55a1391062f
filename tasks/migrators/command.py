"""Migrations run by any tool, through the commands that the release file declares."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.domain.errors import CommandFailed, Refused
from tasks.domain.kind import Argv, Strict, no_secret_in
from tasks.domain.release_files import RelativePath, matching
from tasks.domain.target import Target
from tasks.migrators import Migrated, only_runner
from tasks.migrators._by_tool import ToolMigrator
from tasks.migrators._fence import Fence
from tasks.migrators._locks import LockSamples
from tasks.migrators._tool import migrated

_NAME = re.compile(r"[^\s\-][^\x00-\x1f\x7f]{0,199}")
_ONE, _ALL, _COUNT = "{name}", "{names}", "{count}"


class Commands(Strict):
    """The commands of a migration tool; each may be repeated without harm.

    They run without a shell (for one, write ``[sh, -c, …]``), in ``directory``, with PATH, HOME, LANG, TZ, TMPDIR and
    what ``environment`` names. They must wait for what they start, and end with another exit code than 0 on failure.
    """

    pending: Annotated[Argv, Field(examples=[["bin/migrate", "status", "--pending"]])]
    """Prints the names of what is not yet applied, one a line and in order; nothing if nothing is."""
    upgrade: Annotated[Argv, Field(examples=[["bin/migrate", "up"]])]
    """Applies what is pending, and leaves alone what is applied."""
    downgrade: Annotated[
        tuple[str, ...], AfterValidator(no_secret_in), Field(examples=[["bin/migrate", "down", "{names}"]])
    ] = ()
    """Takes back: ``{names}`` becomes a word for each name, the last one first, ``{count}`` their number; with
    ``{name}`` it runs once for each. ``GOLIVE_NAMES`` holds them too, one a line. Empty: there is no way down."""
    verify: tuple[Argv, ...] = ()
    """Commands that must end well after an upgrade, also after one that found nothing to do."""


class Command(ToolMigrator):
    """Runs the release's own migration tool; lock_timeout reaches it through PGOPTIONS.

    That takes a driver that reads it, such as those on libpq; preflight refuses any other, unless the release limits
    its waiting itself. A lock that is not granted is tried for again where the tool prints its SQLSTATE (55P03) or the
    driver's name for it (``LockNotAvailable``); any other failure is final.
    """

    kind: Literal["command"] = "command"
    """Any migration tool."""
    commands: Commands
    """What is run."""
    files: Annotated[tuple[RelativePath, ...], Field(min_length=1, examples=[["db/migrations/*"]])]
    """All files that decide what would run, relative to the release's directory; a signature holds for just those."""

    def asking(self, target: Target) -> tuple[Sequence[str], str]:
        """Return the command that tells where the database stands."""
        return self._words(target, self.commands.pending), "pending"

    def fingerprint(self, target: Target) -> str:
        """Return a hash of the files, the commands and the limits."""
        host, directory = target.world.host, target.release_dir
        names = dict.fromkeys(name for pattern in self.files for name in matching(host, directory, pattern))
        texts = [(name, host.read(directory / name)) for name in names]
        return hashlib.sha256(json.dumps([self.model_dump(), texts], sort_keys=True).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the names that the tool prints; raises `Refused` for a line that cannot be a name."""
        said = self.tool(target).run(self._words(target, self.commands.pending), "pending")
        names = [line.strip() for line in said.splitlines() if line.strip()]
        for name in names:
            if not _NAME.fullmatch(name) or names.count(name) > 1:
                raise Refused(
                    f"the tool printed {name[:80]!r}",
                    expected="names, each once and none that begins with '-', one a line, and nothing else",
                    where="migration.commands.pending",
                )
        return names

    def upgrade(self, target: Target) -> Migrated:
        """Apply what is pending, ask again whether anything is, and run the commands that verify.

        Raises `LockNotGranted`, `TimedOut` or `CommandFailed`, with the tool's last lines, and `Refused` when another
        migration runs.
        """
        clock = target.world.clock
        began = clock.monotonic()
        with only_runner(target) as fence:
            names = self.pending(target)
            samples, tries = LockSamples(), 1
            if names:
                words = self._words(target, self.commands.upgrade)
                samples, tries = self.tool(target).change(fence, words, "upgrade")
                if left := [name for name in self.pending(target) if name in names]:
                    raise CommandFailed(f"it ended well and yet {', '.join(left)} is pending", where="upgrade")
            took = clock.monotonic() - began
            for argv in self.commands.verify:
                self.tool(target).run(self._words(target, argv), f"verify: {argv[0]}")
        return migrated(names, took, samples, tries) if names else Migrated((), took, locks_exact=False)

    def can_downgrade(self, target: Target) -> bool:  # noqa: ARG002 - only the tool would know more
        """Tell whether there is a command that takes back."""
        return bool(self.commands.downgrade)

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Take back the named ones that are not pending, the last one first, and ask whether all are pending then."""
        clock = target.world.clock
        began = clock.monotonic()
        with only_runner(target) as fence:
            pending = self.pending(target)
            backwards = [name for name in reversed(names) if name not in pending]
            if not backwards:
                return Migrated((), clock.monotonic() - began, locks_exact=False)
            samples, tries = self._take_back(target, fence, backwards)
            now = self.pending(target)
            if still := [name for name in backwards if name not in now]:
                raise CommandFailed(f"it ended well and yet {', '.join(still)} is applied", where="downgrade")
        return migrated(backwards, clock.monotonic() - began, samples, tries)

    def _take_back(self, target: Target, fence: Fence, names: Sequence[str]) -> tuple[LockSamples, int]:
        argv = self.commands.downgrade
        if not argv:
            raise Refused("there is no command that takes back", where="migration.commands.downgrade")
        each = any(_ONE in word for word in argv)
        together, tries = LockSamples(), 1
        for some in [[name] for name in names] if each else [list(names)]:
            words: list[str] = []
            for word in argv:
                filled = target.fill(word.replace(_COUNT, str(len(some))))
                words += some if word == _ALL else [filled.replace(_ONE, some[0]) if each else filled]
            seen, tried = self.tool(target).change(fence, words, "downgrade", given={"GOLIVE_NAMES": "\n".join(some)})
            together.join(seen)
            tries += tried - 1
        return together, tries

    def _words(self, target: Target, argv: Sequence[str]) -> tuple[str, ...]:
        return tuple(target.fill(word) for word in argv)
