"""What Squawk, the linter of PostgreSQL migrations, says of SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.errors import CommandFailed
from tasks.domain.kind import HIDDEN_PLACEHOLDER
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import Command
from tasks.domain.sql_text import split
from tasks.domain.target import Target

Rule = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", examples=["require-concurrent-index-creation"])]
MOST_KEPT = 200
"""More findings than this are counted and not kept."""
_SECRET = re.compile(rf"\$\{{(env|file|block):|{HIDDEN_PLACEHOLDER}")


class Squawk(Check):
    """Reads SQL before it is run, with Squawk, for what locks tables long, loses data or breaks the old version."""

    kind: Literal["squawk"] = "squawk"
    """Which kind of check this is."""
    files: tuple[str, ...] = Field(default=(), examples=[["migrations/*.sql"]])
    """The files, relative to the version's code; the last part may be a pattern with ``*``."""
    argv: tuple[str, ...] = Field(default=(), examples=[["{python}", "-m", "alembic", "upgrade", "a1b2:head", "--sql"]])
    """A command that prints the SQL, run in the version's directory; secrets belong into ``environment``."""
    environment: dict[str, str] = Field(default_factory=dict, examples=[{"DATABASE_URL": "{dsn}"}])
    """Variables that the command gets, besides PATH, HOME, LANG, TZ and TMPDIR."""
    allow: tuple[Rule, ...] = ()
    """Rules that do not matter here."""
    deny: tuple[Rule, ...] = ()
    """Rules that fail the check; ``syntax-error`` always does."""
    others: Literal["deny", "report"] = "deny"
    """Whether the rules that are named in neither list fail the check too, or are only told."""
    in_transaction: bool = True
    """Whether each file is run in one transaction, as golive's own migrator for SQL files does."""
    postgresql: Annotated[str | None, Field(pattern=r"^\d+(\.\d+)*$", examples=["18"])] = None
    """The server's version, which some rules depend on."""
    program: str = "squawk"
    """The program."""

    @model_validator(mode="after")
    def _has_something_to_read(self) -> Self:
        if not self.files and not self.argv:
            raise ValueError("files or argv is needed")
        for argument in self.argv:
            if _SECRET.search(argument):
                raise ValueError(f"{argument!r} would show a secret in the process list; pass it by environment")
        if both := set(self.allow) & set(self.deny):
            raise ValueError(f"{', '.join(sorted(both))} is both allowed and denied")
        return self

    def look(self, target: Target) -> Reading:
        """Return what is denied, each with rule, file and line; no file, no statement or no Squawk is unknown."""
        texts = self._texts(target)
        empty = [name for name, text in texts.items() if text is None or not split(text, name)]
        if empty or not texts:
            return unknown(f"no SQL in {', '.join(empty or self.files)}")
        found = [
            finding
            for name, text in texts.items()
            for finding in review(
                target,
                name,
                text or "",
                ignore=self.allow,
                in_transaction=self.in_transaction,
                postgresql=self.postgresql,
                program=self.program,
                timeout=self.timeout,
            )
        ]
        denied = [finding for finding in found if self._is_denied(finding["rule"])]
        told = [shown(finding) for finding in denied or found]
        said = "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
        outcome = Outcome.FAILED if denied else Outcome.PASSED
        counted = f"{len(denied)} findings denied, {len(found) - len(denied)} only told, in {len(texts)} texts"
        return Reading(
            outcome,
            f"{counted}: {said}" if said else counted,
            value=len(denied), unit="findings", limit=0,
            detail={"findings": found[:MOST_KEPT]},
        )  # fmt: skip

    def _texts(self, target: Target) -> dict[str, str | None]:
        host, texts = target.world.host, dict[str, str | None]()
        for pattern in self.files:
            place = Path(target.fill(pattern))
            directory = target.release_dir / place.parent
            names = [place.name]
            if "*" in place.name:
                names = [name for name in host.list(directory) if fnmatchcase(name, place.name)]
            texts |= {str(place.parent / name): host.read(directory / name) for name in names}
            if not names:
                texts[pattern] = None
        if self.argv:
            command = Command(
                tuple(target.fill(argument) for argument in self.argv),
                cwd=target.release_dir,
                secret_env={name: target.fill(value) for name, value in self.environment.items()},
                timeout=self.timeout,
            )
            texts[Path(command.argv[0]).name] = host.run(command).stdout
        return texts

    def _is_denied(self, rule: str) -> bool:
        return rule == "syntax-error" or rule in self.deny or self.others == "deny"


def review(
    target: Target,
    name: str,
    text: str,
    *,
    ignore: Sequence[str] = (),
    in_transaction: bool = True,
    postgresql: str | None = None,
    program: str = "squawk",
    timeout: float = 30.0,
) -> list[dict[str, Any]]:
    """Return what Squawk finds in SQL: of each finding rule, file, line, level, message and the safer form."""
    options = ["--reporter", "json", "--stdin-filepath", name]
    # Settings of the project's own would say what is allowed in a second place.
    options += ["--config", "/dev/null"]
    options += ["--exclude", ",".join(ignore)] if ignore else []
    options += ["--pg-version", postgresql] if postgresql else []
    options += ["--assume-in-transaction" if in_transaction else "--no-assume-in-transaction"]
    ended = target.world.host.run(Command((program, *options), stdin=text.encode(), timeout=timeout, ok_exit=(0, 1)))
    try:
        findings = json.loads(ended.stdout)
    except ValueError as error:
        raise CommandFailed(f"no JSON: {(ended.stderr or ended.stdout)[:500]}", where=program) from error
    return [_evidence(finding) for finding in findings]


def shown(finding: Mapping[str, Any]) -> str:
    """Return a finding as one line."""
    safer = f" → {finding['safer']}" if finding["safer"] else ""
    return f"{finding['file']}:{finding['line']} {finding['rule']}: {finding['message']}{safer}"


def _evidence(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a finding; Squawk counts lines from 0."""
    words = {"rule": "rule_name", "file": "file", "level": "level", "message": "message", "safer": "help"}
    return {word: finding[key] for word, key in words.items()} | {"line": finding["line"] + 1}
