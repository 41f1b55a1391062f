from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.adapters.secrets import SecretStore
from tasks.checks.log import Log
from tasks.domain.errors import NotFound
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.looks import F, P, U, look

SECRET = "Zk3x-the-secret"


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"KEY": SECRET}))
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("ERROR before the release\n")
    return path


def add(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def recorded(target: Target, **fields: object) -> Target:
    check = Log.model_validate({"name": "it", "files": ["app.log"], **fields})
    return target.at(baseline={"it": check.record(target)})


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_only_what_was_written_since_the_release_began_counts(target, log):
    before = recorded(target)
    assert look(Log, before, files=["app.log"]).seen == "nothing was written: unknown"
    assert look(Log, before, files=["app.log"], may_be_quiet=True).outcome is P
    add(log, "INFO fine")
    assert look(Log, before, files=["app.log"]).outcome is P
    add(log, "ERROR disk full", "Traceback (most recent call last):")
    reading = look(Log, before, files=["app.log"])
    assert (reading.outcome, reading.value) == (F, 2)
    assert reading.seen == "errors 2 lines ≤ 0 lines: ERROR disk full: failed"
    assert look(Log, before, files=["app.log"], max_errors=2).outcome is P
    assert look(Log, target, files=["app.log"]).outcome is U


def test_a_log_that_was_rotated_or_emptied_is_read_on(target, log, tmp_path):
    before = recorded(target)
    add(log, "ERROR last of the old file")
    log.rename(tmp_path / "app.log.1")
    log.write_text("ERROR first of the new file\n")
    assert look(Log, before, files=["app.log"]).value == 2
    log.write_text("ERROR a\n" * 10)
    before = recorded(target)
    log.write_text("ERROR b\n")
    assert look(Log, before, files=["app.log"]).value == 1


def test_lines_count_by_their_own_time(target, log):
    add(log, f"{ago(90)} ERROR old", "  trace of it", f"{ago(30)} INFO new", f"{ago(20)} ERROR new", "  CRITICAL too")
    assert look(Log, target, files=["app.log"], last="1h").value == 2
    assert look(Log, target, files=["app.log"], last="1h", error="new$").value == 2
    assert look(Log, target, files=["app.log"], last="10 min").outcome is U


def test_a_look_that_comes_late_reads_back_to_the_last_one_and_one_that_comes_early_its_own_time(target, log):
    add(log, f"{ago(90)} ERROR between the two", f"{ago(30)} ERROR lately", f"{ago(10)} INFO it goes on")
    now = target.world.clock.now()
    late, early = (target.at(looked={"it": now - timedelta(minutes=minutes)}) for minutes in (120, 5))
    assert look(Log, late, files=["app.log"], last="1h").value == 2
    assert look(Log, early, files=["app.log"], last="1h").value == 1
    assert look(Log, late, files=["app.log"], last="1h", back_to_last_look=False).value == 1


def test_of_a_large_log_only_the_end_is_read(target, log):
    filler = "x" * 90
    add(log, *(f"{ago(300)} ERROR {filler}" for _ in range(100_000)), f"{ago(1)} ERROR last")
    reading = look(Log, target, files=["app.log"], last="1h")
    assert (reading.value, reading.detail["lines"]) == (1, 1)


def test_patterns_shares_repeats_and_forms_are_judged(target, log):
    before = recorded(target)
    add(log, *(f'"GET /{n}" 200' for n in range(18)), "ERROR id 17 failed", "ERROR id 18 failed")
    fields = {"files": ["app.log"], "max_share": "10%"}
    assert look(Log, before, **fields).outcome is P
    assert look(Log, before, **fields | {"max_share": "9%"}).value == pytest.approx(10)
    assert look(Log, before, **fields | {"of": "GET"}).value == pytest.approx(100 * 2 / 18)
    assert look(Log, before, **fields, of="POST").outcome is U
    assert look(Log, before, **fields, max_repeats=1).seen == "2 × ERROR id # failed, at most 1: failed"
    assert look(Log, before, **fields, ignore=["^ERROR"], required=["GET /17"], forbidden=["ERROR"]).outcome is P
    reading = look(Log, before, **fields, required=["Scheduler started"], forbidden=["GET /1\\d"])
    assert reading.seen.startswith("Scheduler started: 0 lines ≥ 1: failed; GET /1\\d: 8 lines ≤ 0: failed")
    assert "20 lines are no JSON object: failed" in look(Log, before, **fields, json=True).seen
    assert look(Log, before, **fields, max_size="10B").outcome is F


def test_errors_that_were_there_before_the_release_are_not_new(target, log):
    add(log, "ERROR id 1 failed")
    before = recorded(target, only_new=True)
    add(log, "ERROR id 2 failed")
    assert look(Log, before, files=["app.log"], only_new=True).outcome is P
    add(log, "ERROR something else")
    reading = look(Log, before, files=["app.log"], only_new=True)
    assert reading.seen == "new errors 1 lines ≤ 0 lines: ERROR something else: failed"


def test_secrets_in_a_log_are_found_and_not_shown(target, log):
    before = recorded(target)
    add(log, f"ERROR with {SECRET}", "INFO fine", "ERROR postgresql://u:Qq81xy@h/d refused")
    reading = look(Log, before, files=["app.log"], max_errors=9, secrets=["${env:KEY}"])
    assert reading.seen == "1 lines show a secret: failed"
    reading = look(Log, before, files=["app.log"], max_errors=9, credentials=False)
    assert reading.seen == "1 lines show a secret: failed"
    assert SECRET not in repr(look(Log, before, files=["app.log"], secrets=["${env:KEY}"]))
    assert "Qq81xy" not in repr(reading)


def test_a_command_may_print_the_log(target):
    argv = ["sh", "-c", "echo since $0; echo ERROR >&2", "{since}"]
    reading = look(Log, target, argv=argv, last="1h", required=[r"^since \d{4}-\d\d-\d\dT"])
    assert (reading.outcome, reading.value) == (F, 1)
    assert "errors 1 lines" in reading.seen


def test_a_log_that_is_not_there_is_unknown_and_cannot_be_recorded(target):
    assert look(Log, target, files=["none.log"]).outcome is U
    with pytest.raises(NotFound):
        Log.model_validate({"name": "it", "files": ["none.log"]}).record(target)


@pytest.mark.parametrize(
    "fields",
    [{}, {"files": ["a"], "argv": ["b"], "last": "1h"}, {"argv": ["b"]}, {"files": ["a"], "error": "("},
     {"files": ["a"], "of": "x"}, {"files": ["a"], "timezone": "Nowhere"}],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(fields):
    with pytest.raises(ValidationError):
        Log.model_validate({"name": "it", **fields})
