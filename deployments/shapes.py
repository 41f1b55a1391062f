"""What each command prints with ``--json``: the keys by their meaning, from which the reference is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The keys of a command's JSON; ``many`` tells that it prints a list of such, ``lines`` one object a line."""

    keys: Mapping[str, str]
    many: bool = False
    lines: bool = False


_SAID = {"said": "What came of it, as it is printed without `--json`."}
ACT = Shape({**_SAID, "release": "The release, or the operation with a record of its own, as `status` lists it."})
"""What a command that acts prints; ``release`` is null where none is on record."""

RELEASE = {
    "id": "Its id.",
    "system": "Its system.",
    "version": "The version that it goes to.",
    "scope": "`release`, or the phase or operation that was started alone.",
    "state": "Where it stands; [architecture](../architecture.md) names the states.",
    "since": "Since when.",
    "note": "What was said of the move to that state.",
    "started_by": "Who started it.",
    "reason": "Why.",
    "previous_version": "What served before.",
    "way_back": "`keep`, `downgrade` or `restore`, as rehearsed; or null.",
    "touched_production": "Whether production may have been changed.",
    "watch_until": "Until when it is watched.",
    "verdict": "What it came to; or null.",
    "driven_by": "Which process drives it; or null.",
    "ended": "Whether it has ended.",
}
_BACKUP = {
    "id": "Its number.",
    "system": "Whose data it is.",
    "release": "The release or operation that took it.",
    "at": "When.",
    "kind": "The kind of backup.",
    "safety_copy": "Whether a restore took it of what it replaced.",
    "location": "Where it is kept.",
    "encrypted": "Whether it is encrypted.",
    "bytes": "How large it is.",
    "took": "Seconds.",
    "proven": "Whether a restore has proven it.",
    "proof": "`tables`, `rows`, `restore_seconds` and `manifest_sha256` of that.",
    "drill": "`at`, `outcome` and `seen` of the newest drill; or null.",
    "needed_by": "Releases that have not ended and may go back to it.",
}

