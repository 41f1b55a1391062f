"""A real pgBackRest stanza: a server of the system's packages that archives its log into a repository of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.adapters.pg_account import Account, server_account
from tasks.adapters.pg_binaries import package_directories
from tasks.adapters.pg_cluster import Cluster
from tests.parts import missing, require_part

MAJOR = 15
"""The version of Debian's server, which Debian's pgBackRest (2.45) supports; it does not support 16 or 18."""

CONFIG = """
[global]
repo1-path={directory}/repo
repo1-retention-full=9
lock-path={directory}/lock
log-path={directory}/log
spool-path={directory}/spool
compress-type=none
archive-timeout=30
[main]
pg1-path={directory}/server/data
pg1-port={port}
pg1-socket-path={directory}/server
pg1-user=postgres
"""


@dataclass(frozen=True)
class Stanza:
    """A server with its stanza; ``dsn`` leads to its database postgres, ``options`` are the kind's fields."""

    dsn: str
    directory: Path

    @property
    def options(self) -> dict[str, str]:
        return {"stanza": "main", "config": str(self.directory / "pgbackrest.conf")}

    @property
    def repository(self) -> Path:
        return self.directory / "repo"


def server_programs() -> Path:
    """Return the programs of the system's server, with the contributed extensions."""
    for directory in package_directories(lambda parent: sorted(path.name for path in parent.glob("*"))):
        if directory.parent.name.endswith(str(MAJOR)) and (directory / "postgres").exists():
            return directory
    return missing(f"PostgreSQL {MAJOR} is not installed from packages")


@contextmanager
def running_stanza() -> Iterator[Stanza]:
    """Run a server that archives, until the block ends; then remove it and its repository."""
    pgbackrest, programs, account = require_part("pgbackrest"), server_programs(), server_account()
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    config = directory / "pgbackrest.conf"
    for name in ("repo", "lock", "log", "spool"):
        (directory / name).mkdir(mode=0o700)
        account.own(directory / name)
    cluster = Cluster(directory / "server", programs, account)
    try:
        cluster.make_directory()
        cluster.create(
            {
                "fsync": "off",
                "unix_socket_directories": str(directory / "server"),
                "archive_mode": "on",
                "archive_command": f"{pgbackrest} --config={config} --stanza=main archive-push %p",
            },
            sync=False,
        )
        # Its directory, and so its socket, is for its own user alone.
        rules = directory / "server/data/pg_hba.conf"
        rules.write_text("local all all trust\n" + rules.read_text())
        cluster.start()
        postmaster = cluster.postmaster()
        assert postmaster is not None
        config.write_text(CONFIG.format(directory=directory, port=postmaster.port))
        _create(account, pgbackrest, config)
        yield Stanza(cluster.dsn("postgres"), directory)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def _create(account: Account, pgbackrest: Path, config: Path) -> None:
    argv = [str(pgbackrest), f"--config={config}", "--stanza=main", "stanza-create"]
    done: subprocess.CompletedProcess[str] = account.run(argv, cwd=Path("/"), timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
