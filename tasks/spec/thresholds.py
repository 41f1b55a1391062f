"""Other thresholds for a watch that is over: a release file with some of its limits changed."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.domain.errors import ReleaseFileError, UserError
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile

KINDS = ("down", "errors", "slower", "corruption")
"""The triggers, by kind."""
_OF_WATCH = ("success", "coverage")
"""The keys of ``watch`` by which a verdict is given; the others say what is looked at, which has been."""
_EXPECTED = f"errors.above=10%, down.for=5m, or another limit of {', '.join(KINDS)}, success.… or coverage"


def with_thresholds(text: str, where: str, sets: Sequence[str] = (), other: str = "") -> ReleaseFile:
    """Return the release file of this text with limits as ``NAME=VALUE``, and those of another file's text, changed.

    Raises `UserError` for what names no limit, and `ReleaseFileError` for a value that does not fit.
    """
    tree = YAML().load(text)
    if other:
        _take_from(tree, _mapping(other))
    for one in sets:
        _set(tree, one)
    changed = StringIO()
    YAML().dump(tree, changed)
    return loading.parse(changed.getvalue(), f"{where}, changed")


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = YAML().load(text)
    except YAMLError as error:
        raise ReleaseFileError("the file with other limits is not YAML", do="mend the syntax") from error
    if not isinstance(found, dict):
        raise ReleaseFileError("the file with other limits holds no mapping", expected="rollback.when or watch")
    return found


def _take_from(tree: Any, other: dict[str, Any]) -> None:
    rollback, watch = other.get("rollback") or {}, other.get("watch") or {}
    if "when" not in rollback and not any(key in watch for key in _OF_WATCH):
        raise UserError("the file has no limits", expected="rollback.when, watch.success or watch.coverage")
    if "when" in rollback:
        tree.setdefault("rollback", {})["when"] = rollback["when"]
    for key in _OF_WATCH:
        if key in watch:
            tree.setdefault("watch", {})[key] = watch[key]


def _set(tree: Any, given: str) -> None:
    name, is_set, value = given.partition("=")
    first, _, key = name.strip().removeprefix("watch.").partition(".")
    if not is_set or not value.strip():
        raise UserError(f"{given!r} sets nothing", expected=_EXPECTED)
    try:
        found = YAML(typ="safe").load(value)
    except YAMLError as error:
        raise UserError(f"{value!r} is no value", expected=_EXPECTED) from error
    if first in KINDS and key:
        triggers = tree.setdefault("rollback", {}).setdefault("when", [])
        mine = [one for one in triggers if one.get("kind") == first]
        if not mine:
            triggers.append(mine_too := {"kind": first})
            mine = [mine_too]
        for one in mine:
            one[key] = found
    elif first == "success" and key:
        tree.setdefault("watch", {}).setdefault("success", {})[key] = found
    elif first == "coverage" and not key:
        tree.setdefault("watch", {})["coverage"] = found
    else:
        raise UserError(f"{name!r} is no limit that a watch is judged by", expected=_EXPECTED)
