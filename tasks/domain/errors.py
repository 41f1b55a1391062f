"""The one error tree of golive.

GoliveError                     1
├── UserError                   2   what a person gave cannot be used
│   ├── ReleaseFileError            a release file does not say what it must
│   ├── UnknownSystem               no release file of that name
│   ├── InvalidVersion              a version outside the permitted pattern, or not in the source
│   ├── SecretMissing               a named secret has no value
│   └── NotFound                    no such release, backup or gate
├── Refused                     3   a rule forbids it now; nothing was done
│   ├── ActiveRelease               another release of the system is under way
│   ├── IllegalMove                 the release is not in a state from which this may happen
│   ├── Fenced                      another process has taken the release over
│   ├── SteppedAside                what is asked for is done already, or another process is at it
│   └── WindowClosed                outside the change window
├── ChecksFailed                4   the target did not meet a condition
├── Inconclusive                5   too little is known to judge; a person decides
├── OutsideError                6   something outside golive did not do what was asked
│   ├── Unreachable                 (retry) nothing answers there
│   ├── ConnectionLost              (retry) it answered, then went away
│   ├── TimedOut                    (retry) no answer within the limit
│   ├── LockNotGranted              (retry) SQLSTATE 55P03
│   ├── ServerTrouble               (retry) 5xx, 429, or a server that is starting or stopping
│   ├── AccessDenied                wrong password, missing right
│   ├── SqlFailed                   PostgreSQL refused a statement, with its SQLSTATE
│   ├── CommandFailed               a command ended with an exit code other than 0
│   ├── ToolMissing                 a program that is needed is not installed
│   └── DiskTooSmall                less room than was reckoned
├── LedgerError                 7   the ledger cannot be used
│   ├── LedgerUnreachable           (retry)
│   └── LedgerTooNew                its schema is newer than this golive
├── BackupNotProven             8   a backup whose restored copy is not what was dumped
├── RehearsalFailed             9   the migration did not survive its rehearsal
├── RolloutFailed              10   the new version did not take over
│   └── SeveralServe                not all places that get requests run the same version
├── NeedsPerson                11   golive may not or cannot go on by itself
└── NotGenuine                 12   an evidence bundle that is not as it was made
"""

from __future__ import annotations

from collections.abc import Sequence


class GoliveError(Exception):
    """Something went wrong that golive can name.

    ``seen`` is what was found, ``expected`` what should have been, ``where`` the place (``file:line``, a URL without
    its secrets, a table), ``do`` the next thing for a person to do.
    """

    exit_code = 1
    retryable = False

    def __init__(self, seen: str, *, expected: str = "", where: str = "", do: str = "") -> None:
        self.seen, self.expected, self.where, self.do = seen, expected, where, do
        super().__init__(seen, expected, where, do)

    def __reduce__(self) -> tuple[object, ...]:
        # Without this an error does not survive pickling, by which Prefect keeps it: most arguments have names.
        return _revived, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.seen}" if self.where else self.seen]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.do:
            parts.append(f"→ {self.do}")
        return "; ".join(parts)

    @property
    def id(self) -> str:
        """The error's name, stable across versions, for reports and ``--json``."""
        return type(self).__name__


def _revived(kind: type[GoliveError], args: tuple[str, ...], state: dict[str, object]) -> GoliveError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UserError(GoliveError):
    """What a person gave cannot be used."""

    exit_code = 2


class ReleaseFileError(UserError):
    """A release file does not say what it must."""


class UnknownSystem(UserError):
    """No release file has that name."""


class InvalidVersion(UserError):
    """A version lies outside the permitted pattern or is not in the source."""


class SecretMissing(UserError):
    """A named secret has no value."""


class NotFound(UserError):
    """No such release, backup or gate is on record."""


class Refused(GoliveError):
    """A rule forbids the act now, and nothing was done."""

    exit_code = 3


class ActiveRelease(Refused):
    """Another release of the same system is under way."""


class IllegalMove(Refused):
    """The release is not in a state from which this may happen."""


class Fenced(Refused):
    """Another process has taken the release over since this one began."""


class SteppedAside(Refused):
    """What is asked for is done already, or another process is at it, so there is nothing to do here."""


class WindowClosed(Refused):
    """The change window is not open."""


class ChecksFailed(GoliveError):
    """The target did not meet a condition."""

    exit_code = 4


class Inconclusive(GoliveError):
    """Too little is known to judge, so a person decides."""

    exit_code = 5


class OutsideError(GoliveError):
    """Something outside golive did not do what was asked of it."""

    exit_code = 6


class Unreachable(OutsideError):
    """Nothing answers at that address."""

    retryable = True


class ConnectionLost(OutsideError):
    """The other side answered and then went away."""

    retryable = True


class TimedOut(OutsideError):
    """No answer came within the limit."""

    retryable = True


class LockNotGranted(OutsideError):
    """PostgreSQL did not grant a lock within ``lock_timeout`` (SQLSTATE 55P03)."""

    retryable = True


class ServerTrouble(OutsideError):
    """The server is in passing trouble: a 5xx answer, or it is starting or stopping.

    ``retry_after`` is how many seconds it asked to be left alone, if it did (a 429 answer).
    """

    retryable = True

    def __init__(
        self, seen: str, *, retry_after: float | None = None, expected: str = "", where: str = "", do: str = ""
    ) -> None:
        self.retry_after = retry_after
        super().__init__(seen, expected=expected, where=where, do=do)


class AccessDenied(OutsideError):
    """The credentials were refused or a right is missing."""


class SqlFailed(OutsideError):
    """PostgreSQL refused a statement; ``sqlstate`` tells why."""

    def __init__(self, seen: str, *, sqlstate: str = "", expected: str = "", where: str = "", do: str = "") -> None:
        self.sqlstate = sqlstate
        super().__init__(seen, expected=expected, where=where, do=do)


class CommandFailed(OutsideError):
    """A command ended with an exit code that means failure."""


class ToolMissing(OutsideError):
    """A program that is needed is not installed."""


class DiskTooSmall(OutsideError):
    """There is less room on the disk than the work was reckoned to need."""


class LedgerError(GoliveError):
    """The ledger cannot be used."""

    exit_code = 7


class LedgerUnreachable(LedgerError):
    """The ledger's database does not answer."""

    retryable = True


class LedgerTooNew(LedgerError):
    """The ledger's schema was written by a newer golive."""


class BackupNotProven(GoliveError):
    """A backup could not be shown to restore to what was dumped."""

    exit_code = 8


class RehearsalFailed(GoliveError):
    """The migration did not survive its rehearsal."""

    exit_code = 9


class RolloutFailed(GoliveError):
    """The new version did not take over."""

    exit_code = 10


class SeveralServe(RolloutFailed):
    """Not all places that should get requests run the same version; ``versions`` are those that run."""

    def __init__(
        self, seen: str, *, versions: Sequence[str] = (), expected: str = "", where: str = "", do: str = ""
    ) -> None:
        self.versions = tuple(versions)
        super().__init__(seen, expected=expected, where=where, do=do)


class NeedsPerson(GoliveError):
    """golive may not, or cannot, go on by itself."""

    exit_code = 11


class NotGenuine(GoliveError):
    """An evidence bundle is not as it was made, or not one that is on record."""

    exit_code = 12
