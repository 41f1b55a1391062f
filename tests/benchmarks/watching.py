"""What it costs to watch many systems at once: the guard's time and memory, its punctuality, the ledger's growth.

Each system has a stand-in of its own on a port of its own, and a release under watch with the release file of a real
system, in a ledger that golive runs by itself. Only the checks of its watch are others, since nothing but the stand-in
is there. The guard is a process of its own; a sweep of the monitor over all releases comes afterwards.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.adapters.pg_server import EmbeddedServer
from tasks.adapters.postgres import Postgres
from tasks.domain.release import State
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening
from tests.benchmarks.standins import standins
from tests.benchmarks.timing import publish_table
from tests.systems import SYSTEMS
from tests.watched import FORWARD, NO_PREFECT

EVERY = 30.0
MODEL = "ordinaut"
_GUARD = "import asyncio\nfrom flows.guard import guard_anyway\nasyncio.run(guard_anyway())\n"
_SWEEP = "import asyncio\nfrom flows.monitor import monitor_anyway\nasyncio.run(monitor_anyway())\n"
_AIM = "CPU ≤ 30 s a minute at 1,000, p99 late < 1 s"


def file_texts(ports: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield a name and a release file for each stand-in."""
    tree: dict[str, Any] = YAML(typ="safe").load((SYSTEMS / MODEL / "release.yaml").read_text(encoding="utf-8"))
    for gone in ("checklist", "window"):
        tree.pop(gone, None)
    for checks in tree["checks"].values():
        for check in checks:
            check.pop("covers", None)
    tree["checks"].pop("corruption", None)
    tree["rollback"]["when"] = [one for one in tree["rollback"]["when"] if one["kind"] != "corruption"]
    tree["platform"]["environment"] = {}
    tree["database"] = {"dsn": "${env:BENCH_DSN}", "scratch": {"place": "embedded"}}
    tree["source"] = {"kind": "directory", "path": "/nowhere"}
    tree["platform"] = {"kind": "supervisor", "processes": {"web": {"command": ["{python}", "service.py"]}}}
    check = {"kind": "http", "url": "{base_url}/health", "status": 200}
    tree |= {"system": "NAME", "base_url": "http://127.0.0.1:PORT", "watch": {"every": "1h", "for": "24h"}}
    tree["checks"]["watch"] = [{**check, "name": what} for what in ("it answers", "it is ready", "it is well")]
    tree["watch"]["probe"] = {"every": f"{EVERY:g}s", "check": "it answers"}
    text = StringIO()
    YAML().dump(tree, text)
    for number, port in enumerate(ports):
        name = f"s{number:04}"
        yield name, text.getvalue().replace("NAME", name, 1).replace(":PORT", f":{port}", 1)


def put_under_watch(book: Ledger, name: str, text: str) -> None:
    """Put a release on record that is live."""
    opening = Opening(f"{name}-v2", name, "v2", "release", True, "bench", "", f"{name}/release.yaml", text, "v1")
    book.releases.open(opening)
    claim = book.releases.take(opening.id, "bench")
    book.evidence.baseline(opening.id, "it answers", {"latencies": [0.004 + 0.00001 * n for n in range(240)]})
    for before, after in pairwise(FORWARD):
        if after is State.MIGRATE:
            number = book.releases.intend(claim, "migrate", "change something", mutates=True, detail={})
            book.releases.report(claim, "migrate", "change something", number, event="done", took=0.0, detail={})
        live: dict[str, Any] = {}
        if after is State.WATCHING:
            now = book.evidence.now()
            live = {"live_at": now, "watch_until": now + timedelta(hours=24)}
        book.releases.move(claim, before, after, **live)
    book.releases.let_go(claim)


