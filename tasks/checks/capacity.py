"""Settings that must fit the machine, the database's server, and each other."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tasks.checks import Check
from tasks.checks._dotenv import variables_of
from tasks.checks._files import place_of
from tasks.domain.condition import all_of
from tasks.domain.errors import SecretMissing
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.target import Target

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
}  # fmt: skip
_OF_MACHINE = ("cpus", "memory_mb")
_OF_SERVER = (
    "max_connections", "superuser_reserved_connections", "reserved_connections", "max_worker_processes",
    "max_wal_senders", "max_locks_per_transaction",
)  # fmt: skip


def _comparison(text: str) -> str:
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no comparison: {error.msg}") from error
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise ValueError(f"{text!r} is no comparison of two terms, as in 'WORKERS * POOL_SIZE < max_connections'")
    for node in ast.walk(tree):
        fits = isinstance(node, (ast.Compare, ast.BinOp, ast.Name, ast.Load, *_OPERATORS))
        number = isinstance(node, ast.Constant) and type(node.value) in {int, float}
        if not fits and not number:
            raise ValueError(f"{text!r} has {ast.unparse(node)!r} in it; names, numbers, + - * / fit")
    return text


class Capacity(Check):
    """Reckons with settings: whether they fit the processors, the memory, and the connections of the database."""

    kind: Literal["capacity"] = "capacity"
    """Which kind of check this is."""
    relations: Annotated[
        tuple[Annotated[str, AfterValidator(_comparison)], ...],
        Field(min_length=1, examples=[["API_WORKERS <= 2 * cpus + 1", "API_WORKERS * POOL_SIZE < max_connections"]]),
    ]
    """Comparisons of numbers, names of variables, ``cpus`` and ``memory_mb`` of the machine, and ``max_connections``,
    ``superuser_reserved_connections``, ``reserved_connections``, ``max_worker_processes``, ``max_wal_senders`` and
    ``max_locks_per_transaction`` of the database's server, with ``+ - * /``."""
    file: str | None = None
    """The file of lines ``NAME=value`` in which the variables stand; by default golive's own environment."""
    defaults: dict[str, float] = Field(default_factory=dict, examples=[{"DATABASE_MAX_OVERFLOW": 10}])
    """What variables mean that are not set."""
    dsn: str = "{dsn}"
    """The database whose server is meant."""

    @property
    def on_hosts(self) -> bool:
        """Whether it reckons with what each host has: its file, its processors or its memory."""
        of_machine = self.file is not None or any(name in text for name in _OF_MACHINE for text in self.relations)
        return self.on == "hosts" or (self.on is None and of_machine)

    def look(self, target: Target) -> Reading:
        """Return which relations do not hold; a variable that is not set, or no number, leaves its own unknown."""
        trees = {text: ast.parse(text, mode="eval").body for text in self.relations}
        names = {node.id for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
        values = self._of_machine(target, names) | self._of_server(target, names)
        values |= self._of_variables(target, names - set(_OF_MACHINE) - set(_OF_SERVER))
        readings = [_judge(text, tree, values) for text, tree in trees.items()]
        return all_of(readings, detail={"values": values})

    def _of_machine(self, target: Target, names: set[str]) -> dict[str, float]:
        host, found = target.world.host, dict[str, float]()
        if "cpus" in names:
            lines = (host.read(Path("/proc/stat")) or "").splitlines()
            count = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
            found |= {"cpus": float(count)} if count else {}
        if "memory_mb" in names:
            match = re.search(r"^MemTotal:\s+(\d+) kB", host.read(Path("/proc/meminfo")) or "", re.MULTILINE)
            found |= {"memory_mb": int(match[1]) * 1024 / 1e6} if match else {}
        return found

    def _of_server(self, target: Target, names: set[str]) -> dict[str, float]:
        wanted = [name for name in _OF_SERVER if name in names]
        if not wanted:
            return {}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            found = {name: session.value("SELECT current_setting(%s, true)", (name,)) for name in wanted}
        # reserved_connections came with PostgreSQL 16; before, nothing was reserved.
        return {name: float(value or 0) for name, value in found.items()}

    def _of_variables(self, target: Target, names: set[str]) -> dict[str, float]:
        assigned = variables_of(target, place_of(target, self.file)) if self.file is not None else {}
        found = {name: value for name, value in self.defaults.items() if name in names}
        for name in names:
            text = (assigned or {}).get(name) if self.file is not None else _environment(target, name)
            if text and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text):
                found[name] = float(text)
            elif text:
                found.pop(name, None)  # it is set, and no number: the default does not count
        return found


def _environment(target: Target, name: str) -> str | None:
    try:
        return target.world.secrets.resolve(f"${{env:{name}}}")
    except SecretMissing:
        return None


def _judge(text: str, tree: ast.expr, values: dict[str, float]) -> Reading:
    missing = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - set(values))
    if missing:
        return unknown(f"{text}: {', '.join(missing)} is not known as a number")
    if not isinstance(tree, ast.Compare):
        raise TypeError(text)
    try:
        left, right = (_reckoned(side, values) for side in (tree.left, tree.comparators[0]))
    except ZeroDivisionError:
        return unknown(f"{text}: division by zero")
    holds = _OPERATORS[type(tree.ops[0])](left, right)
    return Reading(Outcome.PASSED if holds else Outcome.FAILED, f"{text}: {left:g} and {right:g}", left, "", right)


def _reckoned(node: ast.expr, values: dict[str, float]) -> float:
    if isinstance(node, ast.BinOp):
        return float(_OPERATORS[type(node.op)](_reckoned(node.left, values), _reckoned(node.right, values)))
    if isinstance(node, ast.Name):
        return values[node.id]
    return float(ast.literal_eval(node))
