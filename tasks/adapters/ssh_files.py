"""The scripts by which files of another machine are kept: POSIX's shell with coreutils, tar and find.

Each does all of one act, so that it costs one round trip and is whole or not done whatever becomes of the connection.
"""

from __future__ import annotations

import re
import shlex
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tasks.domain.errors import OutsideError

NOTHING = 44
"""The exit code of a script that looked for something and found nothing there."""
NEEDED = (
    "cat",
    "chmod",
    "cp",
    "dirname",
    "env",
    "find",
    "ln",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "stat",
    "sync",
    "tar",
    "wc",
)
"""The programs of the other machine that the scripts call."""

SOCKETS = "cat /proc/net/tcp || exit; [ ! -r /proc/net/tcp6 ] || cat /proc/net/tcp6"
"""Prints Linux's table of TCP sockets."""
_SOCKET = re.compile(r"^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) ", flags=re.MULTILINE)
_LISTENS = "0A"
_ANYWHERE = re.compile(r"0{8}|0100007F|0{32}|0{16}FFFF00000100007F")
"""The addresses, in hexadecimal, whose listeners take what goes to 127.0.0.1, on either order of bytes."""

_SAY = "export LC_ALL=C\n"
_THERE = '[ -e "$p" ] || [ -L "$p" ] || '


def _of(path: Path, **more: Path | str) -> str:
    named = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in more.items())
    return f"{_SAY}p={shlex.quote(str(path))}\n{named}"


def _nothing(look: str) -> str:
    """Return the words that tell what is not there from what may not be looked at, as a program says it."""
    return (
        f'{{ m=$({look} -- "$p" 2>&1) && [ "$m" = "$p" ] && exit {NOTHING}; case $m in '
        f'*"No such file"* | *"Not a directory"*) exit {NOTHING} ;; esac; printf "%s\\n" "$m" >&2; exit 1; }}'
    )


def write(path: Path, beside: Path, mode: int, size: int) -> str:
    """Return the script that replaces a file by what it reads, if that is all of it."""
    return _of(path, b=beside, d=path.parent) + (
        "trap 'rm -f -- \"$b\"' EXIT\numask 077\nset -C\n"
        'mkdir -p -- "$d" && cat > "$b" || exit 1\n'
        f'[ "$(wc -c < "$b")" -eq {size} ] || {{ echo "the connection broke" >&2; exit 1; }}\n'
        f'chmod {mode:o} -- "$b" && sync -- "$b" && mv -fT -- "$b" "$p" && sync -- "$d"'
    )


def read(path: Path) -> str:
    """Return the script that prints a file."""
    return f'{_of(path)}[ -e "$p" ] || {_nothing("cat")}\ncat -- "$p"'


def exists(path: Path) -> str:
    """Return the script that tells whether something is there."""
    return _of(path) + f"{_THERE}exit {NOTHING}"


def listing(path: Path) -> str:
    """Return the script that prints the names in a directory, each ended by NUL."""
    return _of(path) + (
        f'[ -d "$p" ] || {_nothing("ls -A")}\ncd -- "$p" && ls -A . > /dev/null || exit 1\n'
        'for f in * .[!.]* ..?*; do [ ! -e "$f" ] && [ ! -L "$f" ] || printf \'%s\\0\' "$f"; done'
    )


def links(path: Path) -> str:
    """Return the script that prints each symbolic link below a directory and where it leads, each ended by NUL."""
    each = 'for l; do printf "%s\\0%s\\0" "$l" "$(readlink -- "$l")"; done'
    return _of(path) + f'cd -- "$p" && find . -type l -exec sh -c {shlex.quote(each)} sh {{}} +'


def disk_free(path: Path) -> str:
    """Return the script that prints how many blocks are free to an ordinary user, and their size."""
    return _of(path) + 'while [ ! -e "$p" ]; do p=$(dirname -- "$p"); done\nstat -f -c "%a %S" -- "$p"'


def link(path: Path, target: Path, beside: Path) -> str:
    """Return the script that makes or replaces a symbolic link."""
    return _of(path, t=target, b=beside, d=path.parent) + (
        'trap \'rm -f -- "$b"\' EXIT\numask 077\nmkdir -p -- "$d" && ln -s -- "$t" "$b" && mv -fT -- "$b" "$p"'
    )


def remove_tree(path: Path, beside: Path) -> str:
    """Return the script that removes a directory, which is never seen half removed."""
    return _of(path, b=beside) + f'{_THERE}exit 0\nmv -T -- "$p" "$b" && {_removed("$b")}'


def copy_tree(source: Path, target: Path, beside: Path, former: Path) -> str:
    """Return the script that copies a directory, whole or not at all."""
    return _of(target, s=source, b=beside, f=former, d=target.parent) + _in_place('cp -a -- "$s/." "$b"')


def receive_tree(target: Path, beside: Path, former: Path, mark: str) -> str:
    """Return the script that unpacks a directory from what it reads, if that ends with the file ``mark``."""
    return _of(target, b=beside, f=former, d=target.parent, m=mark) + _in_place(
        'mkdir -- "$b" && tar -xpf - --no-same-owner -C "$b" && '
        '{ [ -e "$b/$m" ] || { echo "the connection broke" >&2; exit 1; }; } && rm -- "$b/$m"'
    )


def _in_place(fill: str) -> str:
    """Return the lines that fill a directory beside the target and put it there, or leave what was there before."""
    return (
        f"trap '{_removed('$b')}; {_removed('$f')}' EXIT\n"
        '(umask 077; mkdir -p -- "$d") || exit 1\n'
        f"{fill} || exit 1\n"
        'if [ -e "$p" ] || [ -L "$p" ]; then mv -T -- "$p" "$f" || exit 1; fi\n'
        'mv -T -- "$b" "$p" || { [ ! -e "$f" ] || mv -T -- "$f" "$p"; exit 1; }\nsync -- "$d"'
    )


def _removed(name: str) -> str:
    # The second try is for a directory that its owner may not write to, as package caches have them.
    return f'{{ rm -rf -- "{name}" 2> /dev/null || {{ chmod -R u+rwX -- "{name}"; rm -rf -- "{name}"; }}; }}'


@contextmanager
def packed(source: Path, leave_out: Collection[str], mark: str, head: bytes) -> Iterator[BinaryIO]:
    """Give an open file that holds ``head`` and after it an archive of a directory, the file ``mark`` last in it."""

    def kept(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(one.name).name in leave_out else one

    with tempfile.TemporaryFile() as file:
        file.write(head)
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.add(source, arcname=".", filter=kept)
                archive.addfile(tarfile.TarInfo(f"./{mark}"), BytesIO())
        except OSError as error:
            raise OutsideError(f"{error.strerror or error}", where=str(error.filename or source)) from error
        file.flush()
        file.seek(0)
        yield file


def listeners(table: str) -> set[int]:
    """Return the ports that something listens on which takes what goes to 127.0.0.1."""
    found = _SOCKET.findall(table)
    return {int(port, 16) for address, port, state in found if state == _LISTENS and _ANYWHERE.fullmatch(address)}


def in_use(table: str) -> set[int]:
    """Return the ports that any socket has, listening or not."""
    return {int(port, 16) for _address, port, _state in _SOCKET.findall(table)}
