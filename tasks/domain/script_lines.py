"""Parts the code blocks of a document into commands and queries, with what their comments say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = frozenset({"bash", "sh", "shell", "zsh", "console", "shell-session", "terminal"})
SQL = frozenset({"sql", "postgresql", "postgres", "pgsql", "psql", "plpgsql"})
_PROGRAMS = frozenset(
    {
        "alembic", "apt", "apt-get", "aws", "cp", "createdb", "crontab", "curl", "docker", "docker-compose", "dropdb",
        "flask", "gcloud", "git", "gpg", "gunicorn", "helm", "journalctl", "kill", "kubectl", "make", "mkdir", "mv",
        "nginx", "npm", "npx", "nc", "pg_basebackup", "pg_ctl", "pg_dump", "pg_dumpall", "pg_isready", "pg_restore",
        "pgrep", "pip", "pip3", "pkill", "poetry", "psql", "pytest", "python", "python3", "redis-cli", "rm", "rsync",
        "scp", "service", "ssh", "sudo", "supervisorctl", "systemctl", "tail", "tar", "uv", "uvicorn", "wget", "yarn",
    }
)  # fmt: skip
"""Programs by which a block that names no language is known to hold commands."""
_STATEMENT = re.compile(
    r"^(?:SELECT|INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|EXPLAIN|WITH|GRANT|REVOKE|VACUUM|ANALYZE|REINDEX|TRUNCATE|"
    r"REFRESH|BEGIN|COMMIT|SET|SHOW)\b"
)
_ASIDE = re.compile(r"^(?:cd|echo|printf|set|source|clear|pushd|popd|exit|true|:|\.)(?:\s|$)")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_OPENS, _CLOSES = re.compile(r"^(?:for|while|until|if|case)\b"), re.compile(r"(?:^|[;\s])(?:done|fi|esac)\b[^\w]*$")
_LONGEST = 200
"""Lines after which a command whose quotes never close is taken line by line."""


@dataclass(frozen=True)
class Command:
    """One command or statement on one line, with what the comment before it says."""

    text: str
    about: str
    is_sql: bool

    @property
    def said(self) -> str:
        """The comment and the command."""
        return f"{self.about}: {self.text}" if self.about else self.text


def commands_in(block: str, info: str) -> list[Command]:
    """Return the commands and statements of a code block; ``info`` is what stands behind its fence."""
    language = info.split(maxsplit=1)[0].lower().strip("{}.") if info.split() else ""
    lines = block.split("\n")
    prompted = [line.lstrip() for line in lines if line.lstrip().startswith("$ ")]
    if language in SQL:
        return list(_statements(lines))
    if prompted and language in {*SHELLS, "", "text"}:
        # What follows a prompt's line is what the command has printed.
        return list(_commands([line[2:] for line in prompted]))
    if language in SHELLS or (not language and _looks_like_commands(lines)):
        return list(_commands(lines))
    if not language and any(_STATEMENT.match(line.strip()) for line in lines):
        return list(_statements(lines))
    return []


def _looks_like_commands(lines: list[str]) -> bool:
    words = [line.split()[0] for line in lines if line.split()]
    return any(word in _PROGRAMS or word.startswith("./") for word in words)


def _commands(lines: list[str]) -> Iterator[Command]:
    about, rest = "", list(lines)
    while rest:
        line = rest[0].strip()
        if not line or line.startswith("#!"):
            about = about if line else ""
            rest.pop(0)
        elif line.startswith(("#", "-- ")):
            about = _comment(line)
            rest.pop(0)
        elif _STATEMENT.match(line):
            taken = next((n for n, one in enumerate(rest, 1) if one.rstrip().endswith(";")), len(rest))
            yield from _with_about(_statements(rest[:taken]), about)
            del rest[:taken]
        else:
            taken = _length(rest)
            text = _joined(rest[:taken])
            del rest[:taken]
            if not _ASIDE.match(text):
                yield Command(text, about, is_sql=False)


def _with_about(statements: Iterator[Command], about: str) -> Iterator[Command]:
    for one in statements:
        yield Command(one.text, one.about or about, is_sql=True)


def _length(lines: list[str]) -> int:
    """Return how many lines the first command takes: its continuations, open quotes, here-document, loop."""
    first = lines[0].strip()
    if heredoc := _HEREDOC.search(first):
        ends = (number for number, line in enumerate(lines[1:], 2) if line.strip() == heredoc[2])
        return next(ends, 1)
    if _OPENS.match(first):
        closes = (number for number, line in enumerate(lines, 1) if _CLOSES.search(line.strip()))
        return next(closes, 1)
    quote = ""
    for number, line in enumerate(lines[:_LONGEST], 1):
        quote = _open_after(line, quote)
        if not quote and not line.rstrip().endswith("\\"):
            return number
    return 1


def _open_after(line: str, quote: str) -> str:
    """Return the quote that is open at the end of a line, which began within ``quote`` or within none."""
    escaped = False
    before = " "
    for sign in line:
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and before.isspace():
            break
        before = sign
    return quote


def _joined(lines: list[str]) -> str:
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    return " ".join(whole.split())


def _statements(lines: list[str]) -> Iterator[Command]:
    about: list[str] = []
    text: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith(("--", "#")):
            if not text:
                about = [_comment(stripped)]
            continue
        if stripped:
            code, _, _ = stripped.partition(" -- ")
            text.append(code)
        elif not text:
            about = []
        if text and text[-1].rstrip().endswith(";"):
            yield Command(" ".join(" ".join(text).split()), " ".join(about), is_sql=True)
            about, text = [], []
    if text:
        yield Command(" ".join(" ".join(text).split()), " ".join(about), is_sql=True)


def _comment(line: str) -> str:
    return re.sub(r"^(?:#+|--+)\s*(?:(?:step\s+)?\d+[.):]\s*)?", "", line, flags=re.IGNORECASE).strip().rstrip(":")
