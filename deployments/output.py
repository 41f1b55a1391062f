"""What the command line prints: lines for people, and errors with their exit codes instead of tracebacks."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from tasks.adapters.secrets import mask_passwords
from tasks.domain.errors import GoliveError
from tasks.domain.plain_text import plain
from tasks.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

P = ParamSpec("P")
R = TypeVar("R")

BUG = 70
"""The exit code of an error that golive did not foresee (EX_SOFTWARE)."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""
WIDE = 160
"""Columns of a table that does not go to a terminal."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr; what does not go to a terminal is not squeezed into 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else WIDE)


def plain_table(columns: Iterable[str] = (), unbroken: Collection[str] = ()) -> Table:
    """Return a table without lines, with these columns; what stands in the ``unbroken`` ones stays on one line."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column in unbroken, overflow="fold")
    return table


def say(line: str, style: str = "") -> None:
    """Print a line as it is, without markup and without breaking it."""
    console().print(Text(line, style=style), soft_wrap=True)


def note(line: str) -> None:
    """Print a line about the work itself to stderr, so that stdout holds only what was asked for."""
    console(stderr=True).print(Text(line, style="dim"), soft_wrap=True)


def masked(text: str) -> str:
    """Return a text without the secrets that this process has read."""
    context = sys.modules.get("tasks.context")
    if context is None:
        return mask_passwords(text)
    hidden: str = context.world().secrets.mask(text)
    return hidden


def show_error(text: str) -> None:
    """Print ``error: …`` in red on stderr, masked, without what a terminal would take for orders."""
    line = Text.assemble(("error: ", "bold red"), (plain(masked(text)), "red"))
    console(stderr=True).print(line, soft_wrap=True)


def keep_traceback(error: BaseException) -> Path:
    """Write the traceback, masked, to a file of its own below golive's home and return its path."""
    directory = Settings.from_environment().home / "errors"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(masked("".join(traceback.format_exception(error))))
    return path


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command that ends with an error's own exit code and a line about it, never with a traceback."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except GoliveError as error:
            show_error(str(error))
            raise typer.Exit(error.exit_code) from error
        except (typer.Exit, typer.BadParameter):
            raise
        except KeyboardInterrupt as error:
            note(f"{error or 'interrupted'}; golive status tells where things stand")
            raise typer.Exit(INTERRUPTED) from error
        except Exception as error:
            kind = type(error).__name__
            try:
                where = f"the traceback is in {keep_traceback(error)}"
            except OSError as unwritable:
                where = f"the traceback could not be written: {unwritable}"
            show_error(f"{kind}: {str(error).strip().splitlines()[0] if str(error).strip() else kind}; {where}")
            raise typer.Exit(BUG) from error

    return guarded
