"""Real Prometheus, Alertmanager and Redis on loopback, with small configurations, each ended by its own process."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts import require_part
from tests.services import free_port

RULES = """
groups:
  - name: demo
    interval: 1s
    rules:
      - {record: "demo:up", expr: "sum(up)"}
      - {alert: AlwaysFires, expr: "vector(1)", labels: {severity: info}}
      - {alert: NeverFires, expr: "vector(1) > 2", labels: {severity: critical}}
      - {alert: Broken, expr: "label_replace(up, 'x', '$1', 'job', '(') > 0"}
"""
ROUTES = """
route: {receiver: nobody, group_by: ['...'], group_wait: 1s, routes: [{receiver: ops, matchers: ['team="ops"']}]}
inhibit_rules:
  - {source_matchers: ['alertname="TheHostIsGone"'], target_matchers: ['severity="warning"'], equal: [run]}
receivers: [{name: nobody}, {name: ops, webhook_configs: [{url: "WEBHOOK"}]}]
"""


def got(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text[:1] in {b"{", b"["} else text


def posted(url: str, body: object) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        answer.read()


def until(what: Callable[[], object], process: subprocess.Popen[bytes], log: Path, within: float = 30.0) -> None:
    """Wait until something is so; a server that has ended or takes too long shows its log."""
    end = time.monotonic() + within
    while True:
        try:
            if what():
                return
        except (urllib.error.URLError, OSError, subprocess.CalledProcessError):
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(log.read_text()[-2000:])
        time.sleep(0.05)


@contextmanager
def running(words: Sequence[object], directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = directory / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([str(word) for word in words], cwd=directory, stdout=file, stderr=file)
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def ready(words: Sequence[object], directory: Path, url: str) -> Iterator[None]:
    """Run a Prometheus or an Alertmanager during a block, which begins when it is ready at its address."""
    with running(words, directory) as (process, log):
        until(lambda: got(f"{url}/-/ready"), process, log)
        yield


@contextmanager
def prometheus(directory: Path, rules: str = RULES, more: Sequence[str] = ()) -> Iterator[str]:
    """Run a Prometheus that scrapes itself each second, a target that is down, and ``more``; give its address."""
    program, port = require_part("prometheus"), free_port()
    jobs = [
        {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
        {"job_name": "down", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
        {"job_name": "late", "scrape_interval": "1y", "scrape_timeout": "1s", "static_configs": [{"targets": ["x:1"]}]},
    ]
    jobs += [{"job_name": target, "static_configs": [{"targets": [target]}]} for target in more]
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": jobs}
    (directory / "rules.yml").write_text(rules)
    (directory / "prometheus.yml").write_text(json.dumps(config))
    words = [
        program, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={directory}/data", "--log.level=warn",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def seen_all() -> bool:
        scraped = got(f"{url}/api/v1/query?query=up")["data"]["result"]
        recorded = got(f"{url}/api/v1/query?query=demo:up")["data"]["result"]
        rules = [rule for group in got(f"{url}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
        return len(scraped) == 2 + len(more) and bool(recorded) and all(rule["health"] != "unknown" for rule in rules)

    with running(words, directory) as (process, log):
        until(seen_all, process, log)
        yield url


@contextmanager
def alertmanager(directory: Path, webhook: str = "http://127.0.0.1:1/") -> Iterator[str]:
    """Run an Alertmanager that tells nobody, and the webhook of alerts of the team ops; give its address."""
    program, port = require_part("prometheus-alertmanager"), free_port()
    (directory / "alertmanager.yml").write_text(ROUTES.replace("WEBHOOK", webhook))
    words = [
        program, "--config.file=alertmanager.yml", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.path={directory}/data", "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with ready(words, directory, url):
        yield url


@contextmanager
def redis(directory: Path, password: str = "") -> Iterator[int]:
    """Run a Redis that keeps nothing on disk; give its port."""
    program, port = require_part("redis-server"), free_port()
    words = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]
    words += ["--requirepass", password] if password else []

    def answers() -> bool:
        return b"Ready to accept" in (directory / "log").read_bytes()

    with running(words, directory) as (process, log):
        until(answers, process, log)
        yield port
