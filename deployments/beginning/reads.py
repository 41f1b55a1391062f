"""The variables that code in Python asks its environment for, and whether it does without them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployments.beginning.repository import Repository, Seen
from deployments.beginning.settings import Setting

_ASKS = re.compile(r"\benviron\b|\bgetenv\b|\bdj_database_url\b|\b(?:env|config)(?:\.\w+)?\(")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_BY_ITSELF = {"db": "DATABASE_URL", "db_url": "DATABASE_URL", "cache": "CACHE_URL", "cache_url": "CACHE_URL",
              "email": "EMAIL_URL", "email_url": "EMAIL_URL"}  # fmt: skip
"""What methods of django-environ read where they are given no name."""
_GIVEN_BY_OTHERS = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "PORT", "DJANGO_SETTINGS_MODULE"})


def reads_of(repository: Repository) -> list[Setting]:
    """Return the variables that code asks for by ``os.environ``, django-environ, python-decouple or dj-database-url.

    One without a default is needed only where it is asked for as a module is loaded; elsewhere it may never be.
    """
    found: dict[str, Setting] = {}
    modules = dict(_modules(repository))
    declared = {name for tree in modules.values() for name in _declared(tree)} | _GIVEN_BY_OTHERS
    for path, tree in modules.items():
        for one in _of_module(path, tree):
            # Whoever does without it decides only where nobody needs it.
            if one.seen.value not in found or (one.is_needed and not found[one.seen.value].is_needed):
                found[one.seen.value] = one
    return [one for one in found.values() if one.seen.value not in declared]


def _modules(repository: Repository) -> Iterator[tuple[Path, ast.Module]]:
    for path in repository.python:
        text = repository.text(path)
        if _ASKS.search(text):
            with suppress(SyntaxError, ValueError):
                yield path, ast.parse(text)


def _of_module(path: Path, tree: ast.Module) -> Iterator[Setting]:
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try | ast.If | ast.IfExp)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        name, default = _asked(node)
        if name and _NAME.fullmatch(name):
            needed = default is None and id(node) not in later
            yield Setting(Seen(name, f"{path}:{node.lineno}"), None if needed else default or "None")  # type: ignore[attr-defined]


def _asked(node: ast.AST) -> tuple[str, str | None]:
    """Return the variable that an expression asks for, and its default in words; None without one."""
    match node:
        case ast.Subscript(value=holder, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            return (name, None) if _last(holder) == "environ" else ("", None)
        case ast.Call(func=function, args=args, keywords=keywords):
            words = {one.arg: one.value for one in keywords}
            default = ast.unparse(words["default"]) if "default" in words else None
            called = _last(function)
            of = _last(function.value) if isinstance(function, ast.Attribute) else ""
            first = args[0].value if args and isinstance(args[0], ast.Constant) else None
            if called == "getenv" or (called == "get" and of == "environ"):
                return (str(first or ""), ast.unparse(args[1]) if len(args) > 1 else default or "None")
            if of == "dj_database_url" and called == "config":
                given = words.get("env")
                return (str(given.value) if isinstance(given, ast.Constant) else "DATABASE_URL", default)
            if called in {"env", "config"} or of == "env":
                by_itself = _BY_ITSELF.get(called, "") if of == "env" else ""
                return (first if isinstance(first, str) else by_itself, default)
    return ("", None)


def _declared(tree: ast.Module) -> set[str]:
    """Return the variables for which django-environ's ``Env(NAME=(type, default))`` has a default."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _last(node.func) == "Env"]
    pairs = [one for call in calls for one in call.keywords if isinstance(one.value, ast.Tuple)]
    return {one.arg for one in pairs if one.arg and len(one.value.elts) > 1}  # type: ignore[attr-defined]


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
