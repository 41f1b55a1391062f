"""Finds every kind by its file and joins those of a package into one type, told apart by ``kind``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Annotated, Any, Union

from pydantic import Field

from tasks import backups, checks, migrators, notifiers, platforms, rollouts, routers, sources, traffic
from tasks.domain.kind import Kind

PACKAGES: dict[ModuleType, type[Kind]] = {
    backups: backups.Backup,
    checks: checks.Check,
    migrators: migrators.Migrator,
    notifiers: notifiers.Notifier,
    platforms: platforms.Platform,
    rollouts: rollouts.Rollout,
    routers: routers.Router,
    sources: sources.Source,
    traffic: traffic.TrafficSource,
}
"""The packages of kinds, each with the contract that its kinds fulfil."""


@cache
def kinds_in(package: ModuleType) -> dict[str, type[Kind]]:
    """Return the kinds of a package by name; raises `TypeError` for a file that does not hold just its own kind.

    A file whose name begins with an underscore holds what kinds of the package share.
    """
    base = PACKAGES[package]
    found: dict[str, type[Kind]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        here = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
        ]
        if len(here) != 1 or here[0].model_fields["kind"].default != info.name:
            raise TypeError(f"{module.__name__} must hold one subclass of {base.__name__} with kind = {info.name!r}")
        found[info.name] = here[0]
    return found


def union_of(package: ModuleType) -> Any:
    """Return the type of "any kind of this package" for a Pydantic field."""
    classes = tuple(kinds_in(package).values())
    if len(classes) == 1:
        return classes[0]
    return Annotated[Union[classes], Field(discriminator="kind")]  # noqa: UP007 - the members are not known here
