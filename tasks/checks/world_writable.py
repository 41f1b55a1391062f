"""Files that anybody may change."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.checks._files import Pattern, Patterns, find, find_below, matches
from tasks.domain.condition import all_of, none_of
from tasks.domain.outcome import Reading, unknown
from tasks.domain.target import Target

_MOST_KEPT = 200
_WORLD, _GROUP, _STICKY = 0o002, 0o020, 0o1000


class WorldWritable(Check):
    """Looks whether there are files or directories that every user of the machine may write to."""

    of_machine: ClassVar[bool] = True

    kind: Literal["world_writable"] = "world_writable"
    """Which kind of check this is."""
    paths: Annotated[Patterns, Field(examples=[["{release_dir}", "/etc/shop"]])] = ("{release_dir}",)
    """The files, and directories with all below them, relative to the version's code; links are not followed."""
    only: tuple[Pattern, ...] = Field(default=(), examples=[["*.py", "*.yml"]])
    """Names, as patterns; only files of such a name are looked at, and no directories."""
    allow: tuple[Pattern, ...] = Field(default=(), examples=[["/var/lib/shop/spool/**"]])
    """Whole paths, as patterns, that may be so."""
    group_too: bool = False
    """Whether their group may not write to them either."""

    def look(self, target: Target) -> Reading:
        """Return what may be written to; a place where nothing lies is unknown."""
        tests: list[str] = []
        for name in self.only:
            tests += ["-o", "-name", name] if tests else ["-name", name]
        tests = ["-type", "f", "(", *tests, ")"] if tests else ["!", "-type", "l"]
        forbidden = _WORLD | (_GROUP if self.group_too else 0)
        allowed = [tuple(target.fill(pattern).split("/")) for pattern in self.allow]
        readings, offenders, count = [], [], 0
        for path in self.paths:
            places = [entry.path for entry in find(target, path, timeout=self.timeout)]
            if not places:
                readings.append(unknown(f"{path} is not there"))
                continue
            entries = find_below(target, places, tests, follow=False, timeout=self.timeout)
            if not entries:
                readings.append(unknown(f"nothing to look at in {path}"))
            count += len(entries)
            offenders += [
                f"{entry.path} ({entry.mode:04o})"
                for entry in entries
                # In a directory with the sticky bit, as /tmp, only its owner may remove a file.
                if entry.mode & forbidden and not (entry.type == "d" and entry.mode & _STICKY)
                if not any(matches(entry.path.split("/"), pattern) for pattern in allowed)
            ]
        readings.append(none_of(offenders, "may be written to", f"none of {count} may be written to by others"))
        return all_of(readings, value=len(offenders), unit="files", limit=0, detail={"found": offenders[:_MOST_KEPT]})
