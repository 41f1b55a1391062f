"""The plan of a release as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.domain.units import show_bytes, show_seconds

_HOUR = 3600.0
"""How often Prefect's schedule looks."""

UNKNOWN = "unknown"
"""The key under which a part of a plan says why it cannot be known yet."""


def to_markdown(plan: Mapping[str, Any]) -> str:
    """Return a plan as Markdown."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {plan['system']}: {_said(plan['serving'], 'nothing')} → {plan['version']}"
    yield ""
    yield "Nothing was changed to find this out."
    yield ""
    for one in plan["in_the_way"] if isinstance(plan["in_the_way"], list) else [_said(plan["in_the_way"])]:
        yield f"- **In the way**: {one}"
    yield f"- Code: {_said(plan['identity'])}"
    yield f"- Release file: {plan['file']}"
    yield from _about_people(plan)
    number, went = 0, False
    for phase in plan["phases"]:
        number += 1
        if phase["changes_production"] and not went:
            went = True
            yield from ("", f"**Go or no-go**: {_gate(plan)}")
        yield ""
        yield f"## {number}. {phase['phase']}{'' if phase['changes_production'] else ' (production stays as it is)'}"
        yield ""
        if phase["phase"] == "backup":
            yield from _about_backup(plan["backup"])
        if phase["phase"] == "migrate":
            yield from _about_migration(plan["migration"])
        if phase["phase"] == "deploy":
            yield from _about_rollout(plan["rollout"])
        yield from _numbered(phase["steps"], plan["checks"])
    yield from _about_watch(plan, number + 1)
    yield from _about_way_back(plan["way_back"], number + 2)
    if plan["commands"]:
        yield from ("", "## Commands of the release file", "")
        for one in plan["commands"]:
            yield f"- {one['where']}: `{' '.join(one['argv'])}`"


def _gate(plan: Mapping[str, Any]) -> str:
    roles, window = plan["signatures"]["gates"].get("go", {}), plan["window"]
    waits = [f"the signature of {_roles({role: count})}" for role, count in roles.items()]
    waits += [] if window["open"] else ["the change window"]
    return f"it waits for {', '.join(waits)}" if waits else "nothing is waited for"


def _said(value: Any, nothing: str = "none") -> str:
    if isinstance(value, dict) and UNKNOWN in value:
        return f"not known: {value[UNKNOWN]}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or nothing
    return nothing if value is None else str(value)


def _about_people(plan: Mapping[str, Any]) -> Iterator[str]:
    window, signatures = plan["window"], plan["signatures"]
    hours = f"{', '.join(window['days'])} {window['between']} {window['timezone']}"
    when = "open now" if window["open"] else f"closed, opens {(window['opens'] or 'never')[:16].replace('T', ' ')} UTC"
    yield f"- Change window: {when} ({hours})"
    traffic = plan["traffic"]
    yield f"- Traffic: {_said(traffic) if UNKNOWN in traffic else traffic['said']}"
    for gate, roles in signatures["gates"].items():
        yield f"- Signs at {gate}: {_roles(roles)}; each signature holds for {show_seconds(signatures['expires'])}"
    if not signatures["gates"]:
        yield "- Signs: nobody"
    yield f"- Is told: {_said(plan['told'])}"


def _roles(roles: Mapping[str, int]) -> str:
    return ", ".join(role if count == 1 else f"{count} × {role}" for role, count in roles.items())


def _about_backup(backup: Mapping[str, Any]) -> Iterator[str]:
    if UNKNOWN in backup:
        yield f"- {_said(backup)}"
        return
    needed = backup["needed"]
    room = f"needs {_said(needed) if isinstance(needed, dict) else show_bytes(needed)}"
    kept = f", {'encrypted' if backup['encrypted'] else 'not encrypted'}, the newest {backup['keep']} kept"
    yield f"- {backup['kind']} into {backup['directory']}{kept}"
    yield f"- {room}, {show_bytes(backup['headroom'])} to spare; {show_bytes(backup['free'])} free"
    for path, disk in backup["other_disks"].items():
        yield f"- its copies need {show_bytes(disk['needed'])} in {path}; {show_bytes(disk['free'])} free"
    yield f"- proven by a restore, place {backup['proven_in']}" + (
        f"; stored by {backup['stored']}" if backup["stored"] else ""
    )
    yield ""


def _about_migration(migration: Mapping[str, Any]) -> Iterator[str]:
    if UNKNOWN in migration:
        yield f"- {_said(migration)}"
    else:
        yield f"- {migration['kind']}; pending: {_said(migration['pending'], 'nothing')}"
        if limits := migration.get("limits"):
            yield (
                f"- at most {show_seconds(limits['duration'])}, each lock at most {show_seconds(limits['lock'])}, "
                f"{limits['tries']} tries"
            )
        if migration["pause"]:
            yield f"- requests are held back for at most {show_seconds(migration['pause'])}"
    yield ""


def _about_rollout(rollout: Mapping[str, Any]) -> Iterator[str]:
    yield f"- {rollout['kind']} on {rollout['platform']}, router {_said(rollout['router'])}"
    places = rollout["places"]
    if isinstance(places, dict):
        yield f"- places {_said(places)}"
    else:
        for one in places:
            runs = f"{one['version']} is {one['running']}" if one["version"] else "empty"
            yield f"- place {one['place']}, port {one['port']}: {runs}"
    yield f"- requests go to: {_said(rollout['requests_go_to'], 'whatever listens there')}"
    yield f"- the new version goes to: {_said(rollout['goes_to'])}"
    yield ""


def _numbered(steps: Sequence[Mapping[str, Any]], checks: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield f"{number}. {step['does']}" + (" **(production)**" if step.get("changes_production") else "")
        for group in step.get("checks", ()):
            for name in checks[group]:
                yield f"    - {name}"


def _about_watch(plan: Mapping[str, Any], number: int) -> Iterator[str]:
    watch = plan["watch"]
    yield from ("", f"## {number}. watch", "")
    by_hand = "; Prefect's schedule looks each hour, golive monitor at any time" if watch["every"] < _HOUR else ""
    yield f"- a look every {show_seconds(watch['every'])} for {show_seconds(watch['for'])}{by_hand}"
    if watch["probe"]:
        yield f"- {watch['probe']['check']} is probed every {show_seconds(watch['probe']['every'])}"
    if watch["traffic"]:
        every = show_seconds(watch["traffic"]["every"])
        yield f"- the clients' own requests are counted by {watch['traffic']['kind']}, every {every}"
    for stage in watch["then"]:
        yield f"- then {stage}"
    for one in watch["triggers"]:
        does = "taken back by itself" if watch["automatic"] else "a person is asked"
        yield f"- trigger {one['kind']} ({one['limit']}): {does}"
    for end in plan["rollout"]["ends_with"]:
        yield f"- at the end: {end}"


def _about_way_back(back: Mapping[str, Any], number: int) -> Iterator[str]:
    yield from ("", f"## {number}. If it has to go back, to {_said(back['to'], 'what serves then')}", "")
    yield (
        "The schema's way:" if back["decided"] else "The schema's way is proven in the rehearsal, and not known before:"
    )
    yield ""
    for way, when in back["ways"].items():
        yield f"- {way}: {when}"
    yield ""
    yield from _numbered(back["steps"], {})
