"""A file of settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.checks._dotenv import assignments
from tasks.checks._files import find, place_of, read_text
from tasks.checks._git import git
from tasks.checks.environment import Name
from tasks.checks.file import Mode
from tasks.domain.condition import all_of, held, none_of
from tasks.domain.outcome import Reading, failed, unknown
from tasks.domain.placeholder import is_placeholder
from tasks.domain.target import Target


class EnvFile(Check):
    """Looks whether a file of lines ``NAME=value`` is there, complete, filled in and kept to itself.

    What single values must be is for the kind ``environment``, with the same ``file``. No value is ever shown.
    """

    of_machine: ClassVar[bool] = True

    kind: Literal["env_file"] = "env_file"
    """Which kind of check this is."""
    file: Annotated[str, Field(min_length=1, examples=["{root}/.env.production"])]
    """The file, relative to the version's code."""
    required: tuple[Name, ...] = Field(default=(), examples=[["DATABASE_URL", "JWT_SECRET"]])
    """The variables that must be set in it and not empty."""
    example: str | None = None
    """The example file, relative to the version's code; every variable of it must be set here, and none besides."""
    more: bool = False
    """Whether there may be variables that the example does not have."""
    may_be_empty: tuple[Name, ...] = ()
    """The variables that may be empty."""
    placeholders: tuple[Name, ...] = ()
    """The variables whose value may look like a placeholder, such as ``changeme``; no other may."""
    differs_from: tuple[str, ...] = Field(default=(), examples=[["{root}/.env.staging"]])
    """Other such files, of other environments; no variable of ``secret`` may have the same value there."""
    secret: tuple[Name, ...] = Field(default=(), examples=[["JWT_SECRET", "DATABASE_URL"]])
    """The variables that must differ between environments, and from the example."""
    at_most_mode: Mode | None = "0640"
    """The permission bits beyond which the file may have none; ``null`` if that does not matter."""
    ignored: bool = False
    """Whether Git must ignore it and not track it, where it lies in a work tree."""
    documented_in: str | None = Field(default=None, examples=["docs/configuration.md"])
    """A document, relative to the version's code, which must name every variable."""

    @model_validator(mode="after")
    def _knows_what_differs(self) -> Self:
        if self.differs_from and not self.secret:
            raise ValueError("differs_from needs secret: the variables that must differ")
        return self

    def look(self, target: Target) -> Reading:
        """Return what is wrong with the file; one that is not there fails, one that cannot be read is unknown."""
        path = place_of(target, self.file)
        text = read_text(target, path)
        if text is None:
            return failed(f"{self.file} is not there")
        values, wrong = assignments(text)
        readings = [held(f"{len(values)} variables in {self.file}", values)]
        if wrong:
            readings.append(failed(f"line {', '.join(map(str, wrong[:5]))} cannot be understood"))
        readings += self._judge_values(values)
        readings += self._judge_example(target, values)
        readings += [self._judge_other(target, values, other) for other in self.differs_from]
        readings += self._judge_file(target, path)
        if self.documented_in is not None:
            readings.append(self._judge_document(target, values, self.documented_in))
        return all_of(readings, value=len(values), unit="variables", detail={"variables": sorted(values)})

    def _judge_values(self, values: Mapping[str, str]) -> list[Reading]:
        missing = [name for name in self.required if name not in values]
        empty = [name for name, value in values.items() if not value.strip() and name not in self.may_be_empty]
        left = [name for name, value in values.items() if is_placeholder(value) and name not in self.placeholders]
        return [
            none_of(missing, "not set", "all required are set"),
            none_of(empty, "empty", "none is empty"),
            none_of(left, "still a placeholder", "no placeholder"),
        ]

    def _judge_example(self, target: Target, values: Mapping[str, str]) -> list[Reading]:
        if self.example is None:
            return []
        text = read_text(target, place_of(target, self.example))
        if text is None:
            return [unknown(f"{self.example} is not there")]
        example, _ = assignments(text)
        lacking = sorted(set(example) - set(values))
        beyond = [] if self.more else sorted(set(values) - set(example))
        kept = [name for name in self.secret if name in values and example.get(name) == values[name]]
        return [
            none_of(lacking, f"of {self.example} not set", f"all of {self.example}"),
            none_of(beyond, f"not in {self.example}", f"none beyond {self.example}"),
            none_of(kept, f"as in {self.example}", f"no secret of {self.example}"),
        ]

    def _judge_other(self, target: Target, values: Mapping[str, str], other: str) -> Reading:
        text = read_text(target, place_of(target, other))
        if text is None:
            return unknown(f"{other} is not there")
        elsewhere, _ = assignments(text)
        equal = [name for name in self.secret if values.get(name) and elsewhere.get(name) == values[name]]
        absent = [name for name in self.secret if name not in elsewhere]
        if absent and not equal:
            return unknown(f"{other} has no {', '.join(absent)}")
        return none_of(equal, f"as in {other}", f"{', '.join(self.secret)} not as in {other}")

    def _judge_file(self, target: Target, path: str) -> list[Reading]:
        readings = []
        if self.at_most_mode is not None:
            mode = find(target, path, timeout=self.timeout)[0].mode
            within = not mode & ~int(self.at_most_mode, 8)
            readings.append(held(f"mode {mode:04o} within {self.at_most_mode:0>4}", within))
        if self.ignored:
            where, name = str(Path(path).parent), Path(path).name
            tracked = (
                git(
                    target, where, "ls-files", "--error-unmatch", "--", name, timeout=self.timeout, ok_exit=(0, 1)
                ).exit_code
                == 0
            )
            ignored = (
                git(
                    target,
                    where,
                    "check-ignore",
                    "--quiet",
                    "--no-index",
                    "--",
                    name,
                    timeout=self.timeout,
                    ok_exit=(0, 1),
                ).exit_code
                == 0
            )
            readings.append(held("tracked by Git" if tracked else "not tracked by Git", not tracked))
            readings.append(held("ignored by Git" if ignored else "not ignored by Git", ignored))
        return readings

    def _judge_document(self, target: Target, values: Mapping[str, str], document: str) -> Reading:
        text = read_text(target, place_of(target, document))
        if text is None:
            return failed(f"{document} is not there")
        lacking = [name for name in values if name not in text]
        return none_of(lacking, f"not in {document}", f"all in {document}")
