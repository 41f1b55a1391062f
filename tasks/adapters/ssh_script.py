"""Scripts for the shell of another machine, which arrive on its input, so that no process list shows them.

What follows on the input is the command's. On the error output a script says, after a random word, which process group
it is, what stands in its way, and how the command ended. All it needs is POSIX's shell.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.domain.errors import CommandFailed
from tasks.domain.ports import Command

BOOTSTRAP = (
    "exec sh -c 'exec env -i "
    + " ".join(
        f'${{{name}+"{name}=${name}"}}' for name in ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
    )
    + ' "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin" sh -c "IFS= read -r s && eval \\"\\$s\\""\''
)
"""The only words of golive's on a remote command line; any login shell reads them alike."""

_FIND = """find_program() {
  case $1 in
    */*) [ -f "$1" ] && [ -x "$1" ] && printf '%s\\n' "$1" ;;
    *) (IFS=:; for d in $PATH; do [ -f "$d/$1" ] && [ -x "$d/$1" ] && printf '%s\\n' "$d/$1" && exit; done; exit 1) ;;
  esac
}
"""
"""A function that says where a program is; ``command -v`` would find the shell's own ones."""


@dataclass(frozen=True)
class Said:
    """What a script has said of itself: its process group, what stood in the way, and the command's exit code."""

    group: int | None
    missing: str
    exit_code: int | None
    stderr: str


@dataclass(frozen=True)
class Script:
    """A script with the word by which its own lines are known; ``stdin`` is what the command then reads."""

    body: str
    stdin: bytes = b""
    word: str = field(default_factory=lambda: f"golive-{secrets.token_hex(8)}")

    @property
    def last_words(self) -> bytes:
        """What it says when the command has ended, but for the exit code."""
        return f"{self.word} ended ".encode()

    def head(self) -> bytes:
        """Return the script as the shell of `BOOTSTRAP` reads it; a head that is cut off does nothing."""
        if "\0" in self.body:
            raise CommandFailed("could not be started: there is a NUL character in it", do="take it out")
        reader = (
            f"n=$(printf '\\nx'); n=${{n%x}}; s=; while IFS= read -r l; do "
            f'[ "$l" = {self.word} ] && {{ eval "$s"; exit; }}; s=$s$l$n; done; exit 255'
        )
        script = f"word={self.word}\necho $word\necho $word group $$ >&2\n(\n{self.body}\n)\necho $word ended $? >&2"
        return f"{reader}\n{script}\n{self.word}\n".encode()

    def printed(self, stdout: str) -> str:
        """Return what the script and its command have printed, without what a login script did before."""
        return stdout.partition(f"{self.word}\n")[2]

    def heard(self, stderr: str) -> Said:
        """Return what the script has said, apart from what the command has."""
        # A command's own last line may lack its end, so that the script's word stands behind it.
        own = dict(re.findall(rf"{self.word} (group|missing|ended) (.*)", stderr))
        # Before the group's line stands what a login script had to say.
        rest = re.sub(rf"{self.word} (group|missing|ended) .*\n?", "", stderr[stderr.find(self.word) if own else 0 :])
        return Said(
            group=int(own["group"]) if "group" in own else None,
            missing=own.get("missing", ""),
            exit_code=int(own["ended"]) if own.get("ended", "").isdigit() else None,
            stderr=rest,
        )


def running(command: Command, path: str = "") -> Script:
    """Return the script that runs a command; ``path`` is searched for programs last."""
    body = f"{_settings(command, path)}exec {shlex.join(command.argv)}{_input(command)}"
    return Script(body, command.stdin or b"")


def spawning(command: Command, log: Path, path: str = "") -> Script:
    """Return the script that starts a command which goes on by itself, and prints its process id."""
    where = shlex.quote(str(log))
    made = f"umask 077; mkdir -p -- {shlex.quote(str(log.parent))} && : >> {where} || exit\n"
    started = f"(exec setsid {shlex.join(command.argv)}) < /dev/null >> {where} 2>&1 &\necho $!"
    return Script(f"{made}{_settings(command, path)}{started}")


def finding(program: str, path: str = "") -> Script:
    """Return the script that prints where a program is."""
    return Script(f"{_path(path)}{_FIND}find_program {shlex.quote(program)}")


def lacking(programs: Sequence[str], path: str = "") -> Script:
    """Return the script that prints those of some programs that are not there."""
    each = f"for p in {shlex.join(programs)}"
    return Script(f'{_path(path)}{_FIND}{each}; do find_program "$p" > /dev/null || echo "$p"; done')


def ending(group: int, grace: float) -> Script:
    """Return the script that ends a process group: it is asked first, and then killed."""
    return Script(
        f"kill -TERM -{group} 2> /dev/null || exit 0\n"
        f"i=0; while [ $i -lt {max(1, round(grace * 10))} ] && kill -0 -{group} 2> /dev/null; "
        "do sleep 0.1; i=$((i + 1)); done\n"
        f"kill -KILL -{group} 2> /dev/null; exit 0"
    )


def _settings(command: Command, path: str) -> str:
    """Return the lines that set the environment and the directory, and end the script where something is missing."""
    lines = [
        f"export {name}={shlex.quote(value)}" for name, value in (dict(command.env) | dict(command.secret_env)).items()
    ]
    if command.cwd:
        where = shlex.quote(str(command.cwd))
        lines.append(f'cd -- {where} 2> /dev/null || {{ echo "$word missing directory" >&2; exit 1; }}')
    lines.append(f"{_FIND}find_program {shlex.quote(command.argv[0])} > /dev/null")
    lines.append('[ $? = 0 ] || { echo "$word missing program" >&2; exit 1; }')
    return _path(path) + "\n".join(lines) + "\n"


def _path(last: str) -> str:
    return f"PATH=$PATH:{shlex.quote(last)}\n" if last else ""


def _input(command: Command) -> str:
    return " < /dev/null" if command.stdin is None else ""
