"""Makes checks: concurrently, each within its time, with what was seen put on record."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from tasks.acting import LOG, act, alone, called, shared_out
from tasks.adapters.secrets import MASK
from tasks.checks import Check
from tasks.context import Context, context_of
from tasks.domain.errors import ChecksFailed, GoliveError, Inconclusive
from tasks.domain.outcome import Measurement, Outcome, Reading, unknown, verdict
from tasks.domain.target import Target
from tasks.everywhere import LONGEST_SEEN, on_its_machines, recorded
from tasks.ledger.releases import Claim

AT_ONCE = 16
"""How many checks of a target look at the same time."""
RUNNER: Any = ThreadPoolTaskRunner(max_workers=AT_ONCE)
"""What runs the looks that a flow starts as Prefect tasks: no more of them at a time than that."""
TRIES = 3
"""How often a look that the checker itself could not make is repeated within the check's time."""
GRACE = 2.0
"""Seconds beyond its own timeout after which a check that does not come back is left behind."""


def measure(check: Check, target: Target, *, tries: int = TRIES) -> Measurement:
    """Make one check and return what it saw; trouble of the look itself is ``unknown``, never an exception."""
    clock = target.world.clock
    at, began = clock.now(), clock.monotonic()
    reading = on_its_machines(check, target, lambda there, host: _looked(check, there, host, tries))
    return _recorded(check, reading, at, clock.monotonic() - began)


def _looked(check: Check, target: Target, host: str, tries: int) -> Reading:
    clock = target.world.clock
    began = clock.monotonic()
    for left in reversed(range(tries)):
        try:
            if host:
                # Else a kind might take a host that cannot be reached for an answer to what it asks there.
                target.world.host.exists(target.root)
            return _masked(check.look(target), target)
        except GoliveError as error:
            reading = _masked(unknown(f"{error.id}: {error}"), target)
            if not error.retryable or not left or clock.monotonic() - began > check.timeout / 2:
                return reading
            clock.sleep(0.2)
        except Exception as error:  # noqa: BLE001 - a check that breaks has not looked: that is unknown, and said
            return _masked(unknown(f"{type(error).__name__}: {error}"), target)
    return unknown("not looked at")


def _recorded(check: Check, reading: Reading, at: Any, took: float) -> Measurement:
    return Measurement(
        check=check.name,
        kind=check.kind,
        reading=reading,
        at=at,
        took=took,
        advisory=check.advisory,
        covers=check.covers,
        help=check.help or check.advice,
    )


def _masked(reading: Reading, target: Target) -> Reading:
    mask = target.world.secrets.mask
    # Each text on its own: within JSON a secret may be escaped, and masking might break the syntax.
    detail = _texts_masked(json.loads(json.dumps(dict(reading.detail), default=str)), mask)
    return replace(reading, seen=mask(reading.seen)[:LONGEST_SEEN], detail=detail)


def _texts_masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_texts_masked(below, mask) for below in value]
    if isinstance(value, dict):
        named = {mask(key): _texts_masked(below, mask) for key, below in value.items()}
        return {k: MASK if k.lower() == "password" and isinstance(below, str) else below for k, below in named.items()}
    return value


def measure_all(checks: Sequence[Check], target: Target, *, at_once: int = AT_ONCE) -> list[Measurement]:
    """Make checks at the same time and return what each saw, in their order; those that look alone come after.

    One that overruns its timeout by more than `GRACE` is left behind as ``unknown``.
    """
    return measure_each([(check, target) for check in checks], at_once=at_once)


def measure_each(looks: Sequence[tuple[Check, Target]], *, at_once: int = AT_ONCE) -> list[Measurement]:
    """Make checks as `measure_all` does, each at a target of its own."""
    beside = _at_once([look for look in looks if not look[0].alone], at_once)
    after = [one for look in looks if look[0].alone for one in _at_once([look], 1)]
    seen = {False: iter(beside), True: iter(after)}
    return [next(seen[check.alone]) for check, _ in looks]


def _at_once(looks: Sequence[tuple[Check, Target]], most: int) -> list[Measurement]:
    if not looks:
        return []
    checks = [check for check, _ in looks]
    clock = looks[0][1].world.clock
    began_at, began = clock.now(), clock.monotonic()
    pool = ThreadPoolExecutor(min(most, len(checks)), thread_name_prefix="check")
    try:
        futures = [pool.submit(measure, check, target) for check, target in looks]
        seen = []
        for check, future in zip(checks, futures, strict=True):
            try:
                # All began together: what one has waited for is not granted to the next once more.
                left = _patience(checks, check, most) - (clock.monotonic() - began)
                seen.append(future.result(timeout=max(0.0, left)))
            except FutureTimeout:
                late = unknown(f"no answer within {check.timeout:g} s")
                seen.append(_recorded(check, late, began_at, clock.monotonic() - began))
        return seen
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _patience(checks: Sequence[Check], check: Check, most: int) -> float:
    queue = sum(other.timeout for other in checks) / most if len(checks) > most else 0.0
    return float(check.timeout + queue + GRACE)


