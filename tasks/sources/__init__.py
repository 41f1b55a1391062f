"""Sources: where the code of a version comes from. One file per kind, found by its file."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.domain.errors import GoliveError, InvalidVersion, Refused
from tasks.domain.kind import Kind
from tasks.domain.ports import Command
from tasks.domain.release import MARKER, check_version
from tasks.domain.target import Target
from tasks.sources._build import Build, digest_of, run_build
from tasks.sources._making import SUFFIX, Making

__all__ = [
    "ARCHIVED",
    "MARKER",
    "Build",
    "Built",
    "Fetched",
    "Source",
    "archive",
    "no_such_version",
    "place",
    "placed",
    "refuse_links_that_leave",
    "show_current",
    "versions_on_host",
]

ARCHIVED = ".golive-archived.json"
"""The file beside an archived release's code that says why it is there."""

_OF_ARCHIVE = re.compile(r"-(\d{8}-\d{6})$")
_MOST_LINKS = 40  # as many as Linux follows


@dataclass(frozen=True)
class Fetched:
    """A version's code on the host, with what identifies it exactly (a commit, a digest)."""

    directory: Path
    identity: str
    detail: Mapping[str, str] = field(default_factory=dict)


class Source(Kind):
    """Brings the code of a version to the host, each version in a directory of its own."""

    keep: Annotated[int, Field(ge=1, le=100)] = 5
    """How many releases stay on the host; the one that runs and its predecessor always stay. Of those that were taken
    back and archived, as many of the newest stay too."""

    @abstractmethod
    def identify(self, target: Target, version: str) -> str:
        """Return what the version is exactly, without fetching it; raises `InvalidVersion` if there is none."""

    @abstractmethod
    def fetch(self, target: Target, version: str) -> Fetched:
        """Bring the version to ``{root}/releases/VERSION``, whole or not at all, and return it."""

    def prune(self, target: Target, in_use: Sequence[str]) -> Sequence[str]:
        """Remove the oldest releases beyond ``keep`` that are not in use, and the oldest archived; return their names.

        What golive did not fetch is left alone, except what a fetch that was killed left behind.
        """
        releases = _releases(target)
        host = target.world.host
        fetched_at: dict[str, str] = {}
        for name in host.list(releases):
            if name.startswith("."):
                if name.endswith(".partial"):
                    host.remove_tree(releases / name)
                elif name.endswith(SUFFIX):
                    Making(target, releases / name[1 : -len(SUFFIX)]).sweep()
            elif found := placed(target, name):
                fetched_at[name] = found.detail.get("fetched_at", "")
        spare = sorted((name for name in fetched_at if name not in in_use), key=lambda name: (fetched_at[name], name))
        extra = spare[: max(0, len(fetched_at) - self.keep)]
        for name in extra:
            host.remove_tree(releases / name)
        return [*extra, *_prune_archive(target, self.keep)]


class Built(Source):
    """A source whose code may be built on the host: an environment, dependencies, assets."""

    build: tuple[Build, ...] = ()
    """What is run, in this order, in each version's new directory before the version is there for anything else."""

    def exactly(self, identity: str) -> str:
        """Return what the code is together with what is built from it."""
        return f"{identity} built {digest_of(self.build)}" if self.build else identity


def placed(target: Target, version: str) -> Fetched | None:
    """Return the version as it was fetched before, or None if golive has not fetched it to this host."""
    directory = _releases(target) / version
    try:
        marker = json.loads(target.world.host.read(directory / MARKER) or "null")
    except json.JSONDecodeError:
        return None
    if not isinstance(marker, dict) or not marker.get("identity"):
        return None
    detail = {str(key): str(value) for key, value in marker.items() if key != "identity"}
    return Fetched(directory, str(marker["identity"]), detail)


def versions_on_host(target: Target) -> list[Fetched]:
    """Return the versions that were fetched to this host."""
    names = [name for name in target.world.host.list(_releases(target)) if not name.startswith(".")]
    return [found for name in names if (found := placed(target, name))]


