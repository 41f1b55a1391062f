"""Repositories of services, made of a few texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from deployments.beginning.facts import facts_of
from deployments.beginning.repository import Repository
from deployments.beginning.writing import text_of
from tasks.spec import loading

SERVER = "const { DATABASE_URL } = process.env;\nrequire('http').createServer().listen(process.env.PORT || 3000);\n"
"""A service for Node."""


def a_repository(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory, each without the indentation of its first line, and return the directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")
    return directory


def a_package(dependencies: str = "", development: str = "", **more: Any) -> str:
    """Return the text of a ``package.json`` that needs some packages, with more keys."""
    packages = {"dependencies": dependencies.split(), "devDependencies": development.split()}
    return json.dumps({"name": "desk", **{kind: dict.fromkeys(names, "1") for kind, names in packages.items()}, **more})


def begun(tmp_path: Path, files: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Begin a release file for a repository, hold it valid, and return it as values and text."""
    text = text_of("desk", facts_of(Repository(a_repository(tmp_path / "desk", files)), None))
    loading.parse(text, "release.yaml")
    return YAML(typ="safe").load(text), text
