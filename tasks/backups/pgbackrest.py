"""The backup that pgBackRest takes into its own repository: golive asks for it, restores it, and proves the copy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.backups import Place
from tasks.backups._whole import WholeServer
from tasks.domain import whole_server
from tasks.domain.archive import Archive
from tasks.domain.errors import BackupNotProven, CommandFailed, TimedOut, ToolMissing, UserError
from tasks.domain.ports import Command, Session, World
from tasks.domain.room import Room
from tasks.domain.units import show_seconds

QUICK = 60.0
"""Seconds for what pgBackRest tells without reading a backup."""

LOCK_WAIT = 120.0
"""Seconds that another pgBackRest of the same stanza is waited for."""

_LOCKED = 50  # pgBackRest's exit code (LockAcquireError)
_INFO = "info.json"
_NO_BACKUP_YET = 2
_STAYS = ("label", "type", "archive", "lsn", "database", "reference", "timestamp")
_SECRET = re.compile(r"(pass|key|secret|token)$")


class Pgbackrest(WholeServer):
    """Has pgBackRest take a backup, restores that elsewhere, and runs the copy to read every table.

    golive must run on the database's host, or on another where pgBackRest reaches both the server and its repository.
    The backup lies in pgBackRest's repository and stays as long as its own retention says, which must outlast a
    release; golive keeps and removes but the record of it: label, position in the log, what every table held.
    """

    kind: Literal["pgbackrest"] = "pgbackrest"
    """Which kind of backup this is."""
    stanza: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "main"
    """The stanza of this database."""
    config: str = ""
    """pgBackRest's configuration file; empty for its own default."""
    type: Literal["full", "diff", "incr"] = "incr"
    """What is taken: all, or what changed since the last full one, or since the last of any type."""
    repo: Annotated[int, Field(ge=0, le=256)] = 0
    """Which of its repositories is used; 0 for the first."""
    options: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], str] = Field(
        default_factory=dict,
        examples=[{"process-max": "4", "repo1-cipher-pass": "${env:REPO_CIPHER_PASS}"}],
    )
    """Further options by their names, handed over in the environment; secret ones only as references."""
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$")] = "postgres"
    """Whom pgBackRest takes the backup as where golive is root; golive as an ordinary user takes it itself."""

    @field_validator("options")
    @classmethod
    def _secrets_are_named(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if _SECRET.search(name) and "${" not in text:
                raise ValueError(f"{name} is written out here; expected a reference to it, as in ${{env:NAME}}")
        return value

    def require_possible(self, world: World, dsn: str, place: Place | None) -> None:
        """Raise what stands in the way: no pgBackRest, a stanza of another server, tablespaces, no server program."""
        told = self._info(world)
        with world.databases.session(dsn, read_only=True) as session:
            whole_server.require_copyable(
                world, session, kind=self.kind, embedded=place.embedded if place is not None else None
            )
            system = whole_server.origin(session)["system_identifier"]
        if system not in {str(one["system-id"]) for one in told["db"][-1:]}:
            raise UserError(
                f"the stanza {self.stanza} is not that of the release file's database",
                expected=f"the system identifier {system}",
                do="name its own stanza; after an upgrade of the server run pgbackrest stanza-upgrade",
            )

    def room(self, world: World, dsn: str) -> Room:
        """Return the bytes that the copies may need: what is restored beside the record, a copy of that, and a clone.

        pgBackRest's repository is elsewhere, and its own to watch.
        """
        with world.databases.session(dsn, read_only=True) as session:
            size = whole_server.size_of_all(session)
        return Room(size, copies=2 * size)

    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Have a backup taken, and return its label and what production's tables held right after that."""

        def copied(session: Session) -> Mapping[str, Any]:  # noqa: ARG001
            mark = into.parent.name.removeprefix(".partial-")
            self._run(
                world,
                "backup",
                f"--type={self.type}",
                # With the log that makes the copy consistent in it, a restore needs nothing but the backup.
                *("--archive-copy", "--start-fast", f"--annotation=golive={mark}"),
                timeout=self.timeout,
            )
            told = self._info(world)
            marked = [one for one in told["backup"] if (one.get("annotation") or {}).get("golive") == mark]
            if not marked:
                raise CommandFailed("pgBackRest has taken a backup and does not tell of it", where=self.stanza)
            world.host.write(into / _INFO, json.dumps(marked[-1], indent=1))
            version = self._run(world, "version", timeout=QUICK).removeprefix("pgBackRest").strip()
            return {
                "pgbackrest": {
                    "version": version,
                    "stanza": self.stanza,
                    "repo": marked[-1]["database"]["repo-key"],
                    "label": marked[-1]["label"],
                    "bytes": marked[-1]["info"]["repository"]["size"],
                }
            }

        return whole_server.save(world, dsn, into, self.timeout, copied)

    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:
        """Return what shows that the repository still has the backup as it was taken, and all that it refers to.

        From depth ``checksums`` on pgBackRest reads its whole repository for that; the restore checks each file anyway.
        """
        taken = _recorded(archive)
        present = {one["label"]: one for one in self._info(world, archive)["backup"]}
        label = taken["label"]
        missing = [name for name in (label, *(taken.get("reference") or ())) if name not in present]
        if missing:
            raise BackupNotProven(
                f"pgBackRest no longer has {', '.join(missing)}",
                where=f"stanza {self.stanza}",
                do="use another backup; let its retention outlast a release",
            )
        changed = [key for key in _STAYS if present[label].get(key) != taken.get(key)]
        if changed:
            raise BackupNotProven(
                f"pgBackRest tells otherwise of {label} than when it was taken: {', '.join(changed)}",
                where=f"stanza {self.stanza}",
                do="use another backup",
            )
        if present[label].get("error"):
            raise BackupNotProven(
                f"pgBackRest found pages in production that are not as their checksums say, while it took {label}",
                where=f"stanza {self.stanza}",
                do="run pgbackrest info --set to see which; look for the disk's trouble",
            )
        if self.depth == "content":
            return {"label": label, "verified_by": "pgbackrest info"}
        said = self._run(world, "verify", "--output=text", "--verbose", timeout=self.timeout)
        # It ends with 0 whatever it finds, and one backup's damage is not another's.
        valid = set(re.findall(r"backup: (\S+), status: valid\b", said))
        if damaged := [name for name in (label, *(taken.get("reference") or ())) if name not in valid]:
            raise BackupNotProven(
                f"pgbackrest verify does not call {', '.join(damaged)} valid",
                where=f"stanza {self.stanza}",
                do="use another backup; look for the disk's trouble",
            )
        return {"label": label, "verified_by": "pgbackrest verify"}

    def copy_into(self, world: World, archive: Archive, place: Place) -> str:
        """Have the backup restored, run a server on a copy of that, and return the DSN of the database in it."""
        label = _recorded(archive)["label"]
        with _restored(archive, world) as scratch:
            try:
                self._run(
                    world,
                    "restore",
                    f"--set={label}",
                    f"--pg1-path={scratch / 'data'}",
                    # Its log ends where the backup does: nothing is fetched, and no later change replayed.
                    "--type=none",
                    # It must not stand in the way of production's own pgBackRest, which may run as another user.
                    *(f"--lock-path={scratch / 'lock'}", "--log-level-file=off"),
                    timeout=self.timeout,
                    archive=archive,
                )
            except CommandFailed as error:
                raise BackupNotProven(
                    f"pgBackRest cannot restore {label}: {error.seen}",
                    where=f"stanza {self.stanza}",
                    do="use another backup; run pgbackrest verify",
                ) from error
            copy = place.boot(
                scratch / "data", archive.server_version // 10000, archive.manifest["database"], move=True
            )
        whole_server.refill_unlogged(world, archive, copy, self.timeout)
        return copy

    def _info(self, world: World, archive: Archive | None = None) -> Mapping[str, Any]:
        """Return what pgBackRest tells of the stanza; raises `UserError` where it has none."""
        said = self._run(world, "info", "--output=json", timeout=QUICK, archive=archive)
        told: Mapping[str, Any] = next(iter(json.loads(said)), {})
        status = told.get("status", {})
        if status.get("code") not in {0, _NO_BACKUP_YET} or not told.get("db"):
            raise UserError(
                f"pgBackRest cannot use the stanza {self.stanza}: {status.get('message', 'it tells nothing of it')}",
                expected="a stanza with this database",
                do="run pgbackrest stanza-create and check, on this host, or name the stanza, its configuration file "
                "and the user; golive must run where pgBackRest reaches the server and its repository",
            )
        return told

    def _run(self, world: World, command: str, *argv: str, timeout: float, archive: Archive | None = None) -> str:
        """Run one of pgBackRest's commands, and return what it said; of a backup that is there with its repository."""
        program = world.host.which("pgbackrest")
        if program is None:
            raise ToolMissing("there is no pgbackrest on this host", do="install pgBackRest, 2.41 or newer")
        repo = archive.manifest["pgbackrest"]["repo"] if archive is not None else self.repo
        options = [f"--stanza={self.stanza}", *([f"--config={self.config}"] if self.config else [])]
        if repo and command in {"backup", "info", "restore"}:
            options.append(f"--repo={repo}")
        words = (str(program), command, *(options if command != "version" else ()), *argv)
        named = {f"PGBACKREST_{name.upper().replace('-', '_')}": text for name, text in self.options.items()}
        wanted = Command(
            # A restore writes below golive's own directories; all else touches what is pgBackRest's user's.
            words if command == "restore" else (*self._as_user(world), *words),
            cwd=Path("/"),
            # Without its home libpq looks for the password file of whom it runs as.
            env={"HOME": "", **{name: text for name, text in named.items() if "${" not in text}},
            secret_env={name: world.secrets.resolve(text) for name, text in named.items() if "${" in text},
            timeout=timeout,
            ok_exit=(0, _LOCKED),
        )
        deadline = world.clock.monotonic() + LOCK_WAIT
        while (ended := world.host.run(wanted)).exit_code == _LOCKED:
            # One that a killed golive has left behind ends by itself.
            if world.clock.monotonic() > deadline:
                raise TimedOut(
                    "another pgBackRest is at work",
                    expected=f"its lock on the stanza within {show_seconds(LOCK_WAIT)}",
                    where=self.stanza,
                    do="wait for it, or end it, and try again",
                )
            world.clock.sleep(1.0)
        return ended.stdout

    def _as_user(self, world: World) -> tuple[str, ...]:
        root = world.host.run(Command(("id", "-u"), timeout=QUICK)).stdout.strip() == "0"
        return ("runuser", "-u", self.user, "--") if root else ()


def _recorded(archive: Archive) -> Mapping[str, Any]:
    """Return what pgBackRest told of the backup right after it was taken; raises `BackupNotProven`."""
    path = archive.content / _INFO
    try:
        told: Mapping[str, Any] = json.loads(path.read_bytes())
        if told["label"] != archive.manifest["pgbackrest"]["label"]:
            raise ValueError("another label than in the manifest")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupNotProven(f"cannot be read: {error}", where=str(path), do="use another backup") from error
    return told


@contextmanager
def _restored(archive: Archive, world: World) -> Iterator[Path]:
    """Give a directory for a restore, with ``data`` in it, that is gone after the block."""
    scratch = archive.directory.with_name(f".partial-{archive.directory.name}-whole")
    world.host.remove_tree(scratch)
    try:
        (scratch / "data").mkdir(parents=True, mode=0o700)
        yield scratch
    finally:
        world.host.remove_tree(scratch)