def place(
    target: Target,
    version: str,
    identity: str,
    origin: str,
    fill: Callable[[Path], None],
    build: Sequence[Build] = (),
) -> Fetched:
    """Put a version's code into ``{root}/releases/VERSION``, whole or not at all, with its marker; return it.

    ``fill`` writes the code into a directory that does not exist yet, whose parent does. ``origin`` says where the
    code comes from and must hold no secret. What was fetched before is returned without another copy. All is made in
    its final place, because what a build makes may know where it lies, and the marker is written last.

    Raises `Refused` if the version is there with other content: a version must mean one thing.
    """
    directory = _releases(target) / check_version(version)
    before = placed(target, version)
    if before and before.identity == identity:
        return before
    if before:
        raise Refused(
            f"version {version} is on the host as {before.identity}, and its source now says {identity}",
            expected="a version to mean one thing",
            where=str(directory),
            do="release the new content or build under a version of its own, such as a new tag or the commit; or "
            "remove that directory, if nothing runs from it",
        )
    making = Making(target, directory)
    making.begin(build)
    try:
        fill(directory)
        target.world.host.remove_tree(directory / MARKER)
        run_build(target.at(version=version), build, directory, making.lock, making.require)
        note = {"version": version, "source": origin, "fetched_at": target.world.clock.now().isoformat()}
        making.require()
        text = json.dumps({"identity": identity, **note}, indent=2) + "\n"
        target.world.host.write(directory / MARKER, text, mode=0o644)
    except BaseException:
        making.drop()
        raise
    making.end()
    return Fetched(directory, identity, note)


def archive(target: Target, version: str, reason: str) -> Path | None:
    """Move a release that was taken back out of the way, with the reason, and return where it lies now.

    There nothing runs it, and it stays while it is one of the newest ``keep``: the same version, released again, is
    fetched and built anew. None if it is not on the host, as after an archiving that was broken off.
    """
    found = placed(target, version)
    if found is None:
        return None
    host, now = target.world.host, target.world.clock.now()
    place_of_it = _archived(target) / f"{version}-{now:%Y%m%d-%H%M%S}"
    note = {"version": version, "identity": found.identity, "archived_at": now.isoformat(), "reason": reason}
    host.write(found.directory / ARCHIVED, json.dumps(note, indent=2, ensure_ascii=False) + "\n", mode=0o644)
    host.run(Command(("mkdir", "-p", "-m", "700", "--", str(place_of_it.parent))))
    host.run(Command(("mv", "-T", "--", str(found.directory), str(place_of_it))))
    return place_of_it


def _prune_archive(target: Target, keep: int) -> list[str]:
    """Remove the archived releases beyond the newest, and return their names; what golive did not archive stays.

    The newest is never removed: somebody may still want to know why it was taken back.
    """
    host, at = target.world.host, _archived(target)
    ours = [name for name in host.list(at) if _OF_ARCHIVE.search(name) and host.exists(at / name / ARCHIVED)]
    extra = sorted(ours, key=lambda name: (_OF_ARCHIVE.findall(name), name))[:-keep]
    for name in extra:
        host.remove_tree(at / name)
    return [f"archive/{name}" for name in extra]


def show_current(target: Target, version: str) -> Mapping[str, str]:
    """Let the symbolic link ``{root}/current`` lead to a version, for people and their scripts; return what it does.

    golive itself never looks at it, so that trouble with it is told and holds nothing up.
    """
    if placed(target, version) is None:
        return {"current": "the version has no directory on the host"}
    link = target.root.absolute() / "current"
    try:
        target.world.host.link(link, Path("releases") / version)
    except GoliveError as error:
        target.world.progress(f"{link} was not switched: {error}")
        return {"current": f"not switched: {error.seen}"}
    return {"current": f"releases/{version}"}


def _archived(target: Target) -> Path:
    return target.root.absolute() / "archive"


def _releases(target: Target) -> Path:
    return target.root.absolute() / "releases"


def refuse_links_that_leave(links: Mapping[str, str], shown_as: str) -> None:
    """Raise `Refused` if a symbolic link of a tree, by its path in it, is absolute or leads out of it."""
    for name, leads in sorted(links.items()):
        if not _stays_inside(name, links):
            raise Refused(
                f"the symbolic link {name} → {leads} leads out of the version's code",
                expected="links that stay inside",
                where=shown_as,
                do="replace it by a file or a link inside",
            )


def _stays_inside(name: str, links: Mapping[str, str]) -> bool:
    """Tell whether a link leads to a place inside, by way of other links too; one that leads round does not."""
    here: list[str] = []
    ahead, turns = list(reversed(name.split("/"))), 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not here:
                return False
            here.pop()
        elif part not in ("", "."):
            here.append(part)
            leads = links.get("/".join(here))
            if leads is not None:
                turns += 1
                if leads.startswith("/") or turns > _MOST_LINKS:
                    return False
                here.pop()
                ahead += reversed(leads.split("/"))
    return True


def no_such_version(version: str, known: Sequence[str], where: str) -> InvalidVersion:
    """Return the error for a version that a source does not have, naming the nearest that it has."""
    near = get_close_matches(version, known, n=5, cutoff=0.5) or list(known)[-5:]
    return InvalidVersion(
        f"there is no version {version}",
        expected=f"one such as {', '.join(near)}" if near else "",
        where=where,
        do="check its spelling, and that it was published",
    )
