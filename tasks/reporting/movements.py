"""Holds what is on record of a release against how it was before, and says what moved most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tasks.domain import moved
from tasks.domain.moved import Moved
from tasks.domain.target import HOSTS
from tasks.ledger import models
from tasks.ledger.record import WORKLOAD, Record
from tasks.reporting.deriving import latencies_of
from tasks.reporting.values import ReleaseFacts

_OF_NOW = {"health", "watch", "review"}


def held(facts: ReleaseFacts, record: Record, baselines: Mapping[str, Mapping[str, Any]]) -> ReleaseFacts:
    """Return the facts with what moved most, and with what could not be held against before."""
    found = [one for it in facts.comparisons for one in moved.endpoint(it.check, it.before, it.now)]
    found += _on_hosts(baselines, record.of(models.Measurement))
    kept = {(lock.relation, lock.mode, lock.where): lock.held for lock in facts.locks}
    for relation, mode in dict.fromkeys((lock.relation, lock.mode) for lock in facts.locks):
        both = (kept.get((relation, mode, where)) for where in ("rehearsal", "production"))
        found += moved.lock(f"{mode} on {relation}", *both)
    found += moved.migration(facts.rehearsal.upgrade if facts.rehearsal else None, facts.migration)
    untold = []
    for what, judge in (("statements", moved.queries), ("tables", moved.tables)):
        counts = _counts(record, what)
        judged = judge(*counts) if isinstance(counts, tuple) else counts
        if isinstance(judged, str):
            untold.append(f"Which {what} moved is not known: {judged}.")
        else:
            found += judged
    return replace(facts, moved=moved.most(found), not_held=tuple(untold))


Counted = Mapping[str, Any]


def _counts(record: Record, what: str) -> tuple[Counted, Counted, Counted] | str | list[Moved]:
    """Return what was counted before the release, and at the last two looks that could count; or why it was not.

    Nothing is to be told of a release that nobody counted for.
    """
    before = next((row.detail for row in reversed(record.of(models.Baseline)) if row.name == WORKLOAD), None)
    looks = [row.findings[what] for row in record.of(models.Look) if row.source == WORKLOAD]
    if before is None or not looks:
        return []
    good = [one for one in looks if "why" not in one]
    if "why" in before[what] or not good:
        return str(before[what].get("why") or looks[-1]["why"])
    return before[what], good[-2] if len(good) > 1 else before[what], good[-1]


def _on_hosts(baselines: Mapping[str, Mapping[str, Any]], rows: Iterable[models.Measurement]) -> list[Moved]:
    newest = {row.name: row.detail.get(HOSTS) for row in rows if row.phase in _OF_NOW}
    found = []
    for name, detail in baselines.items():
        before, now = detail.get(HOSTS), newest.get(name)
        if not isinstance(before, Mapping) or not isinstance(now, Mapping):
            continue
        for host in before.keys() & now.keys():
            found += moved.endpoint(f"{name} on {host}", latencies_of(before[host]), latencies_of(now[host]))
    return found
