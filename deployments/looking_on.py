"""A release that is followed, as lines for a pipe and as a screen for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deployments.looking import STYLES, next_act
from tasks.domain.release import State
from tasks.domain.units import show_seconds


def lines_since(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Return what has changed between two readings, a line for each; all of it where there is none before."""
    at = f"{_at(now['now']):%H:%M:%S}"
    lines = []
    if before is None:
        lines.append(f"{now['id']}: {now['previous_version'] or '–'} → {now['version']}")
    if before is None or before["state"] != now["state"]:
        note = f": {now['note'].splitlines()[0]}" if now["note"] else ""
        lines.append(f"{now['state']}{note}")
    step, step_before = now["steps"]["now"], before["steps"]["now"] if before else None
    if step and step != step_before and not now["ended"]:
        lines.append(step)
    looks, looks_before = now.get("looks", []), (before or {}).get("looks", [])
    lines += [f"look: {one['outcome']}" for one in looks if one not in looks_before]
    states = {one["kind"]: one["state"] for one in (before or {}).get("triggers", [])}
    lines += [
        f"trigger {one['kind']} {one['state']}: {one['seen']} (limit: {one['limit']})"
        for one in now.get("triggers", [])
        if states.get(one["kind"]) != one["state"]
    ]
    return [f"{at} {line}" for line in lines]


def screen_of(now: Mapping[str, Any]) -> RenderableType:
    """Return a release as a screen that is drawn anew at each reading."""
    state = State(now["state"])
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("release", f"{now['id']}  {now['previous_version'] or '–'} → {now['version']}")
    held = f"for {show_seconds(_seconds(now['since'], now['now']))}"
    table.add_row("state", Text.assemble((state.value, STYLES.get(state, "")), f"  {held}"))
    if now["note"]:
        table.add_row("", Text(now["note"].splitlines()[0], style="dim"))
    if now["phase"]:
        done, of = now["phase"]
        table.add_row("phase", ProgressBar(total=of, completed=done, width=40))
    steps = now["steps"]
    under_way = f"{steps['now']} ({show_seconds(steps['for'])})" if steps["now"] else "–"
    table.add_row("step", Text(f"{under_way}   {steps['done']} done"))
    for failed in steps["failed"]:
        table.add_row("", Text(f"failed: {failed}", style="red"))
    _add_watch(table, now)
    todo = next_act(now, [])
    return Group(table, Text(todo, style="bold")) if todo else table


def _add_watch(table: Table, now: Mapping[str, Any]) -> None:
    if "probes" not in now:
        return
    probes = now["probes"]
    took = f"  {show_seconds(probes['last_took'])}" if probes["last_took"] is not None else ""
    table.add_row("probes", Text(f"{probes['row'] or 'none yet'}{took}"))
    table.add_row("guard", Text("alive" if now["guard"] else "none", style="" if now["guard"] else "red"))
    for one in now["looks"]:
        table.add_row("look", f"{_at(one['at']):%m-%d %H:%M:%S}  {one['outcome']}")
    if now["next_look"]:
        table.add_row("next look", _countdown(now["next_look"], now["now"]))
    if now["watch_until"]:
        table.add_row("verdict", _countdown(now["watch_until"], now["now"]))
    for one in now["triggers"]:
        near = "" if one["near"] is None else f"{one['near']:.0%} of its limit; "
        style = {"fires": "bold red", "suspicious": "yellow"}.get(one["state"], "")
        table.add_row(one["kind"], Text(f"{one['state']}; {near}{one['seen']}", style=style))


def _countdown(due: str, now: str) -> str:
    left = _seconds(now, due)
    return f"in {show_seconds(left)}" if left > 0 else f"due for {show_seconds(-left)}"


def _at(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone()


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
