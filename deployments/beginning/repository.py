"""What a repository shows of the service in it: only what was seen, each with the place where it was."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.domain.errors import UserError

_LEFT_OUT = frozenset(
    {
        ".git",
        ".venv",
        "venv",
        "env",
        "node_modules",
        "__pycache__",
        "dist",
        "build",
        ".tox",
        ".mypy_cache",
        "site-packages",
        ".next",
        ".nuxt",
        ".output",
        ".turbo",
        ".yarn",
        "bower_components",
        "coverage",
    }
)
_SCRIPTS = frozenset({".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx"})
_OF_A_VERSION = re.compile(r"v?\d[\w.+-]*|.+[-_]v?\d+(?:\.\d+)+[\w.+-]*")
_REQUIREMENTS = re.compile(r"(?:.*/)?requirements(?:[\w.-]*|/[\w.-]+)\.(?:txt|in)")
_MOST_FILES = 20_000
_LARGEST = 500_000
"""Bytes of a file beyond which it is not read."""


@dataclass(frozen=True)
class Seen:
    """Something that stands in the repository, with the file and the line."""

    value: str
    where: str


@dataclass(frozen=True)
class Repository:
    """A directory with a service's code."""

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UserError("is no directory", where=str(self.root), do="name the directory of the service's code")

    @cached_property
    def files(self) -> Sequence[Path]:
        """Its files, relative to it and sorted, without what others have made or installed."""
        found: list[Path] = []
        for directory, below, names in os.walk(self.root):
            below[:] = sorted(one for one in below if one not in _LEFT_OUT and not one.endswith(".egg-info"))
            found += [Path(directory, name).relative_to(self.root) for name in sorted(names)]
            if len(found) > _MOST_FILES:
                break
        return found

    def text(self, path: Path | str) -> str:
        """Return what a file holds, nothing if there is no such file, or it is large or no text."""
        full = self.root / path
        try:
            return full.read_text(encoding="utf-8") if full.stat().st_size <= _LARGEST else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def named(self, *names: str) -> Path | None:
        """Return the file of one of these names that lies least deep."""
        found = [path for path in self.files if path.name in names and "test" not in path.parts[0].lower()]
        return min(found, key=lambda path: (len(path.parts), names.index(path.name), str(path)), default=None)

    @cached_property
    def python(self) -> Sequence[Path]:
        """Its Python files without tests, those that lie least deep first."""
        found = [path for path in self.files if path.suffix == ".py" and not _is_test(path)]
        return sorted(found, key=lambda path: (len(path.parts), str(path)))

    @cached_property
    def scripts(self) -> Sequence[Path]:
        """Its files in JavaScript and TypeScript without tests, those that lie least deep first."""
        found = [path for path in self.files if path.suffix in _SCRIPTS and not _is_test(path)]
        found = [path for path in found if not path.name.endswith((".d.ts", ".min.js"))]
        return sorted(found, key=lambda path: (len(path.parts), str(path)))

    def find(
        self, pattern: re.Pattern[str], paths: Sequence[Path] | None = None
    ) -> Iterator[tuple[re.Match[str], Seen]]:
        """Yield each place in its Python files, or those given, that a pattern matches."""
        for path in self.python if paths is None else paths:
            text = self.text(path)
            for match in pattern.finditer(text):
                yield match, Seen(match[0].strip(), f"{path}:{text.count(chr(10), 0, match.start()) + 1}")

    # -- what it is called, and where it comes from -------------------------------------------------------------------

    @cached_property
    def project(self) -> dict[str, Any]:
        """What ``pyproject.toml`` says of the project."""
        try:
            about = tomllib.loads(self.text("pyproject.toml"))
        except tomllib.TOMLDecodeError:
            return {}
        return {**about.get("tool", {}).get("poetry", {}), **about.get("project", {})}

    @property
    def is_a_version(self) -> bool:
        """Whether its directory is named like a version of a service, such as ``v1`` or ``shop-1.4.0``."""
        return self.top is None and _OF_A_VERSION.fullmatch(self.root.resolve().name) is not None

    @cached_property
    def requirements(self) -> str:
        """Its dependencies as one text in small letters, from whatever file names them."""
        texts = [self.text(path) for path in self.files if _REQUIREMENTS.fullmatch(str(path))]
        return "\n".join([str(self.project.get("dependencies", "")), *texts, self.text("Pipfile")]).lower()

    def needs(self, package: str) -> bool:
        """Tell whether a package is among its dependencies."""
        return re.search(rf"(?<![\w-]){re.escape(package)}(?![\w-])", self.requirements) is not None

    @cached_property
    def top(self) -> Path | None:
        """The top of the Git repository that it lies in, if there is one."""
        return next((one for one in (self.root, *self.root.parents) if (one / ".git").exists()), None)

    @cached_property
    def origin(self) -> Seen | None:
        """Where Git says that it comes from."""
        if self.top is None:
            return None
        config = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            config.read(self.top / ".git" / "config", encoding="utf-8")
            url = config.get('remote "origin"', "url", fallback="")
        except (configparser.Error, UnicodeDecodeError):
            return None
        return Seen(url, ".git/config") if url else None


@dataclass(frozen=True)
class ComposeFile:
    """What a Compose file says of the services of a system and of what it relies on."""

    path: Path
    text: str
    services: dict[str, dict[str, Any]] = field(default_factory=dict)

    _SHARED = re.compile(
        r"postgres|postgis|timescale|redis|valkey|rabbitmq|kafka|zookeeper|nginx|traefik|caddy|prometheus|grafana"
        r"|adminer|pgadmin|mailhog|mailpit|minio|memcached|mysql|mariadb|mongo|elasticsearch|jaeger|loki|alertmanager"
    )

    @property
    def own(self) -> dict[str, dict[str, Any]]:
        """The services that are built from the code, or run an image that is nobody's well-known one."""
        return {
            name: one
            for name, one in self.services.items()
            if one.get("build") or (one.get("image") and not self._SHARED.search(str(one["image"]).lower()))
        }

    @property
    def shared(self) -> list[str]:
        """The services that versions would share: databases, queues, proxies."""
        return [name for name in self.services if name not in self.own]

    @property
    def unset(self) -> list[str]:
        """The variables that the file needs and gives no default."""
        return sorted(set(re.findall(r"\$\{(\w+)\}|\$\{(?:\w+):?\?", self.text)) - {""})


def compose_of(repository: Repository) -> ComposeFile | None:
    """Return the repository's Compose file, if there is one that can be read."""
    path = repository.named("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
    if path is None:
        return None
    text = repository.text(path)
    try:
        tree = YAML(typ="safe", pure=True).load(text)  # libyaml refuses what Compose takes
    except YAMLError:
        return None
    services = tree.get("services") if isinstance(tree, dict) else None
    if not isinstance(services, dict):
        return None
    return ComposeFile(path, text, {str(name): one for name, one in services.items() if isinstance(one, dict)})


def _is_test(path: Path) -> bool:
    return (
        any(part in {"tests", "test", "testing", "__tests__", "__mocks__", "e2e", "cypress"} for part in path.parts)
        or path.name.startswith(("test_", "conftest"))
        or re.search(r"\.(?:test|spec|e2e-spec|stories)\.\w+$", path.name) is not None
    )
