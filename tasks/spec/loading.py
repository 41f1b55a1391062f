"""Loads a release file; each error gives path, line, what was seen, what was expected and the likely right key."""

from __future__ import annotations

import difflib
import os
import re
import types
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import Resolver

from tasks.adapters.secrets import mask_passwords
from tasks.domain import checklist
from tasks.domain.checklist import Checklist, read_checklist
from tasks.domain.errors import ReleaseFileError, UnknownSystem
from tasks.spec.release_file import ReleaseFile

FILE_NAME = "release.yaml"


def systems_in(directory: Path) -> list[str]:
    """Return the names of the systems that have a release file, sorted."""
    return sorted(path.parent.name for path in directory.glob(f"*/{FILE_NAME}"))


def find_release_file(directory: Path, system: str) -> Path:
    """Return the path of a system's release file; raises `UnknownSystem` with the nearest name."""
    known = systems_in(directory)
    if system not in known:
        near = difflib.get_close_matches(system, known, 1)
        raise UnknownSystem(
            f"no system {system!r} (no {directory / system / FILE_NAME})",
            expected=f"one of {', '.join(known)}" if known else "a release file",
            do=f"did you mean {near[0]}?" if near else "make one with: golive init",
        )
    return directory / system / FILE_NAME


def load(path: Path) -> ReleaseFile:
    """Load a release file and check it, also against the checklist beside it.

    Raises `ReleaseFileError` that lists every fault.
    """
    return parse(read_text(path), str(path), load_checklist(path))


def checklist_text(path: Path) -> str:
    """Return the text of the checklist beside a release file, empty if there is none."""
    beside = path.with_name(checklist.FILE_NAME)
    return read_text(beside) if beside.exists() else ""


def load_checklist(path: Path) -> Checklist:
    """Return the checklist beside a release file, one without a path if there is none."""
    beside = path.with_name(checklist.FILE_NAME)
    return read_checklist(read_text(beside), str(beside)) if beside.exists() else Checklist()


