"""What a flow would do, read from its own text: the steps that it calls, in order, in the words of their docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect import Flow, Task

from tasks.checking import start_looks


@dataclass(frozen=True)
class Told:
    """One step of a flow: what it does, in the first words of its docstring, and the groups of checks that it makes."""

    does: str
    task: object
    groups: tuple[str, ...] = ()


def told_by(flow: Flow[..., Any]) -> list[Told]:
    """Return the steps that a flow calls as a phase of a release, in the order of its text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(flow.fn)))
    return list(_told(tree, flow.fn.__globals__))


def _told(node: ast.AST, names: Mapping[str, Any]) -> Iterator[Told]:
    if isinstance(node, ast.ExceptHandler):
        return
    if isinstance(node, ast.If) and (alone := ast.unparse(node.test)) in {"release", "not release"}:
        for one in node.body if alone == "release" else node.orelse:
            yield from _told(one, names)
        return
    for below in ast.iter_child_nodes(node):
        yield from _told(below, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        called = names.get(node.func.id)
        if called is start_looks:
            groups = tuple(str(one.value) for one in node.args if isinstance(one, ast.Constant))
            yield Told(f"Make the checks of {' and '.join(groups)}", called, groups)
        elif isinstance(called, Task):
            yield Told(_first_words(called.fn), called)


def _first_words(function: Callable[..., Any]) -> str:
    sentence = " ".join((inspect.getdoc(function) or function.__name__).split("\n\n")[0].split())
    for end in ("; raises ", ". ", "; return ", ", and return ", " and return "):
        sentence = sentence.partition(end)[0]
    return sentence.rstrip(".").replace("`", "")
