"""Lays the versions out: ``python -m examples.glad_labs.build --to DIR [--versions v1 v2 v3]``.

A version's directory here holds only what differs from the version before it; what is laid out is complete.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VERSIONS = ("v1", "v2", "v3")
_HERE = Path(__file__).parent


def build(to: Path, versions: Sequence[str] = VERSIONS) -> list[Path]:
    """Write each version's complete tree to ``to/VERSION``, whole or not at all, in place of what is there.

    Raises `ValueError` for a version that does not exist.
    """
    if unknown := set(versions) - set(VERSIONS):
        raise ValueError(f"no version {', '.join(sorted(unknown))}; there are {', '.join(VERSIONS)}")
    to.mkdir(parents=True, exist_ok=True)
    return [_build_one(to, version) for version in versions]


def _build_one(to: Path, version: str) -> Path:
    final = to / version
    with tempfile.TemporaryDirectory(dir=to, prefix=f".{version}-") as scratch:
        tree = Path(scratch) / "new"
        for layer in VERSIONS[: VERSIONS.index(version) + 1]:
            ignore = shutil.ignore_patterns("__pycache__", ".*_cache")
            shutil.copytree(_HERE / layer, tree, ignore=ignore, dirs_exist_ok=True)
        shutil.copyfile(_HERE / "lint.toml", tree / "ruff.toml")
        if final.exists():
            final.rename(Path(scratch) / "old")
        tree.rename(final)
    return final


def main() -> None:
    """Read the arguments, build, and print where the trees are."""
    parser = argparse.ArgumentParser(description="Lay out complete trees of the Glad Labs stand-in.")
    parser.add_argument("--to", type=Path, required=True, help="directory that gets a subdirectory per version")
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=VERSIONS)
    arguments = parser.parse_args()
    for path in build(arguments.to, arguments.versions):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
