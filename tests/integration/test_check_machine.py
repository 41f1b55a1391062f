from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.clock import SystemClock
from tasks.adapters.host import LocalHost
from tasks.adapters.secrets import SecretStore
from tasks.checks.capacity import Capacity
from tasks.checks.clock_skew import ClockSkew
from tasks.checks.cpu import Cpu
from tasks.checks.cron import Cron
from tasks.checks.log import Log
from tasks.checks.memory import Memory
from tasks.checks.process import Process
from tasks.domain.outcome import Reading
from tasks.domain.ports import Command, Finished, World
from tasks.domain.target import Target
from tests.looks import F, P, U, look
from tests.managers import comes

MARK = "golive-process-of-a-test"
FORKED = """
import os, sys, time
if os.fork() == 0:
    os._exit(0)
while True:
    pass
"""


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"WORKERS": "4", "WORD": "many"}))
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


@pytest.fixture
def sleeping():
    mark = f"{MARK}-{os.getpid()}"
    started = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark]) for _ in range(2)]
    yield mark, started
    for one in started:
        one.kill()
        one.wait()


def test_processes_are_counted_and_judged_by_their_command_line(target, sleeping, tmp_path):
    mark, started = sleeping
    user = Path(tmp_path).owner()
    fields = {"pattern": f"{mark}$"}
    assert look(Process, target, **fields, at_least=2, at_most=2, user=user, max_age="1h").outcome is P
    assert look(Process, target, **fields, at_least=3).seen == f"{mark}$ 2 processes ≥ 3 processes: failed"
    assert look(Process, target, **fields, at_most=0).outcome is F
    assert look(Process, target, pattern=f"{mark}-none", at_most=0).outcome is P
    assert look(Process, target, pattern=f"{mark}-none").outcome is F
    reading = look(Process, target, **fields, not_user=user, min_age="1h", max_memory="1kB", max_total_memory="1kB")
    for words in ("youngest runs for", "run as", "largest", "together"):
        assert words in reading.seen
    assert reading.outcome is F
    (tmp_path / "pid").write_text(f"{started[0].pid}\n")
    assert look(Process, target, pidfile="pid", at_most=1).outcome is P
    (tmp_path / "pid").write_text("not yet")
    assert look(Process, target, pidfile="pid").outcome is U
    assert look(Process, target, pidfile="none").outcome is F


def test_a_process_that_leaves_zombies_or_burns_cpu_fails(target):
    mark = f"{MARK}-forked-{os.getpid()}"
    burning = subprocess.Popen([sys.executable, "-c", FORKED, mark])
    try:
        deadline = time.monotonic() + 30
        while "is a zombie: failed" not in (seen := look(Process, target, pattern=mark).seen):
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        assert look(Process, target, pattern=mark, zombies=True, max_cpu=1, sample="300ms").outcome is F
        assert look(Process, target, pattern=mark, zombies=True, max_cpu=1000, sample="100ms").outcome is P
    finally:
        burning.kill()
        burning.wait()


class HostWithTools(LocalHost):
    """This machine with programs of a directory before its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, command: Command) -> Finished:
        own = self.directory / command.argv[0]
        return super().run(replace(command, argv=(str(own), *command.argv[1:])) if own.exists() else command)


def saying(target: Target, tmp_path: Path, program: str, text: str) -> Target:
    path = tmp_path / "tools" / program
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(0o755)
    return target.at(world=replace(target.world, host=HostWithTools(path.parent)))


class HostInside(LocalHost):
    """A machine of which systemd and processes are those of the tests' own systemd."""

    def __init__(self, prefix: tuple[str, ...]) -> None:
        self.prefix = prefix

    def run(self, command: Command) -> Finished:
        inside = command.argv[0] in {"systemctl", "ps", "journalctl"}
        return super().run(replace(command, argv=(*self.prefix, *command.argv)) if inside else command)


def test_units_and_timers_of_systemd_are_judged_by_their_state(systemd_manager, target):
    units = systemd_manager.directory / "units"
    head = "[Unit]\nDefaultDependencies=no\n"
    run = "[Service]\nExecStart=/bin/sh -c '/bin/sleep 1000 & exec /bin/sleep 1000'\n"
    (units / "checked.service").write_text(head + run)
    (units / "once.service").write_text(f"{head}[Service]\nType=oneshot\nExecStart=/bin/true\n")
    (units / "once.timer").write_text(f"{head}[Timer]\nOnActiveSec=10ms\nAccuracySec=1ms\n")
    (units / "later.timer").write_text(f"{head}[Timer]\nOnActiveSec=1d\nUnit=once.service\n")
    systemd_manager.systemctl("daemon-reload")
    systemd_manager.systemctl("start", "checked.service", "once.timer", "later.timer")
    inside = target.at(world=replace(target.world, host=HostInside(systemd_manager.prefix)))
    assert comes(lambda: look(Process, inside, unit="checked.service", at_least=2, at_most=2).outcome is P)
    assert look(Process, inside, unit="checked.service", at_most=0).outcome is F
    assert comes(lambda: look(Cron, inside, timer="once.timer", at_least_every="1h").outcome is P)
    assert look(Cron, inside, timer="once.timer", at_least_every="1ms").outcome is F
    assert look(Cron, inside, timer="later.timer").outcome is P
    assert look(Cron, inside, timer="later.timer", at_least_every="1h").seen == "later.timer did not run yet: unknown"
    systemd_manager.systemctl("stop", "checked.service")
    assert look(Process, inside, unit="checked.service").seen == "checked.service is loaded, inactive, dead"
    assert look(Process, inside, unit="none.service").seen == "none.service is not-found, inactive, dead"
    assert look(Cron, inside, timer="none.timer").seen == "none.timer is not-found, inactive: failed"


