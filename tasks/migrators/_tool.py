"""A migration tool run as a command: its environment and limits, what its end means, the locks that it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import Field

from tasks.domain.errors import CommandFailed, LockNotGranted, Refused, TimedOut
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target, Within
from tasks.domain.units import milliseconds, show_seconds
from tasks.migrators import Limits, Migrated
from tasks.migrators._fence import Fence
from tasks.migrators._locks import LockSamples, sampled_locks
from tasks.migrators._retry import retry_lock
from tasks.migrators._runner import new_application

_START_UP = 60.0
"""Seconds that a tool may take on top of what the migration may take."""
_ANY_EXIT = tuple(range(-64, 256))
# In a traceback the class of the error stands for its SQLSTATE: so write psycopg 2 and 3, asyncpg, pg8000, ruby-pg.
_LOCK_NOT_GRANTED = re.compile(r"\bLockNotAvailable(?:Error)?\b|\b55P03\b")
_CANCELED = re.compile(r"\bQueryCanceled(?:Error)?\b|\b57014\b")

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""
Scheme = Annotated[str, Field(pattern=r"^(postgresql(\+[a-z0-9_]+)?)?$", examples=["postgresql+psycopg"])]
"""The scheme of a database's URL."""
LockTimeoutBy = Literal["golive", "release"]
"""Who limits how long the tool waits for a lock."""


@dataclass(frozen=True)
class Tool:
    """A program of the release that migrates; the DSN reaches it in the environment, the limits in ``PGOPTIONS``."""

    target: Target
    limits: Limits
    cwd: Path
    dsn_variable: str
    dsn_scheme: str
    environment: Mapping[str, str] = field(default_factory=dict)
    within: Within | None = None

    def run(
        self,
        words: Sequence[str],
        where: str,
        *,
        application: str = "golive migrator",
        given: Mapping[str, str] | None = None,
        read_only: bool = False,
        wait: float | None = None,
    ) -> str:
        """Run a command and return what it printed; ``given`` is added to its environment.

        ``read_only`` lets its sessions write nothing, unless they say otherwise themselves. ``wait`` is the seconds of
        ``lock_timeout``, by default those of the limits.

        Raises `LockNotGranted` or `TimedOut` where the output names their SQLSTATE or the driver's class for it, else
        `CommandFailed` with the last lines and the deepest file of the release in a traceback.
        """
        options = f"-c lock_timeout={milliseconds(self.limits.wait if wait is None else wait)} "
        options += f"-c statement_timeout={milliseconds(max(0.001, min(self.limits.per_statement, self._left)))}"
        options += " -c default_transaction_read_only=on" if read_only else ""
        command = self._command(words, application, options, given or {})
        ended = self.target.run(command, self.within)
        if ended.exit_code != 0:
            self._raise(command, ended, where)
        return ended.stdout

    def change(
        self, fence: Fence, words: Sequence[str], where: str, *, given: Mapping[str, str] | None = None
    ) -> tuple[LockSamples, int]:
        """Run a command that migrates until it gets its locks; return the locks that it held, and the tries."""
        application = new_application()

        def attempt(wait: float) -> str:
            fence.require()
            return self.run(words, where, application=application, given=given, wait=wait)

        with sampled_locks(self.target, application) as samples:
            _, tries = retry_lock(self.target, self.limits, attempt)
        return samples, tries

    def require_limits(self, words: Sequence[str], where: str) -> None:
        """Raise `Refused` unless the tool's driver takes ``lock_timeout`` from ``PGOPTIONS``.

        ``words`` only look. They are run once as they are and once with an option that no server accepts: a driver
        that reads the options cannot connect then.
        """
        self.run(words, where)
        spoiled = self._command(words, "golive migrator", "-c lock_timeout=golive", {})
        if self.target.run(spoiled, self.within).exit_code == 0:
            raise Refused(
                "its driver does not read PGOPTIONS, so no lock_timeout would be in force",
                expected="a driver on libpq, or PGOPTIONS handed on",
                where=where,
                do="with asyncpg: connect_args={'server_settings': {'options': os.environ.get('PGOPTIONS', ''), "
                "'application_name': os.environ.get('PGAPPNAME', '')}}; or let the release set lock_timeout itself, "
                "and write 'lock_timeout_by: release'",
            )

    def _command(self, words: Sequence[str], application: str, options: str, given: Mapping[str, str]) -> Command:
        dsn, rest = self._dsn(options)
        plain = {"PGAPPNAME": application, "PGOPTIONS": rest, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        secret = {name: self.target.fill(value) for name, value in self.environment.items()}
        return Command(
            tuple(words),
            cwd=self.cwd,
            env={**plain, **given},
            secret_env=secret | {self.dsn_variable: dsn},
            timeout=max(0.001, min(self.limits.duration + _START_UP, self._left)),
            ok_exit=_ANY_EXIT,
        )

    @property
    def _left(self) -> float:
        return self.limits.left(self.target.world.clock)

    def _raise(self, command: Command, ended: Finished, where: str) -> NoReturn:
        said = f"{ended.stdout}\n{ended.stderr}"
        if _LOCK_NOT_GRANTED.search(said):
            raise LockNotGranted("lock not granted [55P03]", where=where)
        if _CANCELED.search(said):
            limit = show_seconds(self.limits.per_statement)
            raise TimedOut("a statement was cancelled [57014]", expected=f"within {limit}", where=where)
        dsn = command.secret_env[self.dsn_variable]
        secret = {dsn, _password(dsn), *command.secret_env.values()}
        for value in sorted(secret, key=len, reverse=True):
            said = said.replace(value, "•••") if len(value) > 3 else said
        last = "\n".join(line[:500] for line in said.strip().splitlines()[-15:])
        places = re.findall(rf'File "{re.escape(str(command.cwd))}/([^"]+)", line ([0-9]+)', said)
        deepest = [f"{file}:{line}" for file, line in places if "site-packages" not in file][-1:]
        seen = f"exit code {ended.exit_code}:\n{self.target.world.secrets.mask(last)}"
        raise CommandFailed(seen, where=", ".join([where, *deepest]))

    def _dsn(self, options: str) -> tuple[str, str]:
        """Return the URL for the tool and what remains for PGOPTIONS: options in a URL would hide those."""
        url = urlsplit(self.target.dsn)
        if not url.scheme.startswith("postgres"):
            raise Refused("the database's DSN is not a URL", expected="postgresql://…, as migration tools take it")
        scheme = self.dsn_scheme or re.sub(r"^postgres\b", "postgresql", url.scheme)
        query = {key: value for key, value in parse_qsl(url.query) if key != "application_name"}
        if "options" in query:
            query["options"], options = f"{query['options']} {options}", ""
        return urlunsplit((scheme, url.netloc, url.path, urlencode(query, quote_via=quote), "")), options


def migrated(names: Sequence[str], took: float, samples: LockSamples, tries: int) -> Migrated:
    """Return what a tool did, with what could not be seen of it."""
    notes = []
    if not samples.session_seen:
        notes.append(
            "no session of the tool was seen, so its locks are unknown: either it was very short, or its driver does "
            "not read PGAPPNAME"
        )
    if samples.trouble:
        notes.append(f"locks were not looked at to the end: {samples.trouble.seen}")
    return Migrated(tuple(names), took, samples.locks, tries, locks_exact=False, notes=tuple(notes))


def _password(dsn: str) -> str:
    return urlsplit(dsn).password or dsn
