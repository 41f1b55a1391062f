"""Describes fields of the release file's types by the docstrings under them, and shows values as people write them.

Pydantic can do so when a class is made, but reads the whole file again for each class: half of the time in which golive
starts, for what only the reference and the JSON schema need.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from tasks.domain.kind import Strict
from tasks.spec import release_file


@cache
def describe_fields() -> None:
    """Describe the fields of every type of the release file, for their JSON schemas too."""
    found: list[type[Strict]] = [release_file.ReleaseFile, *_below(Strict)]
    classes = list(dict.fromkeys(found))
    for cls in classes:
        for name, field in cls.model_fields.items():
            field.description = field.description or _doc_of(cls, name)
    # What was generated before holds no descriptions; a type takes up the schemas of its parts as they are.
    for cls in classes:
        if "__pydantic_core_schema__" in cls.__dict__:
            delattr(cls, "__pydantic_core_schema__")
    for cls in classes:
        cls.model_rebuild(force=True)


def _below(cls: type[Strict]) -> Iterator[type[Strict]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _below(sub)


def _doc_of(cls: type[Strict], name: str) -> str | None:
    """Return the docstring under a field, from the class that has declared it last."""
    for one in cls.__mro__:
        if name in inspect.get_annotations(one):
            return _docs_in(one.__module__).get(one.__qualname__, {}).get(name)
    return None


@cache
def _docs_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the docstrings under the annotated names of each class of a module, by the class's name."""
    found: dict[str, dict[str, str]] = {}

    def read(nodes: list[ast.stmt], within: str) -> None:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                read(node.body, f"{within}{node.name}.")
        docs = found.setdefault(within.rstrip("."), {})
        for node, after in pairwise(nodes):
            match node, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    docs[name] = inspect.cleandoc(text)

    read(ast.parse(inspect.getsource(sys.modules[module])).body, "")
    return found


_PLAIN_IN_YAML = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off)$)(?!\d+e\d+$|0x)(?=.*[a-z])[\w/][\w./@+-]*(?: [\w./@+-]+)*", re.IGNORECASE
)
"""Texts that need no quotes, wherever they stand."""


def as_written(value: Any) -> str:
    """Return a value as a person writes it into the release file, in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{as_written(key)}: {as_written(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_written, value))}]"
    if isinstance(value, str) and _PLAIN_IN_YAML.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
