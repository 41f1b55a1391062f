"""What golive asks of its ledger, at a hundred thousand rows and at ten million: each question must take as long.

The rows of a release are always as many; only the number of releases grows. Both ledgers are asked by turns. With each
time comes PostgreSQL's own plan: a table that grows may be read by an index only, and how many pages that takes is the
same however busy the machine is.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import event

from tasks.adapters.pg_server import EmbeddedServer
from tasks.adapters.postgres import Postgres
from tasks.domain.release import State
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import APPEND_ONLY
from tests.benchmarks.timing import RESULTS, publish_table

SIZES = (100_000, 10_000_000)
PROBES, MEASUREMENTS, LOOKS, MESSAGES, STEPS, MOVES = 2880, 420, 48, 24, 60, 10
OF_A_RELEASE = PROBES + MEASUREMENTS + LOOKS
RELEASES_OF_A_SYSTEM = 30
ROUNDS = 15
_NOW = datetime.now(UTC)
_FINDINGS = '{"checks": {"it answers": "passed"}, "findings": [{"kind": "down", "seen": "the last probe passed"}]}'
_FILE = "system: shop\n" + "# " + "x" * 20_000


def _columns(number: int, count: int) -> tuple[str, str, str, datetime]:
    """Return id, system, state and time of a release; the newest of each system is watched, those before are stable."""
    systems = max(1, count // RELEASES_OF_A_SYSTEM)
    state = State.WATCHING if number >= count - systems else State.STABLE
    began = _NOW - timedelta(hours=6) - timedelta(days=(count - 1 - number) // systems)
    return f"r{number:06}", f"s{number % systems:05}", state.value, began


def _probes(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for tick in range(PROBES):
        yield of, began + timedelta(seconds=30 * tick), "it answers", "passed", 0.012, "guard"


def _measurements(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(MEASUREMENTS):
        at, name = began + timedelta(hours=number // 10), f"check {number % 10}"
        yield of, at, "watch", name, "http", "passed", "200", 0.01, False, '{"counters": {"n": 1}}'


def _looks(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(LOOKS):
        source = "guard" if number % 12 == 11 else "monitor"
        yield of, began + timedelta(minutes=30 * number), source, "passed", _FINDINGS


def _messages(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(MESSAGES):
        yield of, began + timedelta(hours=number), "reply", "all is well"


def _steps(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(STEPS):
        yield of, began, "deploy", f"step {number}", "started" if number % 2 else "done", False, 1


def _moves(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(MOVES):
        yield of, began + timedelta(minutes=number), "health", "watching", "bench", 1


def _rehearsals(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    yield of, began, f"fingerprint {of}", "keep", '{"upgrade": {"locks": []}}'


def _baselines(of: str, began: datetime) -> Iterator[tuple[Any, ...]]:
    for number in range(5):
        yield of, began, f"check {number}", '{"latencies": [0.01, 0.02]}'


_TABLES: dict[str, tuple[str, Callable[[str, datetime], Iterator[tuple[Any, ...]]]]] = {
    "probe": ("release_id, at, check_name, outcome, elapsed, source", _probes),
    "measurement": ("release_id, at, phase, name, kind, outcome, seen, took, advisory, detail", _measurements),
    "look": ("release_id, at, source, outcome, findings", _looks),
    "message": ("release_id, at, kind, text", _messages),
    "step": ("release_id, at, phase, name, event, mutates, epoch", _steps),
    "move": ("release_id, at, before, after, by, epoch", _moves),
    "rehearsal": ("release_id, at, fingerprint, plan, detail", _rehearsals),
    "baseline": ("release_id, at, name, detail", _baselines),
}


def fill(dsn: str, rows: int) -> int:
    """Fill a ledger with so many probes, measurements and looks, and return of how many releases they are."""
    count = max(2, round(rows / OF_A_RELEASE))
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        into = "id, system, state, created_at, mutation_started_at, live_at, ended_at, file_text"
        fixed = "version, scope, mutates, started_by, reason, file"
        with cursor.copy(f"COPY release ({into}, {fixed}) FROM STDIN") as copy:
            for number in range(count):
                of, system, state, began = _columns(number, count)
                ended = began + timedelta(days=1) if state == State.STABLE else None
                given = (of, system, state, began, began, began, ended, _FILE)
                copy.write_row((*given, f"v{number}", "release", True, "bench", "", "release.yaml"))
        for table, (columns, rows_of) in _TABLES.items():
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for number in range(count):
                    of, _system, _state, began = _columns(number, count)
                    for row in rows_of(of, began):
                        copy.write_row(row)
        for outcome in ("sending", "delivered"):
            cursor.execute(
                f"INSERT INTO delivery (message_id, notifier, outcome) SELECT id, 'console', '{outcome}' FROM message"
            )
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    return count


def questions(book: Ledger, count: int) -> dict[str, Callable[[], Any]]:
    """Return what guard, monitor, status and report ask, of the newest release of a system."""
    of, system, _state, began = _columns(count - 1, count)
    evidence, releases, outbox = book.evidence, book.releases, book.outbox
    last = began + timedelta(seconds=30 * PROBES)
    active = [one for one in State if one is not State.STABLE]
    return {
        "guard: what is armed": releases.armed,
        "guard: probes of a window": lambda: evidence.probes(of, last - timedelta(minutes=15)),
        "guard: written already": lambda: evidence.probed_at([of], last - timedelta(minutes=1)),
        "guard: new messages": lambda: outbox.written([of]),
        "courier: due": lambda: outbox.due("console", system=system),
        "courier: waits": lambda: outbox.waits("console", system),
        "courier: root": lambda: outbox.root_ref(of, "console"),
        "monitor: releases by state": lambda: releases.in_state(*active),
        "monitor: newest stable": releases.newest_stable,
        "monitor: who may have messages": releases.newest_of_each,
        "monitor: looks": lambda: evidence.looks(of, "monitor"),
        "monitor: counters": lambda: evidence.counted(of, "watch", ["check 1", "check 2"]),
        "monitor: baselines": lambda: evidence.baselines(of),
        "rollback: unfinished steps": lambda: releases.unfinished(of, 99),
        "status: newest releases": lambda: releases.latest(limit=20),
        "status: moves": lambda: releases.moves(of),
        "status: switches": lambda: releases.events_of("switch"),
        "status: dead letters": outbox.dead_letters,
        "backups: drills": evidence.drills,
        "history: of a system": lambda: releases.latest(system, limit=100),
        "history: rehearsed before": lambda: evidence.rehearsal_of(system, "v1", "none"),
        "report: probes": lambda: evidence.probes(of),
        "report: measurements": lambda: evidence.measurements(of),
        "report: looks": lambda: evidence.looks(of),
        "report: steps": lambda: releases.steps(of),
        "report: messages": lambda: outbox.messages(of),
    }


def _scans(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for below in plan.get("Plans", ()):
        yield from _scans(below)


def plans_of(book: Ledger, ask: Callable[[], Any]) -> list[Mapping[str, Any]]:
    """Return PostgreSQL's plan for each statement that a question comes to."""
    said: list[tuple[str, Any]] = []
    engine = book._engine._engine

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", hear)
    plans = []
    with engine.connect() as connection:
        for statement, parameters in said:
            if statement.lstrip().upper().startswith(("SELECT", "WITH")):
                found: Any = connection.exec_driver_sql(
                    f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
                ).scalar()
                plans.append((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])
    return plans