def look_at(
    ctx: Context, phase: str, checks: Sequence[Check], target: Target, *, at_once: int = AT_ONCE
) -> list[Measurement]:
    """Make checks and put what they saw on record under ``phase``."""
    names = [check.name for check in checks if hasattr(check, "record")]
    evidence, release_id = ctx.ledger.evidence, ctx.release.id
    before = {"earlier": evidence.counted(release_id, phase, names), "looked": evidence.last_results(release_id, phase)}
    seen = measure_all(checks, target.at(**before), at_once=at_once)
    ctx.ledger.evidence.measured(ctx.release.id, phase, seen)
    for one in seen:
        level = logging.INFO if one.outcome is Outcome.PASSED else logging.WARNING
        LOG.log(level, "%s: %s: %s: %s", phase, one.check, one.outcome, one.reading.seen)
    return seen


def record_each(ctx: Context, checks: Sequence[Check], target: Target) -> dict[str, int]:
    """Put on record what the version that serves now does, and return the number of samples of each check.

    A check that the version cannot pass yet, because what it asks is new, gets no baseline; that is no error.
    """
    counts: dict[str, int] = {}
    for check in checks:
        record = getattr(check, "record", None)
        if record is None:
            continue
        try:
            detail = recorded(check, record, target)
        except GoliveError as error:
            ctx.world.progress(f"no baseline for {check.name}: {ctx.world.secrets.mask(str(error))}")
            continue
        ctx.ledger.evidence.baseline(ctx.release.id, check.name, detail)
        counts[check.name] = len(detail.get("latencies", ()))
    return counts


@act
def look(claim: Claim, phase: str, names: Sequence[str], at_once: int = AT_ONCE) -> list[Measurement]:
    """Make the named checks of a phase against production."""
    ctx = context_of(claim)
    checks = [check for check in ctx.file.checks.of(phase) if check.name in names]
    return look_at(ctx, phase, checks, ctx.target(), at_once=at_once)


def start_looks(claim: Claim, *phases: str, advisory: bool = True) -> list[Any]:
    """Start the checks of phases as Prefect tasks, one for each as long as they are few, and return their futures.

    Many share tasks, in which they look one after the other: the flow's `RUNNER` alone says how many look at once.
    Those that look alone begin when all others have ended, one phase after the other.
    """
    ctx = context_of(claim)
    checks = {p: [one for one in ctx.file.checks.of(p) if advisory or not one.advisory] for p in phases}
    started: list[Any] = []
    if alone():
        for phase, found in checks.items():
            together: Future[list[Measurement]] = Future()
            # Without Prefect all are one look, at once all the same.
            together.set_result(look(claim, phase, [check.name for check in found]))
            started.append(together)
        return started
    for phase, found in checks.items():
        shares = shared_out([check.name for check in found if not check.alone])
        started += [_start(claim, phase, name, names, ()) for name, names in shares]
    for phase, found in checks.items():
        if names := [check.name for check in found if check.alone]:
            started.append(_start(claim, phase, called(names), names, tuple(started)))
    return started


def _start(claim: Claim, phase: str, name: str, names: Sequence[str], after: Sequence[Any]) -> Any:
    return look.with_options(task_run_name=name).submit(
        claim, phase, names, at_once=1, return_state=False, wait_for=after
    )


def require(seen: Sequence[Measurement], phase: str, *, needed: bool = False) -> None:
    """Raise `ChecksFailed` or `Inconclusive` unless all checks that decide have passed.

    Where a check is ``needed``, nothing that decides is inconclusive; elsewhere none at all is fine.
    """
    if all(one.advisory for one in seen):
        if needed:
            raise Inconclusive(
                f"none of {len(seen)} checks decides" if seen else "nothing was checked",
                expected="at least one check that is not advisory",
                where=phase,
                do="add one to checks.compatibility in the release file",
            )
        return
    outcome = verdict(seen)
    if outcome is Outcome.PASSED:
        return
    bad = [one for one in seen if one.outcome is outcome and not one.advisory]
    lines = "; ".join(f"{one.check}: {one.reading.seen}" for one in bad[:5])
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    hints = " ".join(dict.fromkeys(one.help for one in bad if one.help))
    kind = ChecksFailed if outcome is Outcome.FAILED else Inconclusive
    raise kind(
        f"{len(bad)} of {len(seen)} checks {outcome.value}: {lines}{more}",
        where=phase,
        do=hints
        or ("mend it and start again" if outcome is Outcome.FAILED else "find out why nothing could be learnt"),
    )
