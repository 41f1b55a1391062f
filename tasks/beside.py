"""Starts golive's own commands in processes that outlive this one."""

from __future__ import annotations

import os
import sys

from tasks.context import once, world
from tasks.domain.ports import Command
from tasks.ledger.ledger import Ledger
from tasks.settings import Settings


def may_start(book: Ledger, what: str, within: float) -> bool:
    """Tell whether it is this process's to start something, and nobody has been told so for ``within`` seconds."""
    return book.leases.take(what, once(), within) is not None


def start_golive(*words: str, log: str) -> int:
    """Start ``golive`` with these words, its output in a file of golive's home, and return its process's number."""
    settings = Settings.from_environment()
    # It resolves the same secrets as this process, so it gets the whole environment.
    argv = (sys.executable, "-m", "deployments.cli", *words)
    return world().host.spawn(Command(argv, secret_env=dict(os.environ), cwd=settings.home), settings.home / log)