def pages(plans: list[Mapping[str, Any]]) -> int:
    """Return how many pages PostgreSQL went through, whether they were in memory or not."""
    return sum(int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]) for plan in plans)


def filled(server: EmbeddedServer, rows: int) -> tuple[Ledger, int]:
    """Return a ledger with so many rows, and how many releases it has."""
    postgres, dsn = Postgres(), server.dsn("golive")
    with postgres.session(postgres.with_database(dsn, "postgres")) as session:
        session.execute(f"CREATE DATABASE rows_{rows}")
    book = Ledger(postgres.with_database(dsn, f"rows_{rows}"))
    book.ensure_ready()
    began = time.monotonic()
    count = fill(book.dsn, rows)
    print(f"{rows:,} rows of {count:,} releases in {time.monotonic() - began:.0f} s", flush=True)
    return book, count


def timed(asks: tuple[Callable[[], Any], ...]) -> list[float]:
    """Return the median in ms of each question, asked by turns."""
    taken: list[list[float]] = [[] for _ in asks]
    for number in range(ROUNDS + 1):
        for ask, into in zip(asks, taken, strict=True):
            start = time.perf_counter()
            ask()
            if number:
                into.append(1000 * (time.perf_counter() - start))
    return [statistics.median(each) for each in taken]


def main(directory: Path, *, rows: int) -> None:
    """Measure both sizes, and publish; the plans go to ``var/bench`` too."""
    server = EmbeddedServer(directory / "ledger")
    server.ensure_running()
    growing = {*APPEND_ONLY, "release"} - {"backup", "backup_removal", "version_block"}
    table, plans = {}, {}
    try:
        (few, few_count), (many, many_count) = filled(server, min(SIZES[0], rows)), filled(server, rows)
        of_few, of_many = questions(few, few_count), questions(many, many_count)
        for name in of_many:
            small_ms, large_ms = timed((of_few[name], of_many[name]))
            small, large = plans_of(few, of_few[name]), plans_of(many, of_many[name])
            scanned = sorted({one for plan in large for one in _scans(plan)} & growing)
            table[name] = {
                f"ms at {SIZES[0]:,}": small_ms,
                f"ms at {rows:,}": large_ms,
                "ratio": large_ms / small_ms,
                "pages": f"{pages(small):,} → {pages(large):,}",
                "read whole": ", ".join(scanned) or "–",
            }
            plans[name] = large
        few.close()
        many.close()
    finally:
        server.stop()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ledger-plans.json").write_text(json.dumps(plans, indent=1, default=str))
    conditions = {"rows": rows, "releases": f"{few_count:,} and {many_count:,}", "rounds": ROUNDS}
    publish_table("ledger", conditions, table, dict.fromkeys(table, "as long; no table that grows read whole"))
