"""The main job as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.timeout(420)]
ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path) -> subprocess.Popen[str]:
    """Start the demo with a temporary directory of its own below the system's, which PostgreSQL's account can reach."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_running(home: str) -> list[str]:
    """Return the command lines of processes that still work below the demo's directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if int(entry.name) != os.getpid() and home in f"{words} {environment} {place}":
            found.append(words)
    return found


def test_the_demo_releases_one_version_and_takes_another_back(tmp_path: Path) -> None:
    process = start(tmp_path)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output[-3000:]
    assert re.search(r"v1 → v2: \d+ requests sent, 0 failed", output)
    assert "v1 → v2: stable" in output
    assert "v2 → v3: rolled_back" in output
    reports = [tmp_path / line.removeprefix("report: ").strip() for line in output.splitlines() if "report: " in line]
    assert len(reports) == 2
    assert all(report.stat().st_size > 10_000 for report in reports)
    home = re.search(r"working below (\S+)", output)
    assert home is not None
    assert not Path(home[1]).exists()
    assert left_running(home[1]) == []


def test_ctrl_c_ends_everything_that_the_demo_started(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    home = ""
    for line in process.stdout:
        if match := re.search(r"working below (\S+)", line):
            home = match[1]
        if "v1 is deployed" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output[-3000:]
    assert home
    assert not Path(home).exists()
    assert left_running(home) == []
