"""A server of few and small files, for tests that copy and read all of them time and again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_cluster import Cluster
from tasks.adapters.pg_server import Throwaway, installed, usable
from tasks.domain.ports import RunningServer


@contextmanager
def smallest_server(directory: Path, **settings: str) -> Iterator[RunningServer]:
    """Run the newest server with log files of a sixteenth of their usual size, until the block ends; then remove it."""
    account = server_account()
    binaries = usable(max(installed(), key=lambda entry: entry[0])[1], account)
    cluster = Cluster(directory, binaries, account)
    try:
        cluster.make_directory()
        cluster.create({"fsync": "off", "autovacuum": "off", **settings}, sync=False)
        argv = [str(binaries / "pg_resetwal"), "--wal-segsize=1", "--pgdata=data"]
        done = account.run(argv, cwd=cluster.directory, timeout=60)
        assert done.returncode == 0, done.stderr
        cluster.start()
        yield Throwaway(cluster)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def linked(source: Path, target: Path) -> None:
    """Make a directory hold the very files of another and nothing else, by links; what it shares already stays.

    Whoever changes a file of it makes that anew. Links that stay leave the files' times, and so their known sums, be.
    """
    for path in sorted(target.rglob("*"), reverse=True):
        twin = source / path.relative_to(target)
        directory = path.is_dir() and not path.is_symlink()
        if os.path.lexists(twin) and (twin.is_dir() if directory else twin.lstat().st_ino == path.lstat().st_ino):
            continue
        path.rmdir() if directory else path.unlink()
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(source.rglob("*")):
        twin = target / path.relative_to(source)
        if os.path.lexists(twin):
            continue
        if path.is_dir():
            twin.mkdir(mode=0o700)  # as a server wants its own
        else:
            os.link(path, twin)
