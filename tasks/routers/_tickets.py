"""Tickets: files from which a Caddy reads, for each request, the address that it sends the request to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.domain.errors import OutsideError, RolloutFailed, UserError
from tasks.domain.ports import Command, Host
from tasks.domain.upstream import Upstream

TICKETS = 100
"""How many addresses Caddy takes in turn, so that one of them is a hundredth of the requests."""
_PATH = re.compile(r"/[\w./@+,=~ -]*")  # what Caddy's placeholders do not take for anything else
# By the shell's own printf, for a hundred files at once; synchronised before the name says that they are whole.
_WRITE = (
    'umask "$0" && mkdir -p "$1" && cd "$1" && shift'
    ' && i=0 && for dial; do printf %s "$dial" >"$i" || exit 1; i=$((i+1)); done && sync -f .'
)


def dials(directory: Path) -> list[str]:
    """Return what Caddy is to dial: for each ticket in turn what stands in its file, behind any symbolic link."""
    return [f"{{file.{directory}/{number}}}" for number in range(TICKETS)]


def must_be_plain(path: Path) -> Path:
    """Return a path that may stand in Caddy's placeholders; raises `UserError` for any other."""
    if not _PATH.fullmatch(str(path)):
        raise UserError(f"{path} cannot be the router's directory", expected="an absolute path of plain characters")
    return path


def deal(host: Host, home: Path, name: str, told: str, addresses: Sequence[str], *, public: bool = False) -> Path:
    """Return the directory below ``home`` that holds these tickets, and what they say, made first if it is not whole.

    Only golive's own account may read them, or everybody if they are ``public``.
    """
    place = home / "upstreams" / name
    if host.read(place / "name") != name:
        umask, mode = ("022", 0o644) if public else ("077", 0o600)
        host.run(Command(("/bin/sh", "-c", _WRITE, umask, str(place), *addresses), timeout=20.0))
        host.write(place / "told", told, mode)
        host.write(place / "name", name, mode)
    return place


@contextmanager
def pointed_at(host: Host, home: Path, upstream: Upstream, *, public: bool = False) -> Iterator[None]:
    """Let ``current`` in ``home`` lead to the upstream's tickets, and where it led before if the block fails."""
    before = host.read(home / "current" / "name")
    name = hashlib.sha256(str(upstream).encode()).hexdigest()[:16]
    addresses = [one.address for one in upstream.dealt(TICKETS)]
    place = deal(host, home, name, str(upstream), addresses, public=public)
    host.link(home / "current", place)
    try:
        yield
    except (OutsideError, RolloutFailed):
        if before:
            host.link(home / "current", home / "upstreams" / before)
        else:
            host.remove_tree(home / "current")
        raise
