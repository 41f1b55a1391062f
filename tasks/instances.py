"""What the platform says of a system's instances: which run, and what they wrote last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.context import production, site_of, world_of
from tasks.platforms import Status
from tasks.settings import Settings
from tasks.spec import loading


@dataclass(frozen=True)
class Seen:
    """One place of a rollout, with what runs there and the last lines that it wrote."""

    place: str
    status: Status
    lines: Sequence[str]


def instances_of(system: str, lines: int) -> list[Seen]:
    """Return what runs in each place of a system's rollout, with its last lines, secrets masked."""
    settings = Settings.from_environment()
    file = loading.load(loading.find_release_file(settings.systems, system))
    at = world_of(file)
    site = site_of(file, settings, production(file, settings, at, ""))
    found = []
    for place in file.rollout.places(site):
        target = site.on(place.host)
        said = [at.secrets.mask(line) for line in site.platform.log(target, place.slot, lines)]
        found.append(Seen(place.name, site.platform.status(target, place.slot), said))
    return found
