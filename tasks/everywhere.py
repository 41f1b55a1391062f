"""The same act on golive's own machine and on every host, at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tasks.domain.errors import GoliveError
from tasks.domain.target import Target

T = TypeVar("T")


def everywhere(targets: Mapping[str, Target], act: Callable[[Target], T]) -> dict[str, T]:
    """Return what an act gave on each machine, after it has ended on all of them.

    Raises the first machine's error, in the order of ``targets``, that says which machine it is; the others' follow as
    notes.
    """

    def named(name: str) -> T:
        try:
            return act(targets[name])
        except GoliveError as error:
            if name and not error.where.startswith(f"host {name}"):
                error.where = f"host {name}{', ' if error.where else ''}{error.where}"
            raise

    with ThreadPoolExecutor(max(1, len(targets)), thread_name_prefix="host") as pool:
        under_way = {name: pool.submit(named, name) for name in targets}
    failed = [found for one in under_way.values() if (found := one.exception()) is not None]
    if failed:
        for other in failed[1:]:
            failed[0].add_note(f"and: {other}")
        raise failed[0]
    return {name: one.result() for name, one in under_way.items()}
