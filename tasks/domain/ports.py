"""The outside world as golive's code sees it: protocols that adapters implement and tests replace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tasks.domain.services import Kafka, Redis

Row = dict[str, Any]


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP answer; ``elapsed`` is in seconds, header names are lower case."""

    status: int
    body: bytes
    elapsed: float
    headers: Mapping[str, str] = field(default_factory=dict)


class Http(Protocol):
    """Sends HTTP requests over kept-alive connections."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float = 10.0,
        follow_redirects: bool = False,
        fresh: bool = False,
    ) -> HttpAnswer:
        """Return the answer, whatever its status; ``fresh`` opens a new connection.

        Raises `Unreachable`, `ConnectionLost` or `TimedOut` if there is none.
        """
        ...


@dataclass(frozen=True)
class Command:
    """A program with its arguments, run without a shell; ``timeout`` is in seconds.

    ``env`` is added to a limited environment (PATH, HOME, LANG, TZ, TMPDIR). ``secret_env`` is added likewise, and its
    values are masked wherever the command or its output is shown.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60.0
    stdin: bytes | None = None
    ok_exit: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Finished:
    """How a command ended; ``took`` is in seconds."""

    exit_code: int
    stdout: str
    stderr: str
    took: float


class Host(Protocol):
    """A machine: runs commands and keeps files. The local one, or one over SSH."""

    name: str

    def require_usable(self) -> None:
        """Raise `ToolMissing` unless the machine has the programs that golive itself needs there."""
        ...

    def run(self, command: Command) -> Finished:
        """Run a command to its end.

        Raises `CommandFailed` with the last lines of output unless the exit code is in ``ok_exit``, `ToolMissing` if
        there is no such program, and `TimedOut` after killing the whole process group.
        """
        ...

    def spawn(self, command: Command, log: Path) -> int:
        """Start a command that outlives golive, its output added to ``log`` (0600), and return its process id."""
        ...

    def which(self, program: str) -> Path | None:
        """Return where a program is, or None. A program beside golive's own Python is found too."""
        ...

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file in one step (write beside it, fsync, rename), making its directory with 0700."""
        ...

    def read(self, path: Path) -> str | None:
        """Return a file's text, or None if there is no such file."""
        ...

    def exists(self, path: Path) -> bool:
        """Tell whether something is there."""
        ...

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a directory so that ``target`` is either absent or whole."""
        ...

    def send_tree(self, source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
        """Copy a directory of golive's own machine to this one so that ``target`` is either absent or whole.

        Whatever has a name in ``leave_out`` is left out.
        """
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it; nothing there is fine."""
        ...

    def links(self, path: Path) -> Mapping[str, str]:
        """Return where each symbolic link below a directory leads, by the link's path in the directory."""
        ...

    def link(self, path: Path, target: Path) -> None:
        """Make ``path`` a symbolic link to ``target`` in one step, replacing an earlier link."""
        ...

    def list(self, path: Path) -> Sequence[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        ...

    def disk_free(self, path: Path) -> int:
        """Return the bytes free to an ordinary user on the file system of ``path`` or its nearest parent."""
        ...

    def port_is_free(self, port: int) -> bool:
        """Tell whether nothing listens on 127.0.0.1:port."""
        ...

    def free_port(self) -> int:
        """Return a port of 127.0.0.1 that nothing listens on at this moment."""
        ...

    def lend(self, port: int) -> AbstractContextManager[int]:
        """Let this machine reach a port of golive's own 127.0.0.1, and give its own port that leads there."""
        ...

    def reach(self, port: int) -> AbstractContextManager[int]:
        """Give the port of golive's own 127.0.0.1 that leads to a port of this machine's 127.0.0.1."""
        ...


class Session(Protocol):
    """One connection to one database."""

    server_version: int
    """As ``server_version_num``: 160014 is 16.14."""

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Run one statement and return its rows as dictionaries."""
        ...

    def value(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        ...

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement for its effect and return the number of rows it touched, or -1."""
        ...

    def script(self, sql: str) -> None:
        """Run the text of a SQL file as it is, by the simple protocol, in the open transaction if there is one."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block in a transaction that commits at its end and rolls back on an error."""
        ...

    def backend_pid(self) -> int:
        """Return the process id of the server process behind this connection."""
        ...


class Databases(Protocol):
    """Opens connections.

    Errors come as `Unreachable`, `ConnectionLost`, `AccessDenied`, `LockNotGranted`, `TimedOut` (statement timeout) or
    `SqlFailed`, told apart by SQLSTATE and never by text.
    """

    def session(
        self,
        dsn: str,
        *,
        autocommit: bool = True,
        read_only: bool = False,
        statement_timeout: float = 0,
        lock_timeout: float = 0,
        connect_timeout: float = 5.0,
        application: str = "golive",
    ) -> AbstractContextManager[Session]:
        """Open a connection, closed at the end of the block; limits are in seconds, 0 means none."""
        ...

    def with_database(self, dsn: str, name: str) -> str:
        """Return the DSN of another database on the same server with the same credentials."""
        ...

    def name_of(self, dsn: str) -> str:
        """Return the name of the database that a DSN leads to."""
        ...

    def address_of(self, dsn: str) -> tuple[str, int]:
        """Return the host and the port that a DSN leads to; of several the first."""
        ...

    def login_of(self, dsn: str) -> tuple[str, str]:
        """Return the user as whom a DSN comes in, and the password that it holds, which may be none."""
        ...

    def with_address(self, dsn: str, host: str, port: int) -> str:
        """Return the DSN that leads to the same database by another host and port."""
        ...

    def redacted(self, dsn: str) -> str:
        """Return the DSN without its password, fit to be shown."""
        ...


class PgTools(Protocol):
    """PostgreSQL's client programs, the ones that fit a server. No secret is ever in an argv."""

    def versions(self, server_version: int) -> Mapping[str, str]:
        """Return the tools that would be used for this server and what version they say they are.

        Raises `ToolMissing` if none fits (pg_dump must not be older than the server).
        """
        ...

    def dump(
        self,
        dsn: str,
        directory: Path,
        *,
        server_version: int,
        jobs: int,
        snapshot: str | None,
        timeout: float,
        prefix: Sequence[str] = (),
        tables: Sequence[str] = (),
    ) -> Finished:
        """Dump one database in the directory format, compressed, inside an exported snapshot if one is given.

        ``tables``, quoted and with their schema, are all that is dumped if there are any. ``prefix`` is a command that
        runs the program, as ``nice -n 19`` does.
        """
        ...

    def archive_list(self, directory: Path, *, server_version: int) -> str:
        """Return ``pg_restore --list`` of an archive; raises `CommandFailed` if it cannot be read."""
        ...

    def restore(
        self,
        directory: Path,
        dsn: str,
        *,
        server_version: int,
        jobs: int,
        timeout: float,
        keep_rights: bool = False,
        data_only: bool = False,
    ) -> Finished:
        """Restore an archive into an existing, empty database; raises `CommandFailed` at the first error.

        ``keep_rights`` restores owners and grants too, whose roles must then exist on that server. ``data_only`` fills
        tables that are there.
        """
        ...

    def require_replication(self, dsn: str) -> None:
        """Raise `AccessDenied` unless the server lets this role in for replication, as pg_basebackup needs it."""
        ...

    def base_backup(
        self,
        dsn: str,
        directory: Path,
        *,
        server_version: int,
        rate: int,
        timeout: float,
        since: Path | None = None,
    ) -> Finished:
        """Copy all files of a server into a new directory, with the log that makes them consistent.

        ``rate`` is the most bytes per second, 0 for no limit; ``since`` is the manifest of an earlier copy, of which
        only the blocks that changed later are copied.
        """
        ...

    def combine(self, chain: Sequence[Path], directory: Path, *, server_version: int, timeout: float) -> str:
        """Make one base backup of a whole one and those that hold what changed since, and return what made it.

        Raises `CommandFailed` if they do not belong together.
        """
        ...

    def check_indexes(self, dsn: str, *, server_version: int, timeout: float) -> str:
        """Return the tool that found every table and index of a database, which has amcheck, to be whole.

        Raises `BackupNotProven` with what it found, `CommandFailed` if it could not look.
        """
        ...

    def schema(self, dsn: str, *, server_version: int) -> str:
        """Return the schema as SQL in a form that is equal for equal schemas."""
        ...


class RunningServer(Protocol):
    """A PostgreSQL server that golive started."""

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of one of its databases."""
        ...


class PgServers(Protocol):
    """Starts throwaway PostgreSQL servers from the embedded binaries."""

    def throwaway(self, directory: Path, *, major: int | None = None) -> AbstractContextManager[RunningServer]:
        """Run a server in a new data directory, with durability off, until the block ends; then remove it."""
        ...

    def keep(self, directory: Path, *, major: int | None = None) -> RunningServer:
        """Run a server as `throwaway` does, or find it running, and let it run until `remove`.

        Until `log_fully` it logs as little as may be, to be filled fast.
        """
        ...

    def log_fully(self, directory: Path) -> None:
        """Let a kept server log what it does as production does; it restarts for that once."""
        ...

    def require(self, major: int) -> None:
        """Raise `ToolMissing` unless there are programs of just that major version."""
        ...

    def boot(self, directory: Path, data: Path, *, major: int, move: bool = False) -> RunningServer:
        """Run a server on a copy of a base backup, replacing what is there, and let it run until `remove`.

        With ``move`` the base backup itself is used up, which takes no time on the same file system. The server has
        its own settings, among them no archiving and no replication, and its own superuser.
        """
        ...

    def check_pages(self, directory: Path, *, timeout: float) -> str:
        """Return the tool that found every page of a kept server as its checksum says; the server restarts for it.

        Raises `BackupNotProven` with what it found. The server must have been made with checksums of pages.
        """
        ...

    def remove(self, directory: Path) -> None:
        """End a kept server and remove its directory; nothing there is fine."""
        ...


class Secrets(Protocol):
    """Resolves the references by which a release file names secrets, and masks what it resolved."""

    def resolve(self, text: str) -> str:
        """Replace each ``${env:NAME}``, ``${file:PATH}`` and ``${block:NAME}``; raises `SecretMissing`."""
        ...

    def mask(self, text: str) -> str:
        """Replace every secret resolved so far, and every password in a URL or DSN, by ``•••``."""
        ...


class Bucket(Protocol):
    """A place for files that are kept elsewhere; names and paths are below its ``url``, which holds no secret.

    Errors come as `Unreachable`, `TimedOut`, `ServerTrouble`, `AccessDenied`, `NotFound` or `OutsideError`.
    """

    url: str

    def names(self) -> Sequence[str]:
        """Return the directories in it, sorted, also those of which only an upload that never ended is there."""
        ...

    def require_writable(self) -> None:
        """Write a little and remove it again; raises what stands in the way."""
        ...

    def sizes(self, name: str) -> Mapping[str, int]:
        """Return the bytes of each file below a directory, by its path in that; none if there is no such directory."""
        ...

    def put(self, source: Path, path: str) -> None:
        """Copy a local file there in chunks; an object store shows it whole or not at all."""
        ...

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Read a file from there in chunks; raises `NotFound` if there is none."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it and with uploads that never ended; nothing there is fine."""
        ...


class Stores(Protocol):
    """Opens places for files by their URL."""

    def at(self, url: str, options: Mapping[str, Any], *, timeout: float) -> Bucket:
        """Return the place at a URL; it is given up when it is silent for ``timeout`` seconds.

        Raises `ToolMissing` with the package that is needed, and `UserError` for a URL or option it does not know.
        """
        ...


class Cipher(Protocol):
    """Encrypts for the holders of keys, in streams of any length."""

    def seal(self, source: BinaryIO, into: BinaryIO, recipients: Sequence[str]) -> None:
        """Encrypt for recipients, each a public key."""
        ...

    def unseal(self, source: BinaryIO, into: BinaryIO, identity: str) -> None:
        """Decrypt with the secret keys that stand in a text, one a line.

        Raises `BackupNotProven` if none of them fits, or what is read was changed or cut.
        """
        ...

    def require_pair(self, recipients: Sequence[str], identity: str) -> None:
        """Raise `UserError` unless the recipients are public keys and the secret keys can read what they are sent."""
        ...


@dataclass(frozen=True)
class Handshake:
    """What a TLS server showed: the protocol agreed on, its certificate (DER), and why it is not to be trusted."""

    protocol: str
    certificate: bytes
    distrust: str


class Network(Protocol):
    """Names and connections, as golive's own machine sees them."""

    def addresses(self, name: str) -> Sequence[str]:
        """Return the addresses that a name leads to.

        Raises `NotFound` if there is no such name, `Unreachable` if nobody could be asked.
        """
        ...

    def connect(self, host: str, port: int, *, timeout: float) -> float:
        """Open a connection, close it, and return the seconds that it took.

        Raises `Unreachable` if it is refused, `TimedOut` if nothing answers, and as `addresses` does.
        """
        ...

    def handshake(
        self, host: str, port: int, *, name: str, ca: Path | None, newest: str | None, timeout: float
    ) -> Handshake:
        """Shake hands with a TLS server for ``name``, by the authorities of the system or those of ``ca``.

        ``newest`` is the newest protocol to offer. Raises as `connect` does, and `OutsideError` if they do not agree.
        """
        ...


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a message; ``name`` is its own for ever, ``alt`` says what a reader would see."""

    name: str
    title: str
    alt: str
    data: bytes = field(repr=False)


class ChatApi(Protocol):
    """A chat that keeps threads. Texts are markup; ``blocks`` are Block Kit.

    Errors come as `Unreachable` (certainly not sent), `ConnectionLost` or `TimedOut` (perhaps sent), `ServerTrouble`
    with ``retry_after``, `AccessDenied`, or `OutsideError` where another try cannot help.
    """

    def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        key: str,
        thread_ts: str = "",
        broadcast: bool = False,
    ) -> Mapping[str, str]:
        """Send a message that can be found again by ``key``, and return its ``channel`` and ``ts``.

        ``broadcast`` shows a reply in the channel too.
        """
        ...

    def update(self, channel: str, ts: str, text: str, blocks: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
        """Make a message say something else, and return its ``channel`` and ``ts``."""
        ...

    def find(self, channel: str, key: str, *, since: datetime, thread_ts: str = "") -> Mapping[str, str] | None:
        """Return ``channel`` and ``ts`` of the message that was sent with that key, or None if there is none.

        Raises `AccessDenied` where the token may not read the channel.
        """
        ...

    def link(self, channel: str, ts: str) -> str:
        """Return the address at which people see a message."""
        ...

    def whisper(self, channel: str, user: str, text: str) -> None:
        """Say something in a channel that one user alone sees."""
        ...

    def open_dialog(self, trigger: str, view: Mapping[str, Any]) -> None:
        """Show a dialog to whoever pressed a button, within seconds of which ``trigger`` is good for it."""
        ...

    def upload(self, channel: str, files: Sequence[Attachment], *, thread_ts: str = "") -> None:
        """Show files in one message; all of them, or none. Raises `AccessDenied` where the token may not do that."""
        ...

    def uploaded(self, channel: str, *, since: datetime, thread_ts: str = "") -> frozenset[str]:
        """Return the names of the files that have been shown there since then.

        Raises `AccessDenied` where the token may not read the channel.
        """
        ...


@dataclass(frozen=True)
class MailServer:
    """A server that takes mails; ``timeout`` is in seconds, ``trust`` a file of certificates, the system's if empty."""

    host: str
    port: int
    security: str
    trust: str
    user: str
    password: str = field(repr=False)
    timeout: float


@dataclass(frozen=True)
class Mail:
    """A mail; ``id`` is the same for each copy of it, ``answers`` the id of the one that it stands beneath."""

    id: str
    sender: str
    to: Sequence[str]
    subject: str
    text: str
    answers: str = ""


class MailApi(Protocol):
    """A server that takes mails. Errors come as in `ChatApi`."""

    def send(self, mail: Mail) -> None:
        """Hand a mail over to all its receivers."""
        ...


@dataclass(frozen=True)
class Press:
    """A button that was pressed in a chat, or a dialog that was sent.

    ``id`` is the number that the chat gave it, ``user`` and ``channel`` are the chat's own, ``act`` and ``nonce`` what
    the button carries, ``text`` what was written in the dialog, and ``trigger`` what opens one.
    """

    id: str
    user: str
    channel: str
    act: str
    nonce: str
    text: str = ""
    trigger: str = ""


@dataclass(frozen=True)
class World:
    """All that a step or a check may touch outside its own process."""

    clock: Clock
    http: Http
    host: Host
    databases: Databases
    pg_tools: PgTools
    pg_servers: PgServers
    secrets: Secrets
    stores: Stores
    cipher: Cipher
    network: Network
    redis: Redis
    kafka: Kafka
    progress: Callable[[str], None] = lambda _line: None
    """Called with a line for a person who follows the work."""
