"""The state of a Git repository."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.checks._files import Pattern, matches
from tasks.checks._git import MIRROR, commit_of, git
from tasks.domain.condition import all_of, held, none_of
from tasks.domain.kind import Size
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

Ref = Annotated[str, Field(pattern=r"^[^-\s~^:?*\[\\\x00][^\s~^:?*\[\\\x00]*$", examples=["main"])]
_VERIFY_FAILED = 1


class Git(Check):
    """Looks whether a version's commit is where it must be in Git, and holds what it must and nothing else."""

    kind: Literal["git"] = "git"
    """Which kind of check this is."""
    repository: Annotated[str, Field(min_length=1)] = MIRROR
    """The directory of the repository; by default the mirror that the source of kind ``git`` keeps."""
    commit: str = "{version}"
    """The tag, branch or hash that is looked at; ``HEAD`` in a work tree."""
    merged_into: Ref | None = None
    """A branch that must hold the commit, as ``main`` or ``origin/main``."""
    after: Ref | None = None
    """A tag, branch or commit that the commit must build upon, as the version before."""
    tag: Literal["any", "annotated", "signed"] | None = None
    """Whether ``commit`` must be a tag, one with a message, or one whose signature Git can verify on that host."""
    clean: bool = False
    """Whether the work tree must hold no change that is not committed, and be at ``commit``."""
    pushed: Ref | None = Field(default=None, examples=["origin/main"])
    """A remote branch that must be at the very commit, as this repository last saw it."""
    tracked: tuple[Pattern, ...] = Field(default=(), examples=[["migrations/*.sql"]])
    """Paths in the repository, each of which must match a file of the commit."""
    not_tracked: tuple[Pattern, ...] = Field(default=(), examples=[["**/.env*", "**/*.pem"]])
    """Paths in the repository that must match no file of the commit."""
    never_tracked: tuple[Pattern, ...] = ()
    """Paths that must match no file of the commit nor of any one before it."""
    max_file: Size | None = None
    """The largest size of a file of the commit."""

    def look(self, target: Target) -> Reading:
        """Return what is not as it must be; a repository that cannot be read is unknown."""
        name = target.fill(self.commit)
        commit = commit_of(target, self.repository, name, timeout=self.timeout)
        if not commit:
            return failed(f"there is no {name}")
        readings = [passed(f"{name} is {commit[:12]}"), *self._judge_place(target, name, commit)]
        if self.tracked or self.not_tracked or self.max_file is not None:
            readings += self._judge_files(target, commit)
        if self.never_tracked:
            arguments = ("log", "--format=", "--name-only", "--no-renames", "--diff-filter=A", "-z", commit)
            ever = set(git(target, self.repository, *arguments, timeout=self.timeout).stdout.split("\0"))
            hits = sorted(path for path in ever if path and _matches_any(path, self.never_tracked))
            readings.append(none_of(hits, "was once committed", f"never {', '.join(self.never_tracked)}"))
        return all_of(readings, detail={"commit": commit})

    def _judge_place(self, target: Target, name: str, commit: str) -> list[Reading]:
        readings = []
        for other, is_within in ((self.merged_into, True), (self.after, False)):
            if other is None:
                continue
            there = commit_of(target, self.repository, other, timeout=self.timeout)
            if not there:
                readings.append(unknown(f"there is no {other}"))
                continue
            pair = (commit, there) if is_within else (there, commit)
            words = f"merged into {other}" if is_within else f"after {other}"
            holds = self._holds(target, "merge-base", "--is-ancestor", *pair)
            readings.append(held(f"{words if holds else f'not {words}'}", holds))
        if self.pushed is not None:
            there = commit_of(target, self.repository, self.pushed, timeout=self.timeout)
            shown = f"{self.pushed} is {there[:12] or 'not there'}"
            readings.append(held(f"{shown} = {commit[:12]}", there == commit))
        if self.tag is not None:
            readings.append(self._judge_tag(target, name))
        if self.clean:
            readings += self._judge_work_tree(target, commit)
        return readings

    def _judge_tag(self, target: Target, name: str) -> Reading:
        arguments = ("for-each-ref", "--format=%(objecttype)", f"refs/tags/{name}")
        is_a = git(target, self.repository, *arguments, timeout=self.timeout).stdout.strip()
        if not is_a:
            return failed(f"{name} is no tag")
        if self.tag == "any":
            return passed(f"{name} is a tag")
        if is_a != "tag":
            return failed(f"tag {name} is not annotated")
        if self.tag == "annotated":
            return passed(f"tag {name} is annotated")
        signed = self._holds(target, "verify-tag", "--", name)
        return held(f"tag {name}: {'good' if signed else 'no good'} signature", signed)

    def _judge_work_tree(self, target: Target, commit: str) -> list[Reading]:
        arguments = ("status", "--porcelain", "-z", "--untracked-files=normal")
        said = git(target, self.repository, *arguments, timeout=self.timeout).stdout
        head = git(target, self.repository, "rev-parse", "HEAD", timeout=self.timeout).stdout.strip()
        return [
            none_of([line[3:] for line in said.split("\0") if line], "not committed", "nothing uncommitted"),
            held(f"HEAD {head[:12]} = {commit[:12]}", head == commit),
        ]

    def _judge_files(self, target: Target, commit: str) -> list[Reading]:
        listing = git(target, self.repository, "ls-tree", "-r", "-l", "-z", commit, timeout=self.timeout).stdout
        sizes = {}
        for line in filter(None, listing.split("\0")):
            head, _, path = line.partition("\t")
            sizes[path] = head.split()[3]
        readings = []
        for pattern in self.tracked:
            has = any(_matches_any(path, (pattern,)) for path in sizes)
            readings.append(held(f"{pattern} is {'' if has else 'not '}tracked", has))
        if self.not_tracked:
            hits = [path for path in sizes if _matches_any(path, self.not_tracked)]
            readings.append(none_of(hits, "is tracked", f"no {', '.join(self.not_tracked)} tracked"))
        if self.max_file is not None:
            large = {path: int(size) for path, size in sizes.items() if size.isdigit() and int(size) > self.max_file}
            shown = [f"{path} ({show_bytes(size)})" for path, size in sorted(large.items(), key=lambda one: -one[1])]
            limit = show_bytes(self.max_file)
            readings.append(none_of(shown, f"> {limit}", f"none of {len(sizes)} files > {limit}"))
        return readings

    def _holds(self, target: Target, *arguments: str) -> bool:
        ended = git(target, self.repository, *arguments, timeout=self.timeout, ok_exit=(0, _VERIFY_FAILED))
        return ended.exit_code == 0


def _matches_any(path: str, patterns: tuple[str, ...]) -> bool:
    parts = path.split("/")
    return any(matches(parts, pattern.split("/")) for pattern in patterns)
