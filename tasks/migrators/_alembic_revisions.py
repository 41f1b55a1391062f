"""What Alembic says about a release's revisions, and what follows from how they build on each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.target import Target


@dataclass(frozen=True)
class Revision:
    id: str
    parents: tuple[str, ...]
    depends: tuple[str, ...]
    path: str


def parse(said: str) -> list[Revision]:
    """Read what Alembic prints with ``--verbose``: blocks of ``Key: value``, the message indented below."""
    found: list[dict[str, str]] = []
    for line in said.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key == "Rev":
            found.append({"Rev": value.split()[0]})
        elif colon and found:
            found[-1].setdefault(key, value.strip())
    return [
        Revision(
            id=block["Rev"],
            parents=tuple(re.findall(r"[^\s,<>]+", block.get("Parent", block.get("Merges", "")).replace("<base>", ""))),
            depends=tuple(re.findall(r"[^\s,]+", block.get("Also depends on", ""))),
            path=block.get("Path", ""),
        )
        for block in found
    ]


def with_ancestors(revisions: dict[str, Revision], names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen and name in revisions:
            seen.add(name)
            todo += [*revisions[name].parents, *revisions[name].depends]
    return seen


def heads_among(revisions: dict[str, Revision], among: Iterable[str]) -> list[str]:
    chosen = list(among)
    parents = {parent for name in chosen for parent in revisions[name].parents}
    return [name for name in revisions if name in chosen and name not in parents]


def has_way_down(target: Target, revision: Revision) -> bool:
    try:
        body = ast.parse(target.world.host.read(Path(revision.path)) or "").body
    except SyntaxError as error:
        target.world.progress(
            f"{revision.path}: golive's Python cannot read it ({error.msg}); taken as without a way back"
        )
        return False
    functions = {node.name: node.body for node in body if isinstance(node, ast.FunctionDef)}
    down = functions.get("downgrade", [])
    return _idle(functions.get("upgrade", [])) or not (_idle(down) or any(isinstance(node, ast.Raise) for node in down))


def _idle(body: Sequence[ast.stmt]) -> bool:
    """Tell whether statements do nothing: ``pass``, ``...``, a docstring, a bare ``return``."""
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Return) and node.value is None)
        for node in body
    )
