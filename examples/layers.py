"""Lays out the versions of a stand-in: a version's directory holds only what differs from the version before it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache")


@dataclass(frozen=True)
class Layers:
    """The versions of a stand-in, from the oldest, as directories of ``home``."""

    home: Path
    versions: tuple[str, ...] = ("v1", "v2", "v3")

    def build(self, to: Path, versions: Sequence[str] = ()) -> list[Path]:
        """Write each version's complete tree, or those of some, to ``to/VERSION``, whole or not at all.

        What is there already is replaced. Raises `ValueError` for a version that does not exist.
        """
        if unknown := set(versions) - set(self.versions):
            raise ValueError(f"no version {', '.join(sorted(unknown))}; there are {', '.join(self.versions)}")
        to.mkdir(parents=True, exist_ok=True)
        return [self._build_one(to, version) for version in versions or self.versions]

    def _build_one(self, to: Path, version: str) -> Path:
        final = to / version
        with tempfile.TemporaryDirectory(dir=to, prefix=f".{version}-") as scratch:
            tree = Path(scratch) / "new"
            for layer in self.versions[: self.versions.index(version) + 1]:
                shutil.copytree(self.home / layer, tree, ignore=_LEFT_OUT, dirs_exist_ok=True)
            if (rules := self.home / "lint.toml").exists():
                # Under ruff's own name it would rule over what is here, too.
                shutil.copyfile(rules, tree / "ruff.toml")
            if final.exists():
                final.rename(Path(scratch) / "old")
            tree.rename(final)
        return final

    def main(self) -> None:
        """Read the arguments of a command line, build, and print where the trees are."""
        parser = argparse.ArgumentParser(description=f"Lay out complete trees of the versions of {self.home.name}.")
        parser.add_argument("--to", type=Path, required=True, help="directory that gets a subdirectory per version")
        parser.add_argument("--versions", nargs="+", choices=self.versions, default=self.versions)
        arguments = parser.parse_args()
        for path in self.build(arguments.to, arguments.versions):
            sys.stdout.write(f"{path}\n")
