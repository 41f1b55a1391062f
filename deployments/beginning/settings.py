"""The settings that a service's own code reads from its environment, as its classes of pydantic declare them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.beginning.repository import Repository, Seen

_BASE = "BaseSettings"


@dataclass(frozen=True)
class Setting:
    """A variable of the environment; ``value`` is its default as it stands in the code, None if it has none."""

    seen: Seen
    value: str | None

    @property
    def is_needed(self) -> bool:
        """Whether the service does not start without it."""
        return self.value is None

    @property
    def is_empty(self) -> bool:
        """Whether nothing of use in production stands in the code for it."""
        return self.value in {None, "None"} or "localhost" in str(self.value) or "127.0.0.1" in str(self.value)


def settings_of(repository: Repository) -> Sequence[Setting]:
    """Return the settings of all classes that are, or inherit from, pydantic's ``BaseSettings``."""
    classes = list(_classes(repository))
    known = {_BASE}
    while more := {one.name for _path, one in classes if one.name not in known and known & set(_bases(one))}:
        known |= more
    named = {one.name: (path, one) for path, one in classes}
    found: dict[str, Setting] = {}
    for path, one in classes:
        if one.name in known:
            for setting in _fields(path, one, named):
                found.setdefault(setting.seen.value, setting)
    return list(found.values())


def _classes(repository: Repository) -> Iterator[tuple[Path, ast.ClassDef]]:
    told = [repository.text(path) for path in repository.python]
    if not any(_BASE in text for text in told):
        return
    for path, text in zip(repository.python, told, strict=True):
        if "Settings" not in text and "BaseModel" not in text:
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def _bases(one: ast.ClassDef) -> list[str]:
    return [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in one.bases]


def _fields(path: Path, one: ast.ClassDef, named: Mapping[str, tuple[Path, ast.ClassDef]]) -> Iterator[Setting]:
    prefix, between = _config(one, "env_prefix"), _config(one, "env_nested_delimiter")
    for node, name in _own(one):
        where, kind = Seen(f"{prefix}{name}".upper(), f"{path}:{node.lineno}"), getattr(node.annotation, "id", "")
        if not between or kind not in named:
            yield Setting(where, _default(node.value))
            continue
        # A group of settings: what one of its own class has is not needed where the group has a default.
        within, group = named[kind]
        for part, below in _own(group):
            value = _default(part.value)
            given = value if node.value is None else value or "given"
            yield Setting(Seen(f"{where.value}{between}{below}".upper(), f"{within}:{part.lineno}"), given)


def _own(one: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    for node in one.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if not name.startswith("_") and name != "model_config" and "ClassVar" not in ast.unparse(node.annotation):
                yield node, name


def _config(one: ast.ClassDef, key: str) -> str:
    """Return a text of a class's own configuration, in any of the ways in which pydantic takes it."""
    for node in ast.walk(one):
        match node:
            case ast.keyword(arg=name, value=ast.Constant(value=str(text))) if name == key:
                return text
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if name == key:
                return text
            case ast.Dict(keys=keys, values=values):
                for name_of, value in zip(keys, values, strict=True):
                    if getattr(name_of, "value", "") == key and isinstance(value, ast.Constant):
                        return str(value.value)
    return ""


def _default(value: ast.expr | None) -> str | None:
    """Return a default as it stands in the code, None if there is none."""
    if not (isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Field"):
        return None if value is None else ast.unparse(value)
    given = [*value.args[:1], *(one.value for one in value.keywords if one.arg in {"default", "default_factory"})]
    return None if not given or ast.unparse(given[0]) == "..." else ast.unparse(given[0])
