"""The end of a command and what it printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.checks import Check
from tasks.checks._reports import CoverageReport, JunitReport
from tasks.domain import ports
from tasks.domain.condition import all_of, held, last_lines, regular
from tasks.domain.kind import HIDDEN_PLACEHOLDER, Argv
from tasks.domain.outcome import Reading
from tasks.domain.target import ServiceName, Target, Within

_SECRET = re.compile(rf"\$\{{(env|file|block):|{HIDDEN_PLACEHOLDER}")
_ANY_EXIT = tuple(range(-64, 256))


class Command(Check):
    """Runs a command, without a shell, and judges how it ended and what it printed."""

    kind: Literal["command"] = "command"
    """Which kind of check this is."""
    argv: Annotated[Argv, Field(examples=[["{python}", "-m", "pytest", "-q"]])]
    """The program and its arguments. The process list shows them, so secrets belong into ``environment``."""
    service: ServiceName = ""
    """The service of the platform (``compose``) in whose running container it runs, that of the version which is looked
    at; on the host if empty. What is still at work there when ``timeout`` is over goes on."""
    one_off: bool = False
    """Whether a container of the version is made for it, and removed afterwards, instead of the one that runs: for a
    version that is not up yet."""
    cwd: str = "{release_dir}"
    """The directory in which it runs; by default that of the version's code, in a container that of its image. A new
    container sees the version's code only where this names a directory of it."""
    environment: dict[str, str] = Field(default_factory=dict, examples=[{"DATABASE_URL": "{dsn}"}])
    """Variables that it gets, besides PATH, HOME, LANG, TZ and TMPDIR; they are masked in what it prints."""
    exit_code: int = 0
    """The exit code that is right."""
    pattern: str | None = None
    """A regular expression that must be found in what it prints."""
    not_pattern: str | None = None
    """A regular expression that must not be found in what it prints."""

    junit: JunitReport | None = None
    """What the tests that it runs must come to, by reports that it writes; those of an earlier run do not count."""
    coverage: CoverageReport | None = None
    """What the tests that it runs must reach, by a report that it writes."""

    @model_validator(mode="after")
    def _fits_its_container(self) -> Command:
        if self.one_off and not self.service:
            raise ValueError("one_off needs a service, of which the container is made")
        if self.service and (self.junit or self.coverage):
            raise ValueError("junit and coverage read reports on the host; expected a command without a service")
        return self

    _patterns = field_validator("pattern", "not_pattern")(regular)

    @property
    def inside(self) -> Within | None:
        """The container in which the command runs, where it runs in one."""
        return Within(self.service, self.one_off) if self.service else None

    def acts(self, phase: str) -> str:
        """Return that nobody knows what the command does, except in preflight, where production is only read."""
        return "" if phase == "preflight" else f"runs {Path(self.argv[0]).name}, which may change something"

    def look(self, target: Target) -> Reading:
        """Return whether it ended and printed as it must; a command that cannot be run or ended is unknown."""
        junit, coverage = self.junit, self.coverage
        before_junit = junit.entries(target, timeout=self.timeout) if junit else {}
        before_coverage = coverage.entries(target, timeout=self.timeout) if coverage else {}
        secret = {name: value for name, value in self.environment.items() if _SECRET.search(value)}
        plain = {name: target.fill(value) for name, value in self.environment.items() if name not in secret}
        told = not self.service or "cwd" in self.model_fields_set
        finished = target.run(
            ports.Command(
                argv=tuple(target.fill(argument) for argument in self.argv),
                cwd=Path(target.fill(self.cwd)) if told else None,
                env=plain,
                secret_env={name: target.fill(value) for name, value in secret.items()},
                timeout=self.timeout,
                ok_exit=_ANY_EXIT,
            ),
            self.inside,
        )
        output = target.world.secrets.mask(f"{finished.stdout}\n{finished.stderr}".strip())
        readings = [held(f"exit code {finished.exit_code} = {self.exit_code}", finished.exit_code == self.exit_code)]
        if self.pattern is not None:
            readings.append(held(f"output ~ {self.pattern}", re.search(self.pattern, output, re.MULTILINE)))
        if self.not_pattern is not None:
            absent = not re.search(self.not_pattern, output, re.MULTILINE)
            readings.append(held(f"no {self.not_pattern} in the output", absent))
        if junit:
            readings.append(junit.judge_junit(target, before=before_junit, timeout=self.timeout))
        if coverage:
            readings.append(coverage.judge_coverage(target, before=before_coverage, timeout=self.timeout))
        return all_of(readings, detail={"last_lines": last_lines(output), "took": round(finished.took, 3)})