@contextmanager
def a_process(script: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run statements as a process of golive's, with Prefect away, until the block ends."""
    with (home / "process.out").open("ab") as log:
        argv = [sys.executable, "-c", script]
        process = subprocess.Popen(argv, env={**os.environ, "PREFECT_API_URL": NO_PREFECT}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of the processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the most memory that a process had so far."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def lateness(ticks: Mapping[str, Sequence[datetime]]) -> tuple[list[float], int]:
    """Return how many seconds after its tick each probe came, the earliest of its release being on time, and gaps."""
    late, missed = [], 0
    for at in ticks.values():
        since = [(one - at[0]).total_seconds() for one in at]
        offsets = [one - round(one / EVERY) * EVERY for one in since]
        late += [one - min(offsets) for one in offsets]
        missed += round(since[-1] / EVERY) + 1 - len(at)
    return sorted(late), missed


def watched(server: EmbeddedServer, home: Path, count: int, seconds: float) -> dict[str, Any]:
    """Guard so many systems for a time, then sweep over them once, and return what that took."""
    postgres, dsn = Postgres(), server.dsn("golive")
    with postgres.session(postgres.with_database(dsn, "postgres")) as session:
        session.execute(f"CREATE DATABASE bench_{count}")
    dsn = postgres.with_database(dsn, f"bench_{count}")
    os.environ |= {"GOLIVE_LEDGER_URL": dsn, "BENCH_DSN": dsn, "GOLIVE_HOME": str(home)}
    book = Ledger(dsn)

    def ask(statement: str) -> Any:
        with postgres.session(dsn) as session:
            return session.value(statement)

    sizes = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('probe', 'message', 'delivery')"
    with standins(count) as ports:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: put_under_watch(book, *one), file_texts(ports)))
        with a_process(_GUARD, home) as guard:
            began = time.monotonic()
            while ask("SELECT count(DISTINCT release_id) FROM probe") < count:
                if guard.poll() is not None or time.monotonic() - began > 900:
                    raise RuntimeError((home / "process.out").read_text()[-3000:])
                time.sleep(0.5)
            guarded_after, start_cpu = time.monotonic() - began, cpu_seconds(guard.pid)
            since, bytes_before, rows_before = book.evidence.now(), ask(sizes), ask("SELECT count(*) FROM probe")
            connections, began = 0, time.monotonic()
            while (left := began + seconds - time.monotonic()) > 0:
                time.sleep(min(5.0, left))
                sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'golive ledger'"
                connections = max(connections, ask(sessions) - 1)
            used, took = cpu_seconds(guard.pid) - start_cpu, time.monotonic() - began
            peak = peak_mb(guard.pid)
            ticks: dict[str, list[datetime]] = {}
            with postgres.session(dsn) as session:
                made = "SELECT release_id, at FROM probe WHERE at >= %s AND source = 'guard' ORDER BY at"
                for row in session.query(made, (since,)):
                    ticks.setdefault(row["release_id"], []).append(row["at"])
            late, missed = lateness(ticks)
            grown, rows = float(ask(sizes) - bytes_before), ask("SELECT count(*) FROM probe") - rows_before
            swept, sweep_cpu, sweep_peak = sweep(home, postgres, dsn)
        outcomes = {one: ask(f"SELECT count(*) FROM look WHERE outcome = '{one}'") for one in ("passed", "unknown")}
    book.close()
    per_day = 86400 / took / count
    return {
        "CPU s/min": used / took * 60,
        "peak MB": peak,
        "late p50 ms": 1000 * statistics.median(late),
        "late p99 ms": 1000 * late[int(len(late) * 0.99)],
        "missed": missed,
        "all guarded s": guarded_after,
        "start CPU s": start_cpu,
        "rows/day": rows * per_day,
        "kB/day": grown * per_day / 1000,
        "connections": connections,
        "sweep s": swept,
        "sweep CPU s": sweep_cpu,
        "sweep CPU ms each": 1000 * sweep_cpu / count,
        "sweep MB": sweep_peak,
        "looks": f"{outcomes['passed']} passed, {outcomes['unknown']} unknown",
    }


def sweep(home: Path, postgres: Postgres, dsn: str) -> tuple[float, float, float]:
    """Let the monitor look at all releases once; return seconds, seconds of the processor, and the most memory (MB)."""
    # As if they had been guarded for an hour; else each look learns too little, and alerts people of that.
    with postgres.session(dsn) as session:
        session.execute(
            "UPDATE release SET live_at = live_at - interval '1 hour', "
            "mutation_started_at = mutation_started_at - interval '1 hour'"
        )
        session.execute(
            "INSERT INTO probe (release_id, at, check_name, outcome, elapsed, source) "
            "SELECT id, clock_timestamp() - tick * interval '1 second', 'it answers', 'passed', 0.004, 'guard' "
            f"FROM release, generate_series(3600, {EVERY:g}, -{EVERY:g}) tick"
        )
    used = peak = 0.0
    began = time.monotonic()
    with a_process(_SWEEP, home) as process:
        while process.poll() is None:
            time.sleep(0.1)
            with suppress(OSError, KeyError):  # it may just have ended
                used, peak = cpu_seconds(process.pid), peak_mb(process.pid)
    return time.monotonic() - began, used, peak


def main(directory: Path, *, systems: Sequence[int], seconds: float) -> None:
    """Measure each number of systems, and publish."""
    home = directory / "golive"
    home.mkdir(mode=0o755)
    server = EmbeddedServer(directory / "ledger")
    server.ensure_running()
    rows = {}
    try:
        for count in systems:
            rows[f"{count:,} systems"] = watched(server, home, count, seconds)
            print(count, rows[f"{count:,} systems"], flush=True)
    finally:
        server.stop()
    publish_table("watching", {"probe every s": EVERY, "seconds": seconds}, rows, dict.fromkeys(rows, _AIM))
