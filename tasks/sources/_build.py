"""What is made of a version's code in its directory: its environment, its dependencies, its assets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tasks.domain.errors import CommandFailed, OutsideError, TimedOut
from tasks.domain.kind import Duration, Strict, no_secret_in
from tasks.domain.ports import Command
from tasks.domain.release_files import RelativePath
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        sys.exit(f"cannot import {name}: {type(error).__name__}: {error}")
"""
_ENDS = 5.0  # seconds that a command has after SIGTERM, whoever sent it


class Build(Strict):
    """One command of a version's build, or a check that modules can be imported; exactly one of the two."""

    command: tuple[str, ...] = Field(default=(), examples=[[".venv/bin/pip", "install", "-r", "requirements.txt"]])
    """The program and its arguments, run without a shell. The process list shows them, so secrets belong into
    ``environment``; pip reads its options from there too, as ``PIP_INDEX_URL``."""
    imports: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", examples=["app"])], ...] = ()
    """The modules that ``python`` must be able to import there."""
    python: str = ".venv/bin/python"
    """The interpreter that imports them, relative to ``directory`` or absolute."""
    directory: RelativePath = "."
    """The directory in which it runs, within that of the version."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    """Variables that it gets besides PATH, HOME, LANG, TZ and TMPDIR; masked wherever they would be shown."""
    timeout: Duration = 600.0
    """How long it may take."""

    _no_secret = field_validator("command")(no_secret_in)

    @model_validator(mode="after")
    def _one_of_both(self) -> Build:
        if bool(self.command) == bool(self.imports):
            raise ValueError("expected either a command or imports")
        return self


def digest_of(build: Sequence[Build]) -> str:
    """Return what tells one build from another; secrets are in it by their names."""
    text = json.dumps([one.model_dump(mode="json") for one in build], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_build(
    target: Target, build: Sequence[Build], directory: Path, lock: Path, may_go_on: Callable[[], None]
) -> None:
    """Make a version in its directory; ``may_go_on`` is asked before each command.

    Each command holds the lock until all that it has started has ended, also where golive was killed meanwhile.

    Raises `CommandFailed` with the last lines of the command that failed, or did not end in time.
    """
    at = target.at(release_dir=directory)
    for number, one in enumerate(build, 1):
        may_go_on()
        words = one.command or (one.python, "-c", _IMPORT, *one.imports)
        shown = " ".join(one.command) or f"import {', '.join(one.imports)}"
        target.world.progress(f"build {number} of {len(build)}: {shown}")
        # It ends by itself where nobody is left who would end it.
        alone = ("timeout", "--foreground", f"--kill-after={_ENDS:g}", str(math.ceil(one.timeout + 2 * _ENDS)))
        command = Command(
            ("flock", str(lock), *alone, *(at.fill(word) if word is not _IMPORT else word for word in words)),
            cwd=directory / one.directory,
            secret_env={name: at.fill(value) for name, value in one.environment.items()},
            timeout=one.timeout,
        )
        try:
            target.world.host.run(command)
        except (CommandFailed, TimedOut) as error:
            raise CommandFailed(
                f"build step {number} of {len(build)} failed: {error.seen}",
                expected=f"exit code 0 within {show_seconds(one.timeout)}",
                where=shown,
                do="mend the build or the version; nothing of it was kept",
            ) from error


def wait_for_orphans(target: Target, build: Sequence[Build], lock: Path) -> None:
    """Wait for the end of a command that a killed golive has left running; raises `OutsideError` if it does not end."""
    if not target.world.host.exists(lock):
        return
    longest = max((one.timeout for one in build), default=0.0) + 4 * _ENDS
    words = ("flock", f"--timeout={math.ceil(longest)}", str(lock), "true")
    try:
        target.world.host.run(Command(words, timeout=longest + _ENDS))
    except CommandFailed as error:
        raise OutsideError(
            "a command of an earlier build still runs, which nobody waits for",
            where=str(lock),
            do=f"end it; fuser {lock} names it",
        ) from error