SHAPES: Mapping[str, Shape] = {
    "init": Shape(
        {
            "system": "Its name.",
            "file": "The release file that was written.",
            "seen": "What the code or the database showed, a sentence each.",
            "fill_in": "Each `line` that a person fills in, with its `text`.",
            "checklist": "As `checklist import` tells; or null.",
        }
    ),
    "validate": Shape(
        {
            "system": "The system, or the path that was given.",
            "path": "The file; null if it was not found or cannot be used.",
            "checks": "How many checks it has.",
            "triggers": "How many triggers it has.",
            "fault": "What is wrong, with path and line; or null.",
        },
        many=True,
    ),
    "doctor": Shape(
        {
            "about": "What was looked at.",
            "outcome": "`passed`, `failed` or `unknown`.",
            "seen": "What was seen.",
            "expected": "What should be.",
            "do": "What to do about it.",
        },
        many=True,
    ),
    "history": Shape(
        {
            **{key: RELEASE[key] for key in ("id", "system", "version", "previous_version", "scope", "state")},
            **{key: RELEASE[key] for key in ("verdict", "started_by", "reason")},
            "started_at": "When it began.",
            "live_at": "When the new version was live; or null.",
            "ended_at": "When it ended; or null.",
            "seconds": "How long it took, the watch left out.",
            "phases": "Seconds by phase.",
            "signed_by": "Who signed.",
            "why": "What was said when it took a turn that was not its way.",
        },
        many=True,
    ),
    "watch": Shape(
        {
            **{key: RELEASE[key] for key in ("id", "system", "version", "previous_version", "state", "since", "note")},
            **{key: RELEASE[key] for key in ("driven_by", "ended", "verdict", "touched_production")},
            "now": "When this was read.",
            "phase": "How many phases are behind, and of how many; or null.",
            "steps": "`done` in number, the one under way (`now`, `for` in seconds), those that have `failed`.",
        },
        lines=True,
    ),
    "backup": Shape(_BACKUP),
    "backups": Shape(_BACKUP, many=True),
    "restore": ACT,
    "drill": Shape({**_SAID, "backups": "The backups that were drilled, as `backups` lists them."}),
    "plan": Shape(
        {
            "system": "The system.",
            "version": "The version.",
            "file": "The release file.",
            "identity": "The commit, digest or sum by which the code is known.",
            "serving": "What serves now.",
            "in_the_way": "What would keep it from beginning.",
            "window": "The change window: whether it is `open`, when it `opens`, `days`, `between`, `timezone`.",
            "traffic": "What usually comes in the hour of its beginning and in the `quietest` one; or why not known.",
            "signatures": "By gate and role how many sign; for how many seconds that holds.",
            "told": "Where people are told.",
            "phases": "Each with its `steps` in order, and whether it `changes_production`.",
            "checks": "The names of the checks by phase.",
            "backup": "Of which kind, where it goes, the bytes needed there and free, and those of `other_disks`.",
            "migration": "What is pending, its limits, whether there is a way down.",
            "rollout": "How the new version takes over, and where.",
            "watch": "How long, how often, and the triggers.",
            "way_back": "How the schema goes back, and the steps.",
            "commands": "What the release file runs.",
        }
    ),
    "check": Shape(
        {
            "system": "The system.",
            "version": "The version that preflight looked at.",
            "serving": "What serves; or null.",
            "compared_with": "The release whose record was compared with; or null.",
            "outcome": "What it all adds up to.",
            "checks": "Each check with its phase, `outcome`, what was `seen`, its `limit` and `seconds`.",
            "left_out": "What was not made, and why.",
        }
    ),
    "release": ACT,
    "cancel": ACT,
    "rollback": ACT,
    "approve": ACT,
    "reject": ACT,
    "waive": ACT,
    "accept": ACT,
    "stop": ACT,
    "resume": ACT,
    "phase": ACT,
    "disable": ACT,
    "enable": ACT,
    "monitor": Shape({"looks": "What was seen, a sentence for each release that was due."}),
    "block": Shape({"system": "The system.", "version": "The version.", "blocked": "Whether it may not be released."}),
    "unblock": Shape(
        {"system": "The system.", "version": "The version.", "blocked": "Whether it may not be released."}
    ),
    "replay": Shape(
        {
            "release": "Its id.",
            "changed": "Whether other limits were given.",
            "agree": "How many decisions come out the same.",
            "differ": "How many do not.",
            "unknown": "Of how many that cannot be told.",
            "record_ends": "Until when the guard's record goes; or null.",
            "first": "What would have been acted on first; or null.",
            "decisions": "Each with when, by whom, what was decided, and what it is now.",
        }
    ),
    "status": Shape(
        {
            "releases": "Each as below. Of a single release its keys stand here instead, with `moves`, `signatures`, "
            "`stages`, `awaits`, `checklist`, `way_back_why` and `rollback_now`.",
            "guard": "Whether one is `alive`, its `holder`, and when it was heard of.",
            "dead_letters": "What could not be told to people.",
            "switches": "What is switched off, or in an unclear state.",
        }
    ),
    "logs": Shape(
        {
            "place": "The place of the rollout.",
            "running": "Whether it runs.",
            "version": "What runs there.",
            "port": "On which port.",
            "detail": "The platform's own words.",
            "lines": "What it wrote last.",
        },
        many=True,
    ),
    "report": Shape(
        {
            "release": "Its id.",
            "report": "The HTML file.",
            "bundle": "The archive; null without `--bundle`.",
            "sha256": "The archive's hash; null without `--bundle`.",
            "checklist": "How its checklist stands, in a line; or null.",
        }
    ),
    "verify": Shape(
        {
            "sha256": "The archive's hash.",
            "manifest": "What it says of itself.",
            "faults": "Each `file` that is not as it was made, with what was `expected` and `seen`.",
            "ledger": "What the ledger says of it.",
        }
    ),
    "up": Shape(
        {
            "ui": "Where Prefect's UI is.",
            "password_file": "The file with the password that it asks for.",
            "deployments": "What was registered.",
            "systems": "What the forms offer.",
        }
    ),
    "register": Shape(
        {
            "api": "The server's API.",
            "pool": "The pool of this machine.",
            "deployments": "What was registered.",
            "systems": "What the forms offer.",
        }
    ),
    "down": Shape(_SAID),
    "checklist show": Shape(
        {
            "system": "The system.",
            "counts": "How many `rows` there are, and how many of each way.",
            "by_program": "How many are `automated`, of how many `decidable`.",
            "rows": "Each row with its `way` and what it is `covered_by`.",
        }
    ),
    "checklist import": Shape(
        {
            "file": "The checklist that was written.",
            "asked": "How many rows the document asks for.",
            "kept": "How many of them were there before.",
            "new": "The ids of those that were not.",
            "removed": "The ids that it asks for no more.",
            "returned": "The ids that it asks for again.",
            "left_out": "How many items seem to ask for nothing.",
        }
    ),
}
"""By the words of the command."""

WITHOUT: Mapping[str, str] = {
    "schema": "It prints JSON as it is.",
    "reference": "It prints a document.",
    "metrics": "It prints what Prometheus reads.",
    "guard": "It runs as long as anything is under watch; `golive watch --json` tells what it sees.",
    "keep-guard": "It runs until it is ended, and prints only when it has started a guard or cannot look.",
    "worker": "It runs until it is ended, and prints what Prefect does.",
    "slack": "It runs until it is ended, and prints nothing but its log.",
}
"""The commands without ``--json``, and why."""

ABOUT = """\
Every command that prints something takes `--json`; the keys below stay what they are, and others may be added. Times
are ISO 8601 in UTC, sizes bytes, durations seconds. Only the JSON goes to stdout; what is said of the work goes to
stderr. An error is a line on stderr and its exit code, with `--json` too: stdout is then empty, except of what judges
(`validate`, `doctor`, `check`, `replay`, `verify`, `checklist show`, `watch`), which shows what it saw all the same.
"""


def told() -> list[str]:
    """Return the shapes as lines of Markdown."""
    lines = ["## JSON", "", ABOUT]
    for name, shape in SHAPES.items():
        if shape is ACT:
            continue
        kind = "one object a line: " if shape.lines else "a list, of each: " if shape.many else ""
        lines += [f"`{name}`: {kind}", "", *_keys(shape.keys), ""]
    acting = ", ".join(f"`{name}`" for name, shape in SHAPES.items() if shape is ACT)
    lines += [f"{acting}:", "", *_keys(ACT.keys), "", "A release in a list:", "", *_keys(RELEASE), ""]
    lines += ["Without `--json`:", "", *(f"- `{name}`: {why}" for name, why in WITHOUT.items()), ""]
    return [line.rstrip() for line in lines]


def _keys(keys: Mapping[str, str]) -> list[str]:
    return [f"- `{key}`: {words}" for key, words in keys.items()]