def test_what_a_unit_wrote_to_the_journal_is_read_from_a_moment_on(systemd_manager, target):
    script = "echo begun; echo ERROR: broken"
    unit = f"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c '{script}'\n"
    (systemd_manager.directory / "units" / "told.service").write_text(unit)
    systemd_manager.systemctl("daemon-reload")
    inside = target.at(world=replace(target.world, host=HostInside(systemd_manager.prefix)))
    argv = ["journalctl", "--quiet", "--output=cat", "--identifier=sh", "--unit=told", "--since=@{epoch}"]

    def journal(**more: Any) -> Reading:
        return look(Log, inside, argv=argv, last="1h", required=["begun"], **more)

    assert (journal().outcome, journal().seen) == (U, "nothing was written: unknown")
    systemd_manager.systemctl("start", "told.service")
    assert comes(lambda: journal(max_errors=1).outcome is P)
    reading = journal()
    assert (reading.outcome, reading.value) == (F, 1)
    assert "ERROR: broken" in reading.seen
    later = [word.replace("{epoch}", "4102444800") for word in argv]
    assert look(Log, inside, argv=later, last="1h").outcome is U


def test_a_job_of_cron_is_found_with_its_schedule_unless_it_is_commented_out(target, tmp_path):
    table = (
        "MAILTO=ops@example.org\n# 0 1 * * * /usr/local/bin/health_check.sh\n"
        "0  2 * * *  /usr/local/bin/daily_backup.sh --all\n@hourly /usr/local/bin/rotate\n"
    )
    target = saying(target, tmp_path, "crontab", table)
    assert look(Cron, target, pattern=r"daily_backup\.sh", schedule="0 2 * * *", at_least_every="1d").outcome is P
    reading = look(Cron, target, pattern="daily_backup", schedule="0 3 * * *")
    assert "0 2 * * * = 0 3 * * *: failed" in reading.seen
    rare = look(Cron, target, pattern="daily_backup", at_least_every="12h")
    assert "24 h between runs ≤ 12 h: failed" in rare.seen
    assert look(Cron, target, pattern="rotate", schedule="0 * * * *", at_least_every="1h").outcome is P
    assert look(Cron, target, pattern="health_check").outcome is F


def test_a_crontab_that_cannot_be_read_is_not_taken_for_empty(target, tmp_path):
    target = saying(target, tmp_path, "crontab", "")
    (tmp_path / "tools" / "crontab").write_text("#!/bin/sh\necho 'must be privileged to use -u' >&2; exit 1\n")
    assert look(Cron, target, pattern="backup-of-a-test", user="postgres").outcome is U
    (tmp_path / "tools" / "crontab").write_text("#!/bin/sh\necho 'no crontab for postgres' >&2; exit 1\n")
    assert look(Cron, target, pattern="backup-of-a-test", user="postgres").outcome is F


def test_memory_and_processors_are_told_with_their_limits(target):
    reading = look(Memory, target, total="1MB", available="1MB", available_share="0.1%", max_swap_used="1000TB")
    assert reading.outcome is P
    assert reading.detail["total"] >= reading.detail["available"]
    assert look(Memory, target, total="1000TB").outcome is F
    assert look(Cpu, target, cores=os.cpu_count(), max_busy="100%", sample="100ms", max_load=10000).outcome is P
    assert look(Cpu, target, cores=10000).seen.endswith("≥ 10000 cores: failed")
    for kind in (Memory, Cpu):
        with pytest.raises(ValidationError, match="is needed"):
            kind.model_validate({"name": "it"})


def test_clocks_are_compared_within_the_doubt_of_the_answer_s_way(target, database):
    target = target.at(dsn=database)
    assert look(ClockSkew, target).outcome is P

    class Early(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(minutes=1)

    early = target.at(world=replace(target.world, clock=Early()))
    reading = look(ClockSkew, early)
    assert reading.outcome is F
    assert reading.value == pytest.approx(60, abs=1)
    assert "the machine is" in reading.seen
    assert "the database is" in reading.seen
    assert look(ClockSkew, target, limit="1ms", host=True, dsn=None).outcome in {P, U}


def test_settings_are_reckoned_against_the_machine_and_the_server(target, database, tmp_path):
    (tmp_path / ".env").write_text("WORKERS=30\nPOOL=5\nWORD=many\n")
    target = target.at(dsn=database)
    fits = ["WORKERS * (POOL + OVERFLOW) < max_connections - superuser_reserved_connections - reserved_connections"]
    assert look(Capacity, target, relations=fits, defaults={"POOL": 5, "OVERFLOW": 2}).outcome is P
    reading = look(Capacity, target, relations=fits, file=".env", defaults={"OVERFLOW": 2})
    assert reading.outcome is F
    assert reading.value == 210
    assert look(Capacity, target, relations=["WORKERS <= 2 * cpus + 1", "memory_mb > 1"], file=".env").limit
    assert look(Capacity, target, relations=["WORD < 5"], defaults={"WORD": 1}).outcome is U
    assert look(Capacity, target, relations=["WORKERS / (cpus - cpus) > 1"]).outcome is U


WRONG = ["1", "a < b < c", "__import__('os') < 1", "a.b < 1", "a ** 9 < 1", "'a' < 1", "a <", "True < 1"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_plain_comparison_is_refused(text):
    with pytest.raises(ValidationError, match="relations"):
        Capacity.model_validate({"name": "it", "relations": [text]})
