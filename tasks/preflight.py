"""The steps of preflight: what every release needs, whatever the release file asks for in addition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from tasks import checks
from tasks.acting import act, do_one
from tasks.announcing import require_notice
from tasks.checking import look_at
from tasks.checks import Check
from tasks.context import Context, context_of
from tasks.domain.errors import DiskTooSmall, ReleaseFileError, RolloutFailed
from tasks.domain.outcome import Measurement
from tasks.domain.target import Target
from tasks.domain.units import show_bytes
from tasks.everywhere import everywhere
from tasks.keeping import require_keepable
from tasks.ledger.releases import Claim
from tasks.reckoning import room_needed
from tasks.rollouts import Step
from tasks.settings import Settings
from tasks.spec.kinds import kinds_in
from tasks.spec.release_file import ReleaseFile
from tasks.windows import is_open, next_opening, require_open

PHASE = "preflight"
_ROOM = "golive: there is room for the backup and its scratch copy"


def when_open(ctx: Context) -> str:
    """Return when the change window opens, in words, or nothing if it is open."""
    now = ctx.world.clock.now()
    if is_open(ctx.file.window, now):
        return ""
    opens = next_opening(ctx.file.window, now)
    return f"it opens {opens:%Y-%m-%d %H:%M} UTC" if opens else "it never opens"


@act
def check_window(claim: Claim, phase: str = PHASE) -> str:
    """Refuse to begin outside the change window; raises `WindowClosed` with the moment at which it opens."""
    ctx = context_of(claim)
    now = ctx.world.clock.now()

    def check() -> dict[str, Any]:
        seen = f"it is {now.astimezone(ZoneInfo(ctx.file.window.timezone)):%a %Y-%m-%d %H:%M %Z}"
        require_open(ctx.file.window, now, seen=seen, again="start it again at")
        begins = require_notice(ctx) if ctx.release.scope == "release" and phase == PHASE else ""
        return {"at": now.isoformat(), **({"announced": begins} if begins else {})}

    do_one(ctx, phase, Step("check the change window", check, mutates=False))
    return now.isoformat()


@act
def check_hosts(claim: Claim) -> Mapping[str, int]:
    """Refuse to begin unless every host lets golive in, has what it needs, and room; return the bytes free on each."""
    ctx = context_of(claim)
    wanted = {machine.name: machine.free for machine in ctx.file.hosts}
    if not wanted:
        return {}
    hosts = {name: target for name, target in ctx.targets(ctx.release.version).items() if name}

    def look(target: Target) -> int:
        host, probe = target.world.host, target.root / ".golive-probe"
        host.require_usable()
        host.write(probe, "")
        host.remove_tree(probe)
        free = host.disk_free(target.root)
        if free < wanted[host.name]:
            raise DiskTooSmall(
                f"{show_bytes(free)} free",
                expected=f"at least {show_bytes(wanted[host.name])}",
                where=str(target.root),
                do="make room there, or ask for less by free in the release file",
            )
        return free

    return dict(do_one(ctx, PHASE, Step("check the hosts", lambda: everywhere(hosts, look), mutates=False)))


@act
def check_ports(claim: Claim) -> list[int]:
    """Refuse to begin while something else listens on a port that the rollout will need; return the ports."""
    ctx = context_of(claim)
    rollout = ctx.file.rollout

    def check() -> dict[str, Any]:
        site = ctx.site(ctx.release.version)
        rollout.require_possible(site)
        if taken := rollout.foreign_ports(site):
            raise RolloutFailed(
                f"port {', '.join(taken)} is taken by a process that golive did not start",
                expected="free ports for the rollout",
                do="end that process, or give the rollout other ports",
            )
        return {"ports": sorted({place.port for place in rollout.places(site)})}

    return list(do_one(ctx, PHASE, Step("check the ports", check, mutates=False))["ports"])


@act
def check_backup(claim: Claim) -> str:
    """Refuse to begin where the backup cannot be made or kept, for want of a right or a program; return its kind."""
    ctx = context_of(claim)

    def check() -> dict[str, Any]:
        ctx.file.backup.require_possible(ctx.world, ctx.target().dsn, None)
        require_keepable(ctx)
        return {"kind": ctx.file.backup.kind}

    return str(do_one(ctx, PHASE, Step("check that a backup can be made", check, mutates=False))["kind"])


@act
def check_migration(claim: Claim) -> str:
    """Refuse to begin where the migration could not be run within its limits; return its kind."""
    ctx = context_of(claim)

    def check() -> dict[str, Any]:
        ctx.file.migration.require_possible(ctx.target())
        return {"kind": ctx.file.migration.kind}

    return str(do_one(ctx, PHASE, Step("check that the migration can be run", check, mutates=False))["kind"])


@act
def check_platform(claim: Claim) -> str:
    """Refuse to begin where the platform could not run the version, whose code must be there; return its kind."""
    ctx = context_of(claim)

    def check() -> dict[str, Any]:
        site = ctx.site(ctx.release.version)
        for host in site.hosts or ("",):
            site.platform.require_possible(site.on(host))
        return {"kind": site.platform.kind}

    return str(do_one(ctx, PHASE, Step("check that the platform can run it", check, mutates=False))["kind"])


@act
def check_traffic(claim: Claim) -> str:
    """Refuse to begin where the clients' requests are to be counted and cannot be; return who counts them.

    A router that golive may still have to start, or to change, is asked from the switch on.
    """
    ctx = context_of(claim)
    source = ctx.file.watch.traffic
    if source is None or source.of_router:
        return source.kind if source is not None else ""

    def check() -> dict[str, Any]:
        if source.read(ctx.target(), None, None, source.every).traffic is None:
            raise ReleaseFileError(
                f"{source.kind} has no data on the clients' requests",
                expected="a number for each query",
                where="watch.traffic",
                do="ask it the queries; where the first failure makes the series, end them with: or vector(0)",
            )
        return {"kind": source.kind}

    return str(do_one(ctx, PHASE, Step("check that requests are counted", check, mutates=False))["kind"])


@act
def check_foundations(claim: Claim) -> list[Measurement]:
    """Make the checks that every release needs: client tools, database and rights, disk."""
    ctx = context_of(claim)
    target = ctx.target()
    return look_at(ctx, PHASE, foundations(ctx.file, ctx.settings, target), target)


def foundations(file: ReleaseFile, settings: Settings, target: Target) -> list[Check]:
    """Return the checks that every release needs, as if its release file held them."""
    kinds = kinds_in(checks)
    made = [
        kinds["tools"].model_validate({"kind": "tools", "name": "golive: the client tools fit the server"}),
        kinds["database"].model_validate(
            {
                "kind": "database",
                "name": "golive: the database answers and grants what a release needs",
                "rights": _rights(file),
            }
        ),
        *(kinds["disk"].model_validate(one) for one in _disks(file, settings, target)),
    ]
    return [check for check in made if isinstance(check, Check)]


def _disks(file: ReleaseFile, settings: Settings, target: Target) -> Iterator[Mapping[str, Any]]:
    """Yield a check for each disk that the backup and its copies lie on, the one with the least to spare first.

    By that one's name a checklist knows that there is room.
    """
    host, needed = target.world.host, room_needed(target.world, file, settings, target.dsn)
    for number, path in enumerate(sorted(needed, key=lambda one: host.disk_free(one) - needed[one])):
        yield {
            "kind": "disk",
            "name": f"golive: there is room in {path}" if number else _ROOM,
            "on": "golive",
            "path": str(path),
            "free": needed[path] + file.backup.headroom,
        }


def _rights(file: ReleaseFile) -> list[str]:
    rights = ["dump"]
    if file.migration.kind != "none":
        rights += ["own", "create"]
    if file.database.scratch.place == "same_server":
        rights.append("create_database")
    return rights
