"""Releases as a ledger tells of them, with times of their own: one that went well, and one that was taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

from tasks.domain.outcome import Measurement, Reading, failed, passed, unknown
from tasks.domain.release import State
from tasks.ledger import models
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Note

START = datetime(2026, 11, 22, 2, 5, 11, tzinfo=UTC)
SECRET = "s3cr3t-p4ssw0rd"
HOSTILE = '<script>alert("x")</script> | $\\alpha$ `c` '


def mask(text: str) -> str:
    return text.replace(SECRET, "•••")


class _Past:
    """Writes rows with times of their own, which the ledger's sentences take from the database's clock."""

    def __init__(self, dsn: str, release_id: str, **columns: Any) -> None:
        self._engine = LedgerEngine(dsn)
        self.release_id, self.at, self.epoch = release_id, START, 1
        self.state: State = State.PLANNED
        row: dict[str, Any] = {
            "system": "glad-labs",
            "version": "2.4.0",
            "scope": "release",
            "mutates": True,
            "state": State.PLANNED,
            "epoch": 1,
            "started_by": "ana",
            "reason": "the customers' export, and two security patches",
            "file": "deployments/systems/glad_labs/release.yaml",
            "file_text": "system: glad-labs",
            "previous_version": "2.3.1",
            "identity": "9f2c41d07be3a5de2b1f",
            "plan_hash": "6b1f0c" + "e4a9d2" * 9 + "77",
            "created_at": START,
        }
        with self._engine.transaction() as session:
            session.add(models.Release(id=release_id, **{**row, **columns}))
        self.add(models.Move, before="", after=State.PLANNED, by="ana", epoch=0)

    def add(self, table: Any, at: datetime | None = None, **columns: Any) -> int:
        row = table(release_id=self.release_id, at=at or self.at, **columns)
        with self._engine.transaction() as session:
            session.add(row)
            session.flush()
            return int(row.id)

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def move(self, after: State, note: str = "") -> None:
        by = "worker-1 (pid 4711)"
        self.add(models.Move, before=self.state, after=after, by=by, note=note, epoch=self.epoch)
        self.state = after

    def step(
        self, phase: str, name: str, took: float, event: str = "done", *, mutates: bool = False, **detail: Any
    ) -> None:
        number = self.add(
            models.Step, phase=phase, name=name, event="started", mutates=mutates, epoch=self.epoch, detail={}
        )
        self.later(took)
        if event != "started":
            self.add(
                models.Step,
                phase=phase,
                name=name,
                event=event,
                mutates=False,
                epoch=self.epoch,
                started=number,
                took=took,
                detail=detail,
            )

    def change(self, **columns: Any) -> None:
        with self._engine.transaction() as session:
            row = session.get(models.Release, self.release_id)
            for name, value in columns.items():
                setattr(row, name, value)

    def close(self) -> None:
        self._engine.close()


def _latencies(random: Random, number: int, middle: float) -> list[float]:
    return [round(middle * random.lognormvariate(0, 0.4), 5) for _ in range(number)]


def _seen(check: str, kind: str, reading: Reading, at: datetime, **more: Any) -> Measurement:
    return Measurement(check, kind, reading, at, more.pop("took", 0.03), **more)


LOCKS: list[dict[str, Any]] = [
    {"relation": "public.articles", "mode": "ACCESS EXCLUSIVE", "held": 0.084},
    {"relation": "public.customers", "mode": "SHARE ROW EXCLUSIVE", "held": 0.41},
    {"relation": "public.export_jobs", "mode": "ACCESS EXCLUSIVE", "held": 0.006},
    {"relation": "public.articles", "mode": "SHARE UPDATE EXCLUSIVE", "held": 2.3},
]
TABLES = {
    name: {"rows": rows, "hash": f"{crc32(name.encode()):010d}"}
    for name, rows in (
        ("public.articles", 184_220),
        ("public.customers", 41_007),
        ("public.export_jobs", 0),
        ("public.events", 3_110_482),
        ("public.users", 912),
    )
}


def _until_live(past: _Past, ledger: Ledger, random: Random) -> datetime:
    evidence, release_id = ledger.evidence, past.release_id
    past.later(2)
    past.move(State.PREFLIGHT)
    ledger.releases.tell(release_id, Note("root", "glad-labs 2.3.1 → 2.4.0: preflight", {}))
    past.step("preflight", "fetch 2.4.0", 3.1, directory="/srv/glad-labs/releases/2.4.0", identity="9f2c41d07be3")
    evidence.measured(
        release_id,
        "preflight",
        [
            _seen(
                "no hardcoded secrets", "secrets_scan", passed("0 findings in 412 files"), past.at, covers=("GL-021",)
            ),
            _seen("disk has room", "disk", passed("free 41 GB ≥ 12 GB", value=41.0, limit=12.0), past.at),
            _seen(
                "configuration is complete",
                "config",
                passed(f"DATABASE_URL=postgresql://golive:{SECRET}@db/glad is set"),
                past.at,
                covers=("GL-030", "GL-031"),
            ),
            _seen(
                "certificate is valid",
                "tls",
                unknown("no answer within 5 s"),
                past.at,
                help="ask the network team whether port 443 is open from here",
                advisory=True,
            ),
        ],
    )
    past.later(9)
    past.move(State.BACKUP)
    past.step("backup", "dump", 41, bytes=431_220_118)
    past.step("backup", "restore and compare", 68, tables=5)
    evidence.backed_up(
        release_id,
        "glad-labs",
        kind="directory",
        location="/var/backups/glad-labs/20261122-0205",
        size=431_220_118,
        took=41.0,
        proven=True,
        proof={"tables": TABLES, "manifest_sha256": "c0ffee" + "17ab" * 14 + "00", "restore_seconds": 68.0},
    )
    past.move(State.REHEARSE)
    past.step("rehearse", "upgrade, downgrade, upgrade the copy", 21)
    evidence.rehearsed(
        release_id,
        "sha256:51aa90",
        "keep",
        {
            "upgrade": {"took": 3.9, "locks": LOCKS, "applied": ["0041_export_jobs", "0042_article_slug"]},
            "downgrade": {"took": 2.2, "exact": True},
            "seconds": 8.4,
            "why": "the old version passed its checks on the new schema",
            "limits": {"lock": 5.0, "duration": 30.0},
        },
    )
    evidence.baseline(release_id, "API answers", {"latencies": _latencies(random, 300, 0.021)})
    evidence.baseline(release_id, "search answers", {"latencies": _latencies(random, 300, 0.19)})
    past.later(4)
    past.move(State.AWAITING_GO)
    past.later(1260)
    for role, person in (("technical_lead", "ben"), ("dba", "chidi")):
        why, plan = "rehearsed, and the way back is eight seconds", "6b1f0c" + "e4a9d2" * 9 + "77"
        past.add(
            models.Approval,
            gate="go",
            role=role,
            person=person,
            decision="approve",
            reason=why,
            plan_hash=plan,
            via="form",
        )
    past.move(State.MIGRATE, "both roles signed")
    production = [{**lock, "held": lock["held"] * 1.4} for lock in LOCKS[:3]]
    past.step(
        "migrate", "upgrade", 4.6, mutates=True, applied=["0041_export_jobs", "0042_article_slug"], locks=production
    )
    evidence.measured(release_id, "migrate", [_seen("slug is unique", "sql", passed("0 duplicates ≤ 0"), past.at)])
    past.later(1)
    past.move(State.DEPLOY)
    past.step("deploy", "start 2.4.0 in slot green", 2.2, mutates=True, slot="green", port=8081, version="2.4.0")
    past.step("deploy", "wait until ready", 3.4, seconds=3.4)
    past.step("deploy", "switch the router to green", 0.4, mutates=True, upstream="127.0.0.1:8081")
    live = past.at
    past.change(mutation_started_at=live - timedelta(seconds=9), live_at=live, watch_until=live + timedelta(hours=24))
    past.later(5)
    past.move(State.HEALTH)
    past.later(20)
    evidence.measured(
        release_id,
        "health",
        [
            _seen(
                "API answers",
                "http",
                passed("p95 41 ms ≤ 200 ms", detail={"latencies": _latencies(random, 60, 0.022)}),
                past.at,
                covers=("GL-101", "GL-180"),
            ),
            _seen("search answers", "http", passed("p95 0.4 s ≤ 1 s"), past.at),
        ],
    )
    past.move(State.WATCHING, "all checks of health passed")
    ledger.releases.tell(release_id, Note("reply", "live since 02:29 UTC; watched for 24 h", {}))
    return live


def _probe(
    past: _Past, at: datetime, outcome: str, elapsed: float | None, control: str | None = None
) -> dict[str, Any]:
    return {
        "release_id": past.release_id,
        "at": at,
        "check": "API answers",
        "outcome": outcome,
        "elapsed": elapsed,
        "control": control,
        "source": "guard",
    }


def stable_release(database: str, ledger: Ledger, **columns: Any) -> str:
    """Return the id of a release that went well: a day of probes, a gap, a few failures."""
    random, past = Random(7), _Past(database, "glad-labs-20261122-0205-k3f9", **columns)
    live = _until_live(past, ledger, random)
    probes = []
    for tick in range(2880):
        at = live + timedelta(seconds=30 * tick)
        if 1500 <= tick < 1580:
            continue
        day = 1 + 0.4 * (tick % 2880 > 900) * (tick < 1400)
        ok = not (640 <= tick < 646 or tick in {200, 2222})
        probes.append(
            _probe(past, at, "passed" if ok else "failed", day * 0.021 * random.lognormvariate(0, 0.35) if ok else None)
        )
    ledger.evidence.probed(probes)
    for hour in range(1, 25):
        at = live + timedelta(hours=hour)
        slow = hour == 6
        ledger.evidence.measured(
            past.release_id,
            "watch",
            [
                _seen(
                    "API answers",
                    "http",
                    passed(f"p95 {40 + hour} ms ≤ 200 ms", detail={"latencies": _latencies(random, 30, 0.024)}),
                    at,
                    covers=("GL-101",),
                ),
                _seen(
                    "search answers",
                    "http",
                    failed("p95 1.3 s > 1 s", detail={"latencies": _latencies(random, 30, 0.6)})
                    if slow
                    else passed("p95 0.4 s ≤ 1 s", detail={"latencies": _latencies(random, 30, 0.2)}),
                    at,
                    help="look at the search index: is a rebuild under way?",
                ),
                _seen("replication", "sql", unknown("no replica is connected"), at, advisory=True),
            ],
        )
        past.add(
            models.Look,
            at=at,
            source="monitor",
            due_at=at,
            outcome="failed" if slow else "passed",
            findings={
                "down": {"state": "quiet", "seen": "the last probe passed, 12.0 s ago"},
                "errors": {"state": "quiet", "seen": "errors 0 of 30 probes (0.0%)"},
                "slower": {"state": "suspicious" if slow else "quiet", "seen": "median 24 ms not > 1.5 × 21 ms before"},
            },
        )
    past.later(86400)
    past.move(State.STABLE, "2 signatures of the operations lead")
    past.change(
        state=State.STABLE,
        verdict="8 of 2800 probes failed, 97% of the expected probes made",
        ended_at=past.at,
    )
    past.close()
    return past.release_id


def rolled_back_release(database: str, ledger: Ledger, **columns: Any) -> str:
    """Return the id of a release that was taken back after ten minutes without an answer, once taken over."""
    random, past = Random(11), _Past(database, "glad-labs-20261122-0205-m2x8", **columns)
    live = _until_live(past, ledger, random)
    probes = [
        _probe(past, live + timedelta(seconds=30 * tick), "passed", 0.021 * random.lognormvariate(0, 0.35))
        for tick in range(40)
    ]
    probes += [
        _probe(past, live + timedelta(seconds=30 * tick), "failed", 10.0 if tick % 3 else None, "passed")
        for tick in range(40, 62)
    ]
    probes += [_probe(past, live + timedelta(seconds=30 * 62 + 15 * n), "passed", 0.02) for n in range(6)]
    ledger.evidence.probed(probes)
    fired = live + timedelta(seconds=30 * 61)
    past.add(
        models.Look,
        at=fired,
        source="guard",
        outcome="failed",
        findings={
            "down": {
                "state": "fires",
                "seen": "down for 10 min 30 s > 10 min, 22 of 22 probes made, longest gap 30.0 s",
                "evidence": {"made": 22},
            }
        },
    )
    past.at = fired
    past.epoch = 2
    past.move(State.ROLLING_BACK, "down for 10 min 30 s > 10 min")
    past.step("rollback", "start 2.3.1 in slot blue", 2.4, mutates=True, slot="blue")
    past.step("rollback", "switch the router to blue", 0.3, mutates=True)
    past.step("rollback", "stop slot green", 5.0, "failed", mutates=True, error=HOSTILE + "still running after 5 s")
    past.step("rollback", "block 2.4.0", 0.1, "started")
    ledger.evidence.measured(
        past.release_id,
        "health",
        [
            _seen(
                HOSTILE + "answers",
                "http",
                failed(f"status 503 == 200 {HOSTILE}"),
                past.at,
                help="journalctl -u glad-labs@green",
                covers=("GL-101",),
            )
        ],
    )
    past.later(3)
    past.move(State.ROLLED_BACK)
    past.change(state=State.ROLLED_BACK, epoch=2, verdict="down for 10 min 30 s > 10 min", ended_at=past.at)
    ledger.releases.tell(past.release_id, Note("reply", f"rolled back: {HOSTILE} <!channel>", {}))
    past.close()
    return past.release_id
