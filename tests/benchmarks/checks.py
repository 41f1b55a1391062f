"""A thousand checks of mixed kinds in one run, against the same asked one by one with curl, psql and grep."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.checking import measure_all
from tasks.checks import Check
from tasks.checks.file import File
from tasks.checks.http import Http
from tasks.checks.sql import Sql
from tasks.checks.tcp import Tcp
from tasks.context import world
from tasks.domain.outcome import Outcome
from tasks.domain.target import Target
from tests.benchmarks.production import Production, production
from tests.benchmarks.timing import Stopwatch, interleaved, medians, publish
from tests.flows import wait_until
from tests.services import SCRIPT, free_port

COUNT = 1000
_QUERY = "SELECT count(*) FROM pgbench_branches"


def asked(number: int, url: str, of: Production, file: Path) -> tuple[Check, Callable[[], bool]]:
    """Return one check and the same by hand: four in ten HTTP, four SQL, one TCP, one a file's content."""
    name, port = f"check {number}", url.rpartition(":")[2]
    match number % 10:
        case 0 | 1 | 2 | 3:
            curl = ("curl", "-fsS", "--max-time", "10", f"{url}/work")
            return Http.model_validate({"name": name, "url": f"{url}/work"}), lambda: _says(curl, "v1")
        case 4 | 5 | 6 | 7:
            psql = (str(of.programs / "psql"), "-XtA", of.dsn, "-c", _QUERY)
            return Sql.model_validate({"name": name, "query": _QUERY, "at_least": 1}), lambda: _says(psql, "1")
        case 8:
            connect = ("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo open")
            tcp = Tcp.model_validate({"name": name, "addresses": [f"127.0.0.1:{port}"]})
            return tcp, lambda: _says(connect, "open")
        case _:
            grep = ("grep", "-c", "ready", str(file))
            content = File.model_validate({"name": name, "files": [str(file)], "pattern": "ready"})
            return content, lambda: _says(grep, "1")


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _says(argv: Sequence[str], words: str) -> bool:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.strip() == words


@contextmanager
def service() -> Iterator[str]:
    """Run the tests' small service and give its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(port)], env={**os.environ, "VERSION": "v1"})
    try:
        wait_until(lambda: _answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def main(directory: Path, *, scale: int, documents: int, rounds: int) -> None:
    """Ask all both ways, in turn, and publish; ``scale`` and ``documents`` are not needed."""
    file = directory / "settings"
    file.write_text("ready\n")
    with production(directory / "production", scale=1, documents=1) as of, service() as url:
        every = [asked(number, url, of, file) for number in range(COUNT)]
        target = Target(world(), "shop", "v1", dsn=of.dsn, root=directory, base_url=url)

        def by_hand(watch: Stopwatch) -> None:
            with watch.part("ask"):
                assert all(ask() for _, ask in every)

        def golive(watch: Stopwatch) -> None:
            with watch.part("ask"):
                seen = measure_all([check for check, _ in every], target)
            assert Counter(one.outcome for one in seen) == {Outcome.PASSED: COUNT}

        taken = interleaved({"curl, psql, one by one": by_hand, "golive": golive}, rounds, print)
        publish("checks", {"checks": COUNT, "postgresql": of.version, "rounds": rounds}, medians(taken), {})
