"""The text of SQL files: where one statement ends and the next begins, and which statements golive will not run.

The lexical rules are PostgreSQL's own (``src/backend/parser/scan.l``) and the splitting is psql's
(``src/fe_utils/psqlscan.l``), with ``standard_conforming_strings`` on, as it is by default.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise

from tasks.domain.errors import Refused, SqlFailed

_NAME = r"[A-Za-z_\x80-\U0010ffff]"
_ESCAPES = r"'(?:[^'\\]++|\\.|'')*+'"
# Two literals with a line break between them are one, and the second keeps the escapes of the first.
_CONTINUED = r"[ \t\f\v]*+(?:--[^\n\r]*+)?+[\n\r](?:\s|--[^\n\r]*+[\n\r])*+"
_TOKEN = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<comment>--[^\n\r]*+)
    | (?P<block>/\*)
    | (?P<text>[eE]{_ESCAPES}(?:{_CONTINUED}{_ESCAPES})*+
              | '(?:[^']++|'')*+'
              | \$(?P<tag>(?:{_NAME}(?:{_NAME}|[0-9])*+)?)\$.*?\$(?P=tag)\$)
    | (?P<quoted>"(?:[^"]++|"")*+")
    | (?P<open>[eE]?' | " | \$(?:{_NAME}(?:{_NAME}|[0-9])*+)?\$)
    | (?P<word>{_NAME}(?:{_NAME}|[0-9$])*+)
    | (?P<number>[0-9][A-Za-z0-9_.]*+)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_DIRECTIVE = re.compile(r"--\s*golive:\s*(.*?)\s*")
_FUNCTION = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE)\b")
_KEPT_TOKENS = 60


@dataclass(frozen=True)
class Statement:
    """One statement, the line (from 1) on which it begins, and its first tokens outside of parentheses."""

    text: str
    line: int
    tokens: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens in upper case, fit to be compared with key words; quoted names keep their quotes."""
        return tuple(piece.upper() for piece in self.tokens)

    @property
    def concurrent(self) -> bool:
        """Whether it waits for other transactions instead of blocking them (``CONCURRENTLY``)."""
        return "CONCURRENTLY" in self.words


