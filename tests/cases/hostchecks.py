"""Cases of files, documents, the network and what else is on a machine."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.adapters.clock import SystemClock
from tasks.domain.target import Target
from tests.cases import NO_DATABASE, Cases
from tests.certificates import Authority, tls_server
from tests.gits import a_repository

OWN = {"python": sys.executable}
JUNIT = '<testsuite tests="2" {more}><testcase name="a"/><testcase name="b">{bad}</testcase></testsuite>'


def files(**texts: str) -> dict[str, Any]:
    """Put files into the version's code: dots in their names are written ``__``."""

    @contextmanager
    def around(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
        for name, text in texts.items():
            path = Path(target.release_dir, name.replace("__", "."))
            path.write_text(textwrap.dedent(text))
            path.chmod(0o600)
        yield {}, target

    return {"with": around}


@contextmanager
def certified(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    authority = Authority(target.root)
    with tls_server(authority.issue("localhost", "127.0.0.1")) as port:
        yield {"address": f"127.0.0.1:{port}", "ca": str(authority.ca)}, target


@contextmanager
def untrusted(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    with tls_server(Authority(target.root).issue("127.0.0.1")) as port:
        yield {"address": f"127.0.0.1:{port}"}, target


@contextmanager
def in_git(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    yield {"repository": str(a_repository(target.root / "repository", {"a.txt": "a"}, tag="v2"))}, target


@contextmanager
def a_log(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    log = Path(target.release_dir, "app.log")
    log.write_text("INFO before\n")
    size, inode = log.stat().st_size, log.stat().st_ino
    with log.open("a") as file:
        file.write("ERROR now\n")
    offsets = {"offsets": {str(log): {"size": size, "inode": inode}}}
    yield {"files": ["app.log"]}, target.at(baseline={"it": offsets})


@contextmanager
def an_hour_late(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    class Late(SystemClock):
        def now(self) -> datetime:
            return super().now() - timedelta(hours=1)

    yield {}, target.at(world=replace(target.world, clock=Late()))


@contextmanager
def with_certificate(target: Target) -> Iterator[tuple[dict[str, Any], Target]]:
    issued = Authority(target.root).issue("shop.example.org")
    yield {"file": str(issued.cert), "key": str(issued.key)}, target


TWO = files(report__xml=JUNIT.format(more="", bad=""))
ONE_FAILED = files(report__xml=JUNIT.format(more='failures="1"', bad="<failure/>"))
COVERAGE = files(c__json='{"files": {"api/a.py": {"summary": {"covered_lines": 8, "num_statements": 10}}}}')
RUNBOOK = files(doc__md="# Runbook\n\n## Rollback\n\nTechnical Lead: Ada, ada@example.org\n")

CASES: Cases = {
    "file": (
        {"files": ["good.sql"], "pattern": "SELECT"},
        {"files": ["good.sql", "none.sql"]},
        {"files": ["good.sql"], "newer_than": "none.sql"},
    ),
    "document": (
        {"files": ["doc.md"], "sections": ["rollback"], "filled": ["Technical Lead"], "AROUND": RUNBOOK},
        {"files": ["doc.md"], "AROUND": files(doc__md="# Runbook\n\nTechnical Lead: [FILL IN]\n")},
        {"files": ["doc.md"], "AROUND": files(doc__md="x" * (9 << 20))},
    ),
    "env_file": (
        {"file": ".env", "required": ["KEY"], "AROUND": files(__env="KEY=Zk3-something-long\n")},
        {"file": ".env", "required": ["KEY"], "AROUND": files(__env="KEY=changeme\n")},
        {"file": ".env", "example": "none", "AROUND": files(__env="KEY=Zk3-something-long\n")},
    ),
    "tcp": (
        {"addresses": ["127.0.0.1:{port}"]},
        {"addresses": ["127.0.0.1:{port}", "127.0.0.1:1"]},
        {"addresses": ["no-such-name.invalid:1"], "open": False},
    ),
    "dns": (
        {"names": ["localhost"], "addresses": ["127.0.0.0/8", "::1"]},
        {"names": ["localhost"], "addresses": ["10.0.0.0/8"]},
        {"names": ["x" * 70 + ".example"]},
    ),
    "tls": (
        {"address": "filled:1", "AROUND": {"with": certified}},
        {"address": "filled:1", "AROUND": {"with": untrusted}},
        {"address": "127.0.0.1:1"},
    ),
    "certificate": (
        {"file": "filled", "names": ["shop.example.org"], "AROUND": {"with": with_certificate}},
        {"file": "filled", "valid_for": "91d", "AROUND": {"with": with_certificate}},
        {"file": "c.pem", "AROUND": files(c__pem="x" * (9 << 20))},
    ),
    "log": (
        {"files": ["filled"], "max_errors": 1, "AROUND": {"with": a_log}},
        {"files": ["filled"], "AROUND": {"with": a_log}},
        {"files": ["good.sql"]},
    ),
    "git": (
        {"merged_into": "main", "AROUND": {"with": in_git}},
        {"tag": "signed", "AROUND": {"with": in_git}},
        {"repository": "{root}/none"},
    ),
    "secrets_scan": (
        {"AROUND": {"program": "detect-secrets"}},
        {"AROUND": {"program": "detect-secrets"} | files(settings__py='password = "Zk3x9-qq81-ab"\n')},
        {"directory": "none"},
    ),
    "world_writable": (
        {"only": ["*.sql"]},
        {"paths": ["/dev/null"]},
        {"paths": ["none"]},
    ),
    "python_imports": (
        {"modules": ["json:dumps"], **OWN},
        {"modules": ["no_such_module"], **OWN},
        {"modules": ["json"]},
    ),
    "python_code": (
        {"files": ["a.py"], "forbidden": ["os.system"], **OWN, "AROUND": files(a__py="import os\n")},
        {"files": ["a.py"], **OWN, "AROUND": files(a__py="def :\n")},
        {"files": ["a.py"], "AROUND": files(a__py="")},
    ),
    "packages": (
        {"installed": ["pydantic>=2"], "conflicts": True, **OWN},
        {"installed": ["pydantic<1"], "conflicts": True, **OWN},
        {"installed": ["pydantic"]},
    ),
    "junit": (
        {"files": ["report.xml"], "tests": 2, "AROUND": TWO},
        {"files": ["report.xml"], "AROUND": ONE_FAILED},
        {"files": ["none.xml"]},
    ),
    "coverage": (
        {"files": ["c.json"], "at_least": "80%", "AROUND": COVERAGE},
        {"files": ["c.json"], "packages": {"api": "81%"}, "AROUND": COVERAGE},
        {"files": ["c.json"], "packages": {"engine": "1%"}, "AROUND": COVERAGE},
    ),
    "process": (
        {"pattern": "python", "zombies": True, "at_most": 100000},
        {"pattern": "no such (process|command)$"},
        {"pidfile": "good.sql"},
    ),
    "memory": (
        {"available": "1kB"},
        {"available": "1000000TB"},
        {"available": "1kB", "AROUND": {"absent": True}},
    ),
    "cpu": (
        {"cores": 1},
        {"cores": 100000},
        {"cores": 1, "AROUND": {"absent": True}},
    ),
    "cron": (
        {"pattern": "e2scrub|daily", "AROUND": {"program": "crontab"}},
        {"pattern": "no such job", "AROUND": {"program": "crontab"}},
        {"timer": "no-such.timer"},
    ),
    "clock_skew": (
        {"url": "{base_url}/health", "limit": "5s"},
        {"AROUND": {"with": an_hour_late}},
        {"dsn": NO_DATABASE},
    ),
    "capacity": (
        {"relations": ["WORKERS * 5 < max_connections"], "defaults": {"WORKERS": 2}},
        {"relations": ["WORKERS < 2 * cpus + 1"], "defaults": {"WORKERS": 100000}},
        {"relations": ["NO_SUCH_VARIABLE < cpus"]},
    ),
}
