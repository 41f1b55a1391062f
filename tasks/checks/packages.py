"""Python packages that a release needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, Self

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field, model_validator

from tasks.checks import Check
from tasks.checks._files import place_of, read_text
from tasks.checks._python import INTERPRETER, ask
from tasks.domain.condition import all_of, held, none_of
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target

# The environment of markers is the interpreter's own; what a package requires is told by its own metadata.
_LIST = """
import importlib.metadata as metadata, os, platform
environment = {
    "implementation_name": sys.implementation.name, "os_name": os.name, "platform_machine": platform.machine(),
    "implementation_version": platform.python_version(), "platform_python_implementation":
    platform.python_implementation(), "platform_release": platform.release(), "platform_system": platform.system(),
    "platform_version": platform.version(), "python_full_version": platform.python_version(),
    "python_version": ".".join(platform.python_version_tuple()[:2]), "sys_platform": sys.platform,
}
installed = {}
for one in metadata.distributions():
    if one.metadata["Name"] and one.metadata["Name"] not in installed:
        installed[one.metadata["Name"]] = [one.version, one.requires or []]
answer({"environment": environment, "installed": installed})
"""


def _requirement(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is not a requirement, as in 'flask>=3,<4': {error}") from error
    return text


class Packages(Check):
    """Looks which Python packages are installed for the release: whether versions fit, and fit each other."""

    of_machine: ClassVar[bool] = True

    kind: Literal["packages"] = "packages"
    """Which kind of check this is."""
    installed: tuple[Annotated[str, AfterValidator(_requirement)], ...] = Field(
        default=(), examples=[["flask>=3,<4", "flask-apscheduler"]]
    )
    """Packages that must be installed, with the versions that fit."""
    not_installed: tuple[str, ...] = Field(default=(), examples=[["pytest", "debugpy"]])
    """Packages that must not be installed, as those for development."""
    conflicts: bool = False
    """Whether packages may lack what they require, or have it in a version that does not fit."""
    lock: str | None = Field(default=None, examples=["requirements.txt"])
    """A file of lines ``NAME==VERSION``, relative to the version's code; each must be installed in that version."""
    only_locked: bool = False
    """Whether nothing else may be installed, apart from pip, setuptools and wheel."""
    python: str = INTERPRETER
    """The release's interpreter."""

    @model_validator(mode="after")
    def _has_a_lock(self) -> Self:
        if self.only_locked and self.lock is None:
            raise ValueError("only_locked needs lock")
        return self

    def look(self, target: Target) -> Reading:
        """Return which packages are missing or do not fit; no interpreter, or nothing installed, is unknown."""
        found = ask(target, self.python, _LIST, None, environment={}, timeout=self.timeout)
        packages: dict[str, tuple[str, tuple[str, ...]]] = {
            canonicalize_name(name): (version, tuple(needs)) for name, (version, needs) in found["installed"].items()
        }
        if not packages:
            return unknown(f"no package is installed for {self.python}")
        versions = {name: version for name, (version, _) in packages.items()}
        readings = [passed(f"{len(packages)} packages")]
        readings += [_judge(Requirement(text), versions) for text in self.installed]
        for name in self.not_installed:
            version = versions.get(canonicalize_name(name))
            readings.append(held(f"{name} {version or 'is not installed'}", version is None))
        if not self.conflicts:
            wrong = list(_conflicts(packages, found["environment"]))
            readings.append(none_of(wrong, "", "no conflict"))
        if self.lock is not None:
            readings += self._judge_lock(target, self.lock, versions, found["environment"])
        detail = {"installed": dict(sorted(versions.items()))}
        return all_of(readings, value=len(packages), unit="packages", detail=detail)

    def _judge_lock(
        self, target: Target, lock: str, versions: Mapping[str, str], environment: dict[str, str]
    ) -> list[Reading]:
        text = read_text(target, place_of(target, lock))
        if text is None:
            return [unknown(f"{lock} is not there")]
        pinned = dict(_pinned(text, environment))
        if not pinned:
            return [unknown(f"{lock} pins nothing")]
        wrong = [
            f"{name} {versions.get(name, 'not installed')} ≠ {version}"
            for name, version in pinned.items()
            if not _same(versions.get(name), version)
        ]
        readings = [none_of(wrong, "", f"{len(pinned)} as in {lock}")]
        if self.only_locked:
            beyond = sorted(set(versions) - set(pinned) - {"pip", "setuptools", "wheel"})
            readings.append(none_of(beyond, f"not in {lock}", f"none beyond {lock}"))
        return readings


def _judge(requirement: Requirement, versions: Mapping[str, str]) -> Reading:
    version = versions.get(canonicalize_name(requirement.name))
    if version is None:
        return failed(f"{requirement.name} is not installed")
    words = f"{requirement.name} {version} {requirement.specifier}".rstrip()
    return held(words, requirement.specifier.contains(version, prereleases=True))


def _conflicts(packages: Mapping[str, tuple[str, tuple[str, ...]]], environment: dict[str, str]) -> Iterable[str]:
    for name, (_, needs) in sorted(packages.items()):
        for text in needs:
            try:
                needed = Requirement(text)
            except InvalidRequirement:
                continue  # of old packages; pip does not install by it either
            if needed.marker and not needed.marker.evaluate({**environment, "extra": ""}):
                continue
            version, _ = packages.get(canonicalize_name(needed.name), (None, ()))
            if version is None:
                yield f"{name} needs {needed.name}, which is not installed"
            elif not needed.specifier.contains(version, prereleases=True):
                yield f"{name} needs {needed.name}{needed.specifier}, {version} is installed"


def _pinned(text: str, environment: dict[str, str]) -> Iterable[tuple[str, str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split(" #")[0].split(" --")[0].strip()
        if not words or words.startswith(("#", "-")):
            continue
        try:
            requirement = Requirement(words)
        except InvalidRequirement:
            continue
        pins = [one.version for one in requirement.specifier if one.operator in {"==", "==="}]
        if pins and (requirement.marker is None or requirement.marker.evaluate(dict(environment))):
            yield canonicalize_name(requirement.name), pins[0]


def _same(version: str | None, pinned: str) -> bool:
    if version is None:
        return False
    try:
        return Version(version) == Version(pinned)
    except InvalidVersion:
        return version == pinned