@dataclass(frozen=True)
class Script:
    """A SQL file, read, split and found fit to be run."""

    name: str
    text: str
    statements: tuple[Statement, ...]
    transactional: bool

    @property
    def sha256(self) -> str:
        """The hash of the file's text, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class _Splitter:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.statements: list[Statement] = []
        self.directives: list[tuple[int, str, bool]] = []
        self._counted, self._line = 0, 1
        self._fresh()

    def _fresh(self) -> None:
        self._start: int | None = None
        self._start_line = 1
        self._tokens: list[str] = []
        self._parens = self._blocks = 0
        self._last = ""

    def _line_at(self, position: int) -> int:
        self._line += self.text.count("\n", self._counted, position)
        self._counted = position
        return self._line

    def run(self) -> None:
        position = 0
        while match := _TOKEN.match(self.text, position):
            kind, piece, position = match.lastgroup or "text", match[0], match.end()
            if kind == "block":
                position = self._skip_block(match.start())
            elif kind == "comment":
                if found := _DIRECTIVE.fullmatch(piece):
                    first = not self.statements and self._start is None
                    self.directives.append((self._line_at(match.start()), found[1], first))
            elif kind == "sign" and piece == ";" and not self._parens and not self._blocks:
                self._emit(position)
            elif kind != "space":
                self._take(kind, piece, match.start())
        self._emit(len(self.text))

    def _take(self, kind: str, piece: str, start: int) -> None:
        if kind == "open":
            what = "identifier" if piece == '"' else "string"
            raise SqlFailed(f"unterminated quoted {what}", sqlstate="42601", where=self._where(start))
        if piece == "\\":
            raise Refused(
                "a psql command, which only psql understands",
                expected="SQL alone",
                where=self._where(start),
                do="remove it, or write what it does in SQL",
            )
        if self._start is None:
            self._start, self._start_line = start, self._line_at(start)
        if piece == ")":
            self._parens = max(0, self._parens - 1)
        if not self._parens and len(self._tokens) < _KEPT_TOKENS:
            self._tokens.append(piece)
        if piece == "(":
            self._parens += 1
        if kind == "word" and not self._parens:
            self._follow_body(piece.upper())
        self._last = piece.upper()

    def _follow_body(self, word: str) -> None:
        """Count the nesting in the body of ``CREATE FUNCTION … BEGIN ATOMIC … END``, whose semicolons end nothing."""
        if self._blocks == 0:
            if word == "ATOMIC" and self._last == "BEGIN" and _FUNCTION.match(" ".join(self._tokens[:4]).upper()):
                self._blocks = 1
        elif self._last not in {"AS", "."}:  # there they are names
            self._blocks += {"CASE": 1, "END": -1}.get(word, 0)

    def _emit(self, end: int) -> None:
        if self._start is not None:
            self.statements.append(Statement(self.text[self._start : end], self._start_line, tuple(self._tokens)))
        self._fresh()

    def _skip_block(self, start: int) -> int:
        depth, position = 1, start + 2
        while depth:
            edge = _BLOCK_EDGE.search(self.text, position)
            if edge is None:
                raise SqlFailed("unterminated /* comment", sqlstate="42601", where=self._where(start))
            depth += 1 if edge[0] == "/*" else -1
            position = edge.end()
        return position

    def _where(self, position: int) -> str:
        return f"{self.name}:{self._line_at(position)}"


def split(text: str, name: str = "sql") -> tuple[Statement, ...]:
    """Split SQL into its statements, without the comments between them.

    Raises `SqlFailed` for a quote or comment without end and `Refused` for a psql command, with ``name:line``.
    """
    splitter = _Splitter(text.removeprefix("\ufeff"), name)
    splitter.run()
    return tuple(splitter.statements)


def parse(text: str, name: str) -> Script:
    """Read a SQL file that golive is to run; ``-- golive: no transaction`` may stand before its first statement.

    Raises `Refused` for what golive will not run: nothing at all, transaction commands, ``COPY … FROM STDIN``, psql
    commands; and `SqlFailed` for a quote or comment without end.
    """
    if "\0" in text or "\ufffd" in text:
        raise Refused("holds bytes that are not text", expected="SQL in UTF-8", where=name)
    splitter = _Splitter(text.removeprefix("\ufeff"), name)
    splitter.run()
    if not splitter.statements:
        raise Refused("holds no statement", expected="at least one", where=name, do="remove the file or fill it")
    for line, directive, first in splitter.directives:
        if directive.lower() != "no transaction" or not first:
            raise Refused(
                f"'-- golive: {directive}' means nothing here",
                expected="'-- golive: no transaction' before the first statement",
                where=f"{name}:{line}",
            )
    for statement in splitter.statements:
        _refuse(statement, name)
    return Script(name, text, tuple(splitter.statements), transactional=not splitter.directives)


def _refuse(statement: Statement, name: str) -> None:
    words = statement.words
    head = " ".join(words[:2])
    ends = words[0] in {"BEGIN", "COMMIT", "END", "ABORT", "ROLLBACK"} and "TO" not in words[1:3]
    if ends or head in {"START TRANSACTION", "PREPARE TRANSACTION"}:
        raise Refused(
            f"{head}: the file begins or ends transactions itself",
            expected="none of that: golive runs each file in one transaction, or each statement by itself",
            where=f"{name}:{statement.line}",
            do="remove BEGIN and COMMIT",
        )
    if re.match(r"CREATE (UNIQUE )?INDEX CONCURRENTLY ON ", " ".join(words)):
        raise Refused(
            "an index built concurrently without a name",
            expected="a name by which an invalid leftover can be found and dropped",
            where=f"{name}:{statement.line}",
            do="name the index",
        )
    if words[0] == "COPY" and ("FROM", "STDIN") in pairwise(words):
        raise Refused(
            "COPY … FROM STDIN, whose data only psql can send",
            expected="SQL alone",
            where=f"{name}:{statement.line}",
            do="write the rows as INSERT",
        )


@dataclass(frozen=True)
class ConcurrentIndex:
    """An index that a statement builds concurrently, and its table, both as they are written in the statement."""

    name: str
    table: str


def concurrent_index(statement: Statement) -> ConcurrentIndex | None:
    """Return the index that ``CREATE INDEX CONCURRENTLY`` builds, or None for any other statement or without a name."""
    rest, words = list(statement.tokens), list(statement.words)

    def skip(*expected: str) -> bool:
        if tuple(words[: len(expected)]) != expected:
            return False
        del rest[: len(expected)], words[: len(expected)]
        return True

    if not skip("CREATE"):
        return None
    skip("UNIQUE")
    if not skip("INDEX", "CONCURRENTLY"):
        return None
    skip("IF", "NOT", "EXISTS")
    if len(words) < 3 or words[0] == "ON" or words[1] != "ON":
        return None
    name = rest[0]
    del rest[:2], words[:2]
    skip("ONLY")
    end = next((at for at, word in enumerate(words) if word in {"(", "USING"}), len(words))
    return ConcurrentIndex(name, "".join(rest[:end]))


def reindexed(statement: Statement) -> str:
    """Return the index or table, as it is written, that ``REINDEX … CONCURRENTLY`` rebuilds; empty for any other."""
    words = [word for word in statement.words if word not in {"(", ")"}]
    if words[:1] != ["REINDEX"] or words[1:3] not in (["INDEX", "CONCURRENTLY"], ["TABLE", "CONCURRENTLY"]):
        return ""
    return "".join(statement.tokens[statement.words.index("CONCURRENTLY") + 1 :])
