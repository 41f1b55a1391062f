"""Doing the same with several things at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the same with each item, all at once, and return what came of each; waits for all, and raises the first error.

    What else went wrong stands in that error's notes.
    """
    if len(items) <= 1:
        return [act(item) for item in items]
    with ThreadPoolExecutor(len(items)) as pool:
        futures = [pool.submit(act, item) for item in items]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for further in errors[1:]:
        errors[0].add_note(str(further))
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