def read_text(path: Path) -> str:
    """Return what a file holds; raises `ReleaseFileError` if that cannot be read, or is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleaseFileError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ReleaseFileError("is not UTF-8 text", where=f"{path}:{line}", do="save it as UTF-8") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step, so that whoever reads it meanwhile sees the old or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ReleaseFileError(f"cannot be written: {error.strerror}", where=str(path)) from error


@lru_cache(maxsize=256)
def parse(text: str, where: str = FILE_NAME, beside: Checklist | None = None) -> ReleaseFile:
    """Check the text of a release file; ``where`` is its path for messages, ``beside`` the checklist of its system.

    A file that is on record is read without that, since the checklist may have changed meanwhile. Raises
    `ReleaseFileError`.
    """
    try:
        tree = YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        # About a duplicate key ruamel.yaml quotes both values, one of which may be a secret.
        problem = str(error.problem).partition(" with value ")[0]
        raise ReleaseFileError(f"not YAML: {problem}", where=f"{where}{line}", do="mend the syntax") from None
    except ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        seen = f"not YAML: unprintable character #x{int(error.character):04x}"
        raise ReleaseFileError(seen, where=f"{where}{line}", do="remove it") from error
    except RecursionError as error:
        raise ReleaseFileError("not YAML: nested too deeply", where=where, do="mend the syntax") from error
    if not isinstance(tree, dict):
        raise ReleaseFileError("holds no mapping", expected="keys such as system, database, checks", where=f"{where}:1")
    try:
        return ReleaseFile.model_validate(_plain(tree), context={"checklist": beside})
    except ValidationError as error:
        faults = [_fault(tree, where, one) for one in error.errors()]
        first, rest = faults[0], faults[1:]
        also = "".join(f"\n{fault}" for fault in rest)
        raise ReleaseFileError(f"{first}{also}", do="golive schema gives the whole form of the file") from error


class _Newest(Resolver):
    """Tells what a plain word is by YAML 1.2 alone, without asking anew for each word which version the text is of."""

    def __init__(self, version: object = None, loader: object = None, loadumper: object = None) -> None:  # noqa: ARG002
        super().__init__(loadumper)


def _quickly(text: str) -> Any:
    yaml = YAML(typ="safe")
    yaml.Resolver = _Newest
    return yaml.load(text)


@lru_cache(maxsize=2048)  # the monitor asks for each release under watch several times in a sweep
def recorded(text: str, where: str = FILE_NAME) -> ReleaseFile:
    """Return the release file of a text that is on record, which `parse` has accepted before; raises what that raises.

    It is read by libyaml, ten times as fast; what is wrong with a file that this golive does not read any more is said
    by `parse`. Only for texts on record: one that nests too deeply would end the process.
    """
    if "<<" in text or "%YAML" in text:  # keys that are merged in come in another order; a version has its own words
        return parse(text, where)
    try:
        return ReleaseFile.model_validate(_quickly(text), context={"checklist": None})
    except (YAMLError, ValidationError, ValueError, TypeError):
        return parse(text, where)


def with_database(text: str, dsn: str) -> str:
    """Return the text of a release file that leads to another database, by a secret reference; all else stays."""
    tree = YAML().load(text)
    kept = {key: value for key, value in tree["database"].items() if key not in {"dsn", "application_dsn"}}
    tree["database"] = {"dsn": dsn, **kept}
    changed = StringIO()
    YAML().dump(tree, changed)
    return changed.getvalue()


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, str):
        return str(node)
    return node


def _fault(tree: Any, where: str, error: ErrorDetails) -> str:
    path, line = _place(tree, error["ctx"]["at"] if error["type"] == "misfit" else error["loc"])
    dotted = ".".join(str(part) for part in path) or "the file"
    # The value is shown, and what is wrong here may be that a secret is written out.
    return mask_passwords(f"{where}:{line}: {dotted}: {_wrong(error, str(path[-1]) if path else '')}")


def _wrong(error: ErrorDetails, key: str) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key; {_likely(key, sorted(_fields_at(ReleaseFile, error['loc'][:-1])))}"
    if error["type"] == "union_tag_invalid":
        return f"no kind {error['ctx']['tag']!r}; {_likely(error['ctx']['tag'], _names(error['ctx']['expected_tags']))}"
    if error["type"] == "literal_error" and key == "kind":
        return f"no kind {error['input']!r}; {_likely(str(error['input']), _names(error['ctx']['expected']))}"
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{'missing' if error['type'] == 'missing' else 'kind is missing'}; expected this key"
    if error["type"] == "misfit" or isinstance(error["input"], dict | list) or str(error["input"]) in message:
        return message
    return f"{error['input']!r}: {message}"


def _names(quoted: str) -> list[str]:
    return re.findall(r"'([^']*)'", quoted)


def _likely(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, 1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"


def _place(tree: Any, loc: Sequence[str | int]) -> tuple[list[str | int], int]:
    """Return the path in the file and its line (from 1), without parts of ``loc`` that only name a union's member."""
    path: list[str | int] = []
    line = 0
    node: Any = tree
    for index, part in enumerate(loc):
        if isinstance(node, dict) and part in node:
            line = _lines(node).key(part)[0]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            line = _lines(node).item(part)[0]
        elif index == len(loc) - 1:
            return [*path, part], line + 1
        else:
            continue
        path.append(part)
        node = node[part]
    return path, line + 1


def _lines(node: Any) -> Any:
    """Return where ruamel.yaml keeps the lines of a mapping or sequence."""
    return node.lc


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> Iterator[str]:
    """Yield the keys that are permitted at a place of the file."""
    here: list[Any] = [model]
    for part in loc:
        here = [below for kind in here for below in _below(kind, part)] or here
    for member in (member for kind in here for member in _members(kind)):
        if _is_model(member):
            for name, field in member.model_fields.items():
                yield field.alias or name


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _below(kind: Any, part: str | int) -> Iterator[Any]:
    """Yield the types that a part of an error's ``loc`` leads to: a field's, an element's, or the member it names."""
    for member in _members(kind):
        if _is_model(member):
            for name, field in member.model_fields.items():
                if part in (name, field.alias):
                    yield field.annotation
            if "kind" in member.model_fields and member.model_fields["kind"].default == part:
                yield member
        elif get_origin(member) in (tuple, list, dict):
            yield from get_args(member)


def _members(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _members(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(kind):
            yield from _members(argument)
    else:
        yield kind
