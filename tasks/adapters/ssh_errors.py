"""What ssh and the programs of another machine say when something is wrong, as golive's errors.

OpenSSH gives one exit code for every trouble of its own, so its words must tell them apart; they are never translated.
"""

from __future__ import annotations

import re

from tasks.domain.errors import AccessDenied, DiskTooSmall, OutsideError, Unreachable

_UNREACHABLE = re.compile(
    r"Could not resolve hostname|Connection (refused|timed out|reset|closed)|No route to host|is unreachable|"
    r"Operation timed out|Broken pipe|banner exchange|kex_exchange_identification",
    flags=re.IGNORECASE,
)
_DENIED = re.compile(r"Permission denied|Operation not permitted|Read-only file system")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")


def cannot_connect(said: str, where: str, hostname: str, port: int | None) -> OutsideError:
    """Return the error for a connection that was not made, from what ssh wrote."""
    last = " / ".join(line.strip() for line in said.strip().splitlines()[-3:])[:500] or "ssh gave no reason"
    entry = f"[{hostname}]:{port}" if port and port != 22 else hostname
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return AccessDenied(
            "the host key has changed",
            expected="the key that known_hosts holds",
            where=where,
            do=f"ask who runs it whether its key was renewed; only then: ssh-keygen -R '{entry}' and take the new one",
        )
    if "Host key verification failed" in said:
        return AccessDenied(
            "the host key is not known",
            expected="a key of this host in known_hosts",
            where=where,
            do="log in once by hand and compare the fingerprint with what who runs it says",
        )
    if re.search(r"Permission denied \(|Too many authentication failures|Load key .*:", said):
        return AccessDenied(
            f"the key was refused: {last}",
            expected="a key that the account there accepts, without a question",
            where=where,
            do="put the public key into authorized_keys there, name the key as identity, or load it into the agent",
        )
    if _UNREACHABLE.search(said):
        return Unreachable(f"no connection: {last}", where=where, do="look whether it is up and its sshd runs")
    return OutsideError(f"no connection: {last}", where=where, do="try it by hand: ssh -v")


def failed_there(said: str, where: str) -> OutsideError:
    """Return the error for a file operation that a program of the other machine gave up, from what that wrote."""
    words = said.strip()[-500:] or "no reason given"
    if _DENIED.search(said):
        return AccessDenied(words, where=where, do="give golive's user the right to it")
    if _FULL.search(said):
        return DiskTooSmall(words, where=where, do="make room on this disk")
    return OutsideError(words, where=where)
