"""What a process leaves to others: starting golive's own commands beside it, and jobs of which only one does each."""

from __future__ import annotations

import os
import sys

from tasks.context import is_gone, once, world
from tasks.domain.ports import Command
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.part import GUARD
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import Settings


def may_start(book: Ledger, what: str, within: float) -> bool:
    """Tell whether it is this process's to start something, and nobody has been told so for ``within`` seconds."""
    return book.leases.take(what, once(), within) is not None


def take_from_dead(book: Ledger, lease: str, name: str, seconds: float) -> bool:
    """Take a lease unless another process that may be alive has it, and tell whether it is ``name``'s now."""
    if (seen := book.leases.seen(lease)) is not None and is_gone(seen[0].partition("/")[0]):
        book.leases.give_back(lease, seen[0])
    return book.leases.take(lease, name, seconds) is not None


def guard_is_alive(book: Ledger) -> bool:
    """Tell whether a guard has been heard of lately and its process has not ended."""
    seen = book.leases.seen(GUARD)
    return seen is not None and seen[2] and not is_gone(seen[0])


def is_left(book: Ledger, row: Release) -> bool:
    """Tell whether the process that drove a release has ended, or has not been heard of for too long."""
    heard = row.holder_seen is not None and book.evidence.now() - row.holder_seen < HOLDER_SILENT_AFTER
    return not heard or is_gone(row.holder)


def start_golive(*words: str, log: str) -> int:
    """Start ``golive`` with these words, its output in a file of golive's home, and return its process's number."""
    settings = Settings.from_environment()
    # It resolves the same secrets as this process, so it gets the whole environment.
    argv = (sys.executable, "-m", "deployments.cli", *words)
    return world().host.spawn(Command(argv, secret_env=dict(os.environ), cwd=settings.home), settings.home / log)
