"""What ``package.json`` says of a service for Node, and the commands that install what it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.beginning.repository import Repository

_NEWER_YARN = re.compile(r"yarn@(?:[2-9]|\d\d)")


@dataclass(frozen=True)
class Package:
    """The ``package.json`` at the top of a repository."""

    repository: Repository
    tree: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called, without the organisation that it belongs to."""
        return str(self.tree.get("name") or "").rpartition("/")[2]

    @property
    def description(self) -> str:
        """What it says of itself."""
        return str(self.tree.get("description") or "")

    @property
    def main(self) -> str:
        """The file that it names as its own."""
        return str(self.tree.get("main") or "")

    @property
    def engine(self) -> str:
        """The versions of Node that it wants."""
        return str(_mapping(self.tree.get("engines")).get("node") or "")

    @property
    def scripts(self) -> Mapping[str, str]:
        """Its scripts by their names."""
        return {name: text for name, text in _mapping(self.tree.get("scripts")).items() if isinstance(text, str)}

    def needs(self, *names: str) -> bool:
        """Tell whether one of these packages is among its dependencies, those for development too."""
        return any(name in _mapping(self.tree.get(kind)) for name in names for kind in _KINDS)

    def only_for_development(self, name: str) -> bool:
        """Tell whether a package is among its dependencies for development, and not among the others."""
        return name in _mapping(self.tree.get("devDependencies")) and not any(
            name in _mapping(self.tree.get(kind)) for kind in _KINDS[1:]
        )

    def where(self, word: str) -> str:
        """Return the place where a word stands in quotes, with its line."""
        text = self.repository.text("package.json")
        at = text.find(f'"{word}"')
        return f"package.json:{text.count(chr(10), 0, at) + 1}" if at >= 0 else "package.json"

    @property
    def manager(self) -> str:
        """The program that installs its dependencies."""
        locks = (("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"))
        return next((name for lock, name in locks if self._has(lock)), "npm")

    def build(self, *, development: bool) -> Sequence[tuple[str, ...]]:
        """Return the commands that install its dependencies, those for development only if wanted, and build it."""
        makes = "build" in self.scripts
        every = development or makes
        match self.manager:
            case "pnpm":
                install = ("pnpm", "install", "--frozen-lockfile", *(() if every else ("--prod",)))
            case "yarn" if self._has(".yarnrc.yml") or _NEWER_YARN.match(str(self.tree.get("packageManager", ""))):
                install = ("yarn", "install", "--immutable")
            case "yarn":
                install = ("yarn", "install", "--frozen-lockfile", *(() if every else ("--production",)))
            case _:
                locked = self._has("package-lock.json") or self._has("npm-shrinkwrap.json")
                less = () if every else ("--omit=dev",)
                install = ("npm", "ci" if locked else "install", *less, "--no-audit", "--no-fund")
        return [install, *([(self.manager, "run", "build")] if makes else [])]

    @property
    def is_locked(self) -> bool:
        """Whether a file says exactly which versions are installed."""
        return self.manager != "npm" or self._has("package-lock.json") or self._has("npm-shrinkwrap.json")

    def _has(self, name: str) -> bool:
        return (self.repository.root / name).is_file()


_KINDS = ("devDependencies", "dependencies", "optionalDependencies", "peerDependencies")


def package_of(repository: Repository) -> Package | None:
    """Return what the ``package.json`` at the repository's top says, None if there is none that can be read."""
    try:
        tree = json.loads(repository.text("package.json"))
    except (json.JSONDecodeError, RecursionError):
        return None
    return Package(repository, tree) if isinstance(tree, dict) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
