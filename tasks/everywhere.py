"""The same act, or the same look, on golive's own machine and on every host, at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.errors import GoliveError
from tasks.domain.outcome import Reading
from tasks.domain.target import HOSTS, Target
from tasks.domain.together import together

T = TypeVar("T")

LONGEST_SEEN = 2000
"""Characters of what a check saw that are kept."""


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


def on_its_machines(check: Check, target: Target, look: Callable[[Target, str], Reading]) -> Reading:
    """Return what a check sees, whose every host must pass; what is seen names the hosts that do not.

    The evidence of each host stands beneath its name. ``look`` is given the host's name too, and must not raise.
    """
    places = _places(check, target)
    readings = together(lambda name: look(places[name], name), list(places))
    if "" in places:
        return readings[0]
    named = [replace(one, seen=f"{name}: {one.seen}") for name, one in zip(places, readings, strict=True)]
    found = all_of(named, detail={HOSTS: {n: dict(one.detail) for n, one in zip(places, readings, strict=True)}})
    return replace(found, seen=found.seen[:LONGEST_SEEN])


def recorded(check: Check, record: Callable[[Target], Mapping[str, Any]], target: Target) -> Mapping[str, Any]:
    """Return what a check records before the release, of each host by its name where it looks at hosts."""
    found = everywhere(_places(check, target), record)
    return found.get("", {HOSTS: found})


def _places(check: Check, target: Target) -> Mapping[str, Target]:
    return target.on_each_host() if check.on_hosts else {"": target}
