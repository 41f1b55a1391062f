"""Under which prefix a route is really answered: the routers that it is mounted through, followed in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from deployments.beginning.repository import Repository, Seen

_ROUTERS = {"APIRouter": "prefix", "Blueprint": "url_prefix"}
"""What makes a router, with the argument that holds its own prefix."""
_MOUNTS = {"include_router": "prefix", "register_blueprint": "url_prefix"}
"""What mounts a router, with the argument that holds the prefix which that adds."""
_DEEPEST = 10
"""Routers within routers beyond which there must be a circle."""

Router = tuple[Path, str]
"""A router by its file and the name that it has there."""


@dataclass
class Module:
    """What a file says of routers: the prefixes of its own, what it mounts where, and what its names stand for."""

    prefixes: dict[str, ast.expr | None] = field(default_factory=dict)
    mounts: list[tuple[ast.expr, ast.expr, ast.expr | None, int]] = field(default_factory=list)
    """Parent, child, prefix and line of each mount."""
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Names with the module they are from, and their name there; an empty one is the module itself."""


@dataclass
class Routes:
    """The routers of a repository."""

    repository: Repository

    def mounted(self, route: Seen) -> Seen | None:
        """Return the whole path of a route, with where it gets its prefix; None if that does not stand in the code.

        Where it is mounted more than once, it is the shortest path.
        """
        place, _, line = route.where.rpartition(":")
        path = Path(place)
        owner = self._owner(path, int(line))
        if owner is None:
            return None
        found = list(self._above((path, owner), 0))
        if not found:
            return None
        prefix, where = min(found, key=lambda one: (len(one[0]), one[0]))
        return Seen(f"{prefix}{route.value}", where or route.where)

    def _owner(self, path: Path, line: int) -> str | None:
        """Return the name of the router whose decorator stands at a line."""
        for node in ast.walk(self._tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.lineno == line:
                owner = node.func.value
                return owner.id if isinstance(owner, ast.Name) else None
        return None

    def _above(self, router: Router, depth: int) -> Iterator[tuple[str, str]]:
        """Yield each prefix under which a router is reached, with the place of the mount that leads there."""
        if depth > _DEEPEST:
            return
        path, name = router
        module = self._modules.get(path, Module())
        own = self._text(module.prefixes.get(name))
        if own is None:
            return
        mounts = list(self._mounts_of(router))
        if not mounts and name not in module.prefixes:
            yield own, ""  # an application, or what a function is given as one
        for parent, prefix, where in mounts:
            added = self._text(prefix)
            if added is not None:
                yield from ((f"{above}{added}{own}", at or where) for above, at in self._above(parent, depth + 1))

    def _mounts_of(self, router: Router) -> Iterator[tuple[Router, ast.expr | None, str]]:
        for path, module in self._modules.items():
            for parent, child, prefix, line in module.mounts:
                if self._meant(path, child) == router and (above := self._meant(path, parent)) is not None:
                    yield above, prefix, f"{path}:{line}"

    def _meant(self, path: Path, expression: ast.expr) -> Router | None:
        """Return the router that an expression in a file stands for."""
        if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
            module, name = self._modules[path].imports.get(expression.value.id, ("", ""))
            found = self._file(f"{module}.{name}" if name else module)
            return self._defined(found, expression.attr) if found else None
        return self._defined(path, expression.id) if isinstance(expression, ast.Name) else None

    def _defined(self, path: Path, name: str) -> Router:
        """Return where a name that a file uses was made, through the files that only hand it on."""
        for _ in range(_DEEPEST):
            module, there = self._modules.get(path, Module()).imports.get(name, ("", ""))
            found = self._file(module) if there else None
            if found is None:
                break
            path, name = found, there
        return path, name

    def _text(self, expression: ast.expr | None) -> str | None:
        """Return the text of an expression, None if the code alone does not tell it."""
        match expression:
            case None:
                return ""
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                texts = [self._text(one.value if isinstance(one, ast.FormattedValue) else one) for one in parts]
                return None if None in texts else "".join(map(str, texts))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                before, after = self._text(left), self._text(right)
                return None if before is None or after is None else before + after
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return self._setting(name)
        return None

    def _setting(self, name: str) -> str | None:
        """Return the path that a constant, or the default of a setting, of this name is, if it is the only one."""
        pattern = re.compile(rf"^\s*{re.escape(name)}\s*(?::[^=\n]+)?=\s*[\"'](?P<path>/[\w/.-]*)[\"']", re.MULTILINE)
        found = {match["path"] for match, _ in self.repository.find(pattern)}
        return found.pop() if len(found) == 1 else None

    # -- reading ------------------------------------------------------------------------------------------------------

    def _tree(self, path: Path) -> ast.Module:
        try:
            return ast.parse(self.repository.text(path))
        except (SyntaxError, ValueError):
            return ast.Module(body=[], type_ignores=[])

    @cached_property
    def _modules(self) -> dict[Path, Module]:
        mentions = re.compile("|".join((*_ROUTERS, *_MOUNTS, r"\.mount\(")))
        telling = [path for path in self.repository.python if mentions.search(self.repository.text(path))]
        handing_on = [path for path in self.repository.python if path.name == "__init__.py"]
        return {path: self._read(path) for path in dict.fromkeys((*telling, *handing_on))}

    def _read(self, path: Path) -> Module:
        module = Module()
        for node in ast.walk(self._tree(path)):
            match node:
                case ast.Import(names=names):
                    module.imports.update({one.asname or one.name: (one.name, "") for one in names})
                case ast.ImportFrom(module=base, names=names, level=level):
                    above = _package(path, level) if level else []
                    origin = ".".join([*above, *([base] if base else [])])
                    module.imports.update({one.asname or one.name: (origin, one.name) for one in names})
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call)
                ):
                    made = _name_of(call.func)
                    if made in _ROUTERS:
                        module.prefixes[name] = _given(call, _ROUTERS[made])
                case ast.Call(func=ast.Attribute(value=parent, attr="mount"), args=[prefix, child, *_]):
                    module.mounts.append((parent, child, prefix, node.lineno))
                case ast.Call(func=ast.Attribute(value=parent, attr=attribute), args=[child, *_]):
                    if attribute in _MOUNTS:
                        module.mounts.append((parent, child, _given(node, _MOUNTS[attribute]), node.lineno))
        return module

    def _file(self, module: str) -> Path | None:
        """Return the file of a module."""
        if not module:
            return None
        below = module.replace(".", "/")
        candidates = [f"{top}{below}{end}" for top in ("", "src/") for end in (".py", "/__init__.py")]
        return next((Path(one) for one in candidates if (self.repository.root / one).is_file()), None)


def _package(path: Path, level: int) -> list[str]:
    parts = list(path.parent.parts)
    parts = parts[1:] if parts[:1] == ["src"] else parts
    return parts[: len(parts) - level + 1]


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _given(call: ast.Call, argument: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == argument), None)
