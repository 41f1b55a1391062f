"""Sources: where the code of a version comes from. One file per kind, found by its file."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.domain.errors import InvalidVersion, Refused
from tasks.domain.kind import Kind
from tasks.domain.release import check_version
from tasks.domain.target import Target

MARKER = ".golive-release.json"
"""The file beside a release's code that says what golive put there; a directory without it is not golive's."""

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
    """How many releases stay on the host; the one that runs and its predecessor always stay."""

    @abstractmethod
    def identify(self, target: Target, version: str) -> str:
        """Return what the version is exactly, without fetching it; raises `InvalidVersion` if there is none."""

    @abstractmethod
    def fetch(self, target: Target, version: str) -> Fetched:
        """Bring the version to ``{root}/releases/VERSION``, whole or not at all, and return it."""

    def prune(self, target: Target, in_use: Sequence[str]) -> Sequence[str]:
        """Remove the oldest releases beyond ``keep`` that are not in use, and return their versions.

        What golive did not fetch is left alone, except what a fetch that was killed left behind.
        """
        releases = _releases(target)
        host = target.world.host
        fetched_at: dict[str, str] = {}
        for name in host.list(releases):
            if name.startswith("."):
                if name.endswith(".partial"):
                    host.remove_tree(releases / name)
            elif found := placed(target, name):
                fetched_at[name] = found.detail.get("fetched_at", "")
        spare = sorted((name for name in fetched_at if name not in in_use), key=lambda name: (fetched_at[name], name))
        extra = spare[: max(0, len(fetched_at) - self.keep)]
        for name in extra:
            host.remove_tree(releases / name)
        return extra


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


def place(target: Target, version: str, identity: str, origin: str, fill: Callable[[Path], None]) -> Fetched:
    """Put a version's code into ``{root}/releases/VERSION``, whole or not at all, with its marker; return it.

    ``fill`` writes the code into a directory that does not exist yet, whose parent does. ``origin`` says where the
    code comes from and must hold no secret. What was fetched before is returned without another copy.

    Raises `Refused` if the version is there with other content: a version must mean one thing.
    """
    host = target.world.host
    directory = _releases(target) / check_version(version)
    before = placed(target, version)
    if before and before.identity == identity:
        return before
    if before:
        raise Refused(
            f"version {version} is on the host as {before.identity}, and its source now says {identity}",
            expected="a version to mean one thing",
            where=str(directory),
            do="release the new content under a version of its own, such as a new tag or the commit",
        )
    if host.exists(directory):
        raise Refused(
            "this directory is in the way and was not fetched by golive",
            where=str(directory),
            do="move it elsewhere",
        )
    work = directory.with_name(f".{version}.partial")
    host.remove_tree(work)
    try:
        note = {"version": version, "source": origin, "fetched_at": target.world.clock.now().isoformat()}
        text = json.dumps({"identity": identity, **note}, indent=2) + "\n"
        host.write(work / MARKER, text)
        tree = work / "tree"
        fill(tree)
        host.remove_tree(tree / MARKER)
        host.write(tree / MARKER, text, mode=0o644)
        host.copy_tree(tree, directory)
    finally:
        host.remove_tree(work)
    return Fetched(directory, identity, note)


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
