"""The migration rehearsed a second time, on a copy of its own, while statements run on it as users' would."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from random import Random
from typing import Any

from tasks.context import Context
from tasks.domain.errors import GoliveError, Inconclusive, RehearsalFailed, SqlFailed, TimedOut
from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.ports import Clock, Session
from tasks.domain.target import Target
from tasks.domain.workload import Sent, Template, judge, parse, phase
from tasks.rehearsing import PHASE, copy_of, measured_upgrade, migrated, require_within_limits
from tasks.scratch import Scratch
from tasks.spec.rehearsal import UnderLoad

NAME = "users during the migration"
_ROWS = 200
"""How many rows of each table are touched, where no statements are given."""

# A column that is neither the key nor generated is set to itself; the row stays what it is.
_LARGEST = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, quote_ident(k.attname) AS key,
           format_type(k.atttypid, k.atttypmod) AS type,
           (SELECT quote_ident(a.attname) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnum <> k.attnum AND NOT a.attisdropped
              AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY a.attnum LIMIT 1) AS column
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
    JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = i.indkey[0]
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
    ORDER BY pg_total_relation_size(c.oid) DESC LIMIT %s
"""


def migrated_under_load(ctx: Context) -> dict[str, Any]:
    """Migrate the copy while the load runs on it, judge what that saw, and make the copy anew.

    Raises `RehearsalFailed` if a limit is exceeded, and `Inconclusive` if it says too little to tell.
    """
    plan, target, clock = ctx.file.rehearsal.under_load or UnderLoad(), copy_of(ctx), ctx.world.clock
    if not ctx.file.migration.pending(target):
        return {"outcome": Outcome.PASSED, "seen": "nothing is pending"}
    at, templates = clock.now(), _templates(ctx, target, plan)
    with _load(target, plan, templates) as load:
        began = clock.monotonic()
        clock.sleep(plan.window)
        begun = clock.monotonic()
        up, grown = measured_upgrade(ctx, target)
        # A short migration is judged over the whole window in which it ran, and what queued behind it is waited for.
        ends = max(clock.monotonic(), begun + plan.window)
        clock.sleep(max(0.0, ends - clock.monotonic()))
    Scratch(ctx).clone()
    before, during = phase(load.sent, began, begun), phase(load.sent, begun, ends)
    reading = judge(during, p99=plan.p99, errors=plan.errors)
    found = {
        "outcome": reading.outcome,
        "seen": reading.seen,
        "limits": {"p99": plan.p99, "errors": plan.errors},
        "rate": plan.rate,
        "sessions": plan.sessions,
        "statements": "given" if plan.statements else "generated",
        "before": before.as_json(),
        "during": during.as_json(),
        "upgrade": migrated(up),
        "growth": grown,
    }
    limited = plan.p99 is not None or plan.errors is not None
    shown = replace(reading, detail={"before": found["before"], "during": found["during"]})
    seen = Measurement(NAME, "under_load", shown, at, clock.monotonic() - began, advisory=not limited)
    ctx.ledger.evidence.measured(ctx.release.id, PHASE, [seen])
    require_within_limits(ctx.file.migration, up)
    if reading.outcome is not Outcome.PASSED and limited:
        raise (RehearsalFailed if reading.outcome is Outcome.FAILED else Inconclusive)(
            f"while the migration ran: {reading.seen}",
            expected="what rehearsal.under_load permits",
            do="do it in steps that lock briefly, let more statements run, or raise the limit",
        )
    return found


def _templates(ctx: Context, target: Target, plan: UnderLoad) -> list[Template]:
    if plan.statements:
        return [parse(statement) for statement in plan.statements]
    with ctx.world.databases.session(target.dsn, read_only=True) as session:
        return [Template((statement,), ()) for statement in _touches(session, plan.tables)]


def _touches(session: Session, tables: int) -> Iterator[str]:
    """Yield statements that read rows of the largest tables by their primary key, and write them as they are."""
    for table in session.query(_LARGEST, (tables,)):
        name, key = table["name"], table["key"]
        keys = session.query(f"SELECT quote_literal({key}::text) AS key FROM {name} LIMIT {_ROWS}")  # noqa: S608
        for row in keys:
            where = f"{key} = {row['key']}::{table['type']}"
            yield f"SELECT * FROM {name} WHERE {where}"  # noqa: S608 - all of it as the server quoted it
            if table["column"]:
                yield f"UPDATE {name} SET {table['column']} = {table['column']} WHERE {where}"  # noqa: S608


class _Load:
    """Sends statements at their times from a few sessions, and notes what each took, its waiting included."""

    def __init__(self, clock: Clock, plan: UnderLoad, templates: Sequence[Template]) -> None:
        self.sent: list[Sent] = []
        self._clock, self._plan, self._templates = clock, plan, templates
        self._next, self._turn = 0, threading.Lock()
        self._start = clock.monotonic()
        self._ended = threading.Event()
        self._end = float("inf")

    def end(self) -> None:
        """Let no further statement be due; those that are due already are still sent, as long as one may take."""
        self._end = self._clock.monotonic()
        self._ended.set()

    def work(self, session: Session, seed: int) -> None:
        """Send statements until the end."""
        random = Random(seed)  # noqa: S311 - which row is touched is no secret
        while True:
            with self._turn:
                due = self._start + self._next / self._plan.rate
                self._next += 1
            self._ended.wait(max(0.0, due - self._clock.monotonic()))
            if due >= self._end:
                return
            if self._clock.monotonic() > self._end + self._plan.each:
                self.sent.append(Sent(due, self._clock.monotonic() - due, "not sent in time", slow=True))
                continue
            self.sent.append(self._send(session, random.choice(self._templates).fill(random), due))

    def _send(self, session: Session, statement: str, due: float) -> Sent:
        error, slow = "", False
        try:
            session.query(statement)
        except TimedOut as timed_out:
            error, slow = timed_out.id, True
        except SqlFailed as failed:
            error = failed.sqlstate or failed.id
        except GoliveError as other:
            error = other.id
        return Sent(due, self._clock.monotonic() - due, error, slow)


@contextmanager
def _load(target: Target, plan: UnderLoad, templates: Sequence[Template]) -> Iterator[_Load]:
    """Run the load from all its sessions during a block."""
    databases = target.world.databases
    with ExitStack() as opened:
        sessions = [
            opened.enter_context(
                databases.session(target.dsn, statement_timeout=plan.each, application="golive rehearsal load")
            )
            for _ in range(plan.sessions if templates else 0)
        ]
        load = _Load(target.world.clock, plan, templates)
        threads = [
            threading.Thread(target=load.work, args=(session, seed), name="golive rehearsal load", daemon=True)
            for seed, session in enumerate(sessions)
        ]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.end()
            for thread in threads:
                thread.join()
