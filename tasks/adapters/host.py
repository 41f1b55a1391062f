"""The local machine: runs programs without a shell, and keeps files."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.adapters.process import run, spawn
from tasks.domain.errors import AccessDenied, DiskTooSmall, OutsideError
from tasks.domain.ports import Command, Finished

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # not in an ordinary user's PATH, but nginx is there
_KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")


class LocalHost:
    """The machine that golive itself runs on."""

    name = "local"

    def require_usable(self) -> None:
        """Do nothing: golive runs here."""

    def run(self, command: Command) -> Finished:
        """Run a command to its end, with a limited environment and in a process group of its own.

        Of each output stream the beginning and the end are kept, with a note of how much was left out between them.
        A process that the command leaves running in the background is left alone.

        Raises `CommandFailed` with the last lines of output unless the exit code is in ``ok_exit``, `ToolMissing` if
        there is no such program, and `TimedOut` after killing the whole process group.
        """
        return run(command, _environment(command))

    def spawn(self, command: Command, log: Path) -> int:
        """Start a command that outlives golive, its output added to ``log`` (0600), and return its process id."""
        _make_directory(log.parent)
        return spawn(command, _environment(command), log)

    def which(self, program: str) -> Path | None:
        """Return where a program is, or None. A program beside golive's own Python is found too."""
        found = shutil.which(program, path=_search_path())
        return Path(found) if found else None

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file in one step (write beside it, fsync, rename), making its directory with 0700."""
        beside = name_beside(path)
        with _named_errors(path):
            _make_directory(path.parent)
            try:
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(descriptor, mode)  # whatever the umask
                    file.write(text.encode())
                    file.flush()
                    os.fsync(descriptor)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
            _sync_directory(path.parent)

    def read(self, path: Path) -> str | None:
        """Return a file's text with its own line ends, or None if there is no such file."""
        with _named_errors(path):
            try:
                return path.read_bytes().decode(errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, path: Path) -> bool:
        """Tell whether something is there; a symbolic link that leads nowhere is something."""
        with _named_errors(path):
            return os.path.lexists(path)

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a directory so that ``target`` is either absent or whole, replacing it whole if it is there.

        Symbolic links stay links; permission bits and times are kept.
        """
        self.send_tree(source, target)

    def send_tree(self, source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
        """Copy a directory as `copy_tree` does, without what has a name in ``leave_out``."""
        beside, former = name_beside(target), name_beside(target)
        with _named_errors(target):
            _make_directory(target.parent)
            try:
                shutil.copytree(source, beside, symlinks=True, ignore=lambda _at, names: set(leave_out) & set(names))
                if os.path.lexists(target):
                    target.rename(former)
                try:
                    beside.rename(target)
                except OSError:
                    if os.path.lexists(former):
                        former.rename(target)
                    raise
                _sync_directory(target.parent)
            except shutil.Error as error:
                first = error.args[0][0]
                raise OutsideError(
                    f"{len(error.args[0])} not copied, first {first[0]}: {first[2]}", where=str(source)
                ) from error
            finally:
                _remove(beside)
                _remove(former)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it (or a file); nothing there is fine.

        It is renamed first, so that ``path`` is never seen half removed.
        """
        beside = name_beside(path)
        with _named_errors(path):
            try:
                path.rename(beside)
            except (FileNotFoundError, NotADirectoryError):
                return
            _remove(beside)

    def links(self, path: Path) -> Mapping[str, str]:
        """Return where each symbolic link below a directory leads, by the link's path in the directory."""
        found = {}
        with _named_errors(path):
            for directory, names, files in os.walk(path):
                for one in (Path(directory, name) for name in (*names, *files)):
                    if one.is_symlink():
                        found[str(one.relative_to(path))] = str(one.readlink())
        return found

    def link(self, path: Path, target: Path) -> None:
        """Make ``path`` a symbolic link to ``target`` in one step, replacing an earlier link."""
        beside = name_beside(path)
        with _named_errors(path):
            _make_directory(path.parent)
            try:
                beside.symlink_to(target)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)

    def list(self, path: Path) -> Sequence[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        with _named_errors(path):
            try:
                return sorted(os.listdir(path))  # noqa: PTH208  names, not paths
            except (FileNotFoundError, NotADirectoryError):
                return []

    def disk_free(self, path: Path) -> int:
        """Return the bytes free to an ordinary user on the file system of ``path`` or its nearest parent."""
        nearest = path.absolute()
        with _named_errors(path):
            while not nearest.exists():
                nearest = nearest.parent
            return shutil.disk_usage(nearest).free

    def port_is_free(self, port: int) -> bool:
        """Tell whether nothing listens on 127.0.0.1:port."""
        with socket.socket() as probe:
            # Connections of an earlier server that still linger must not count as a listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except PermissionError:
                return not _answers(port)  # a port below 1024: only root may bind it
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                raise OutsideError(f"{error.strerror}", where=f"127.0.0.1:{port}") from error
        return True

    def free_port(self) -> int:
        """Return a port of 127.0.0.1 that nothing listens on at this moment."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def lend(self, port: int) -> contextlib.AbstractContextManager[int]:
        """Give the port itself: it is this machine's."""
        return contextlib.nullcontext(port)

    def reach(self, port: int) -> contextlib.AbstractContextManager[int]:
        """Give the port itself: it is this machine's."""
        return contextlib.nullcontext(port)


def _environment(command: Command) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": _search_path()} | kept | dict(command.env) | dict(command.secret_env)


def _search_path() -> str:
    own = os.environ.get("PATH", os.defpath)
    return os.pathsep.join((own, str(Path(sys.executable).parent), *_SYSTEM_DIRECTORIES))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def name_beside(path: Path) -> Path:
    """Return a new hidden name in the same directory; what a killed process leaves behind ends in ``.partial``."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.partial")


def _make_directory(path: Path) -> None:
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except PermissionError:
        # A directory that its owner may not write to, as package caches have them.
        for directory, names, _files in os.walk(path):
            Path(directory).chmod(0o700)
            names[:] = [name for name in names if not Path(directory, name).is_symlink()]
        shutil.rmtree(path)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into golive's."""
    try:
        yield
    except OSError as error:
        where, words = str(error.filename or path), error.strerror or str(error)
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise AccessDenied(words, where=where, do="give golive's user the right to it") from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskTooSmall(words, where=where, do="make room on this disk") from error
        raise OutsideError(words, where=where) from error
