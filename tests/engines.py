"""A real Docker engine for the tests, with an image that is made of this machine's own Python: no registry is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.platforms.compose import Compose
from tests.parts import missing, require_part
from tests.services import SCRIPT

IMAGE = "golive-test:base"
_PYTHON = "/usr/bin/python3"  # Debian's, which its docker-compose needs too; it lies whole in /usr
_LEFT_OUT = {"__pycache__", "test", "idlelib", "lib2to3", "tkinter", "ensurepip", "pydoc_data", "dist-packages"}


@contextmanager
def engine() -> Iterator[str]:
    """Give the address of an engine that holds the image: the one that ``DOCKER_HOST`` names, or one started for it.

    A started one leaves the machine's network as it is: no bridge, no rules.
    """
    require_part("docker")
    if address := os.environ.get("DOCKER_HOST"):
        _make_image(address)
        yield address
        return
    require_part("dockerd")
    if os.geteuid() != 0:
        missing("dockerd needs root, and DOCKER_HOST names no engine")
    home = Path(tempfile.mkdtemp(prefix="golive-docker-"))
    address = f"unix://{home}/socket"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM", "dockerd", "--host", address, "--data-root", str(home / "data")),
                *("--exec-root", str(home / "exec"), "--pidfile", str(home / "pid"), "--shutdown-timeout", "2"),
                *("--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 30
        while _docker(address, "version", check=False).returncode:
            if process.poll() is not None or time.monotonic() > end:
                missing(f"dockerd does not start here: {(home / 'log').read_text()[-500:]}")
            time.sleep(0.1)
        _make_image(address)
        yield address
    finally:
        ids = _docker(address, "ps", "-aq", check=False).stdout.split()
        if ids:
            _docker(address, "rm", "-f", *ids, check=False)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        _unmount(home)
        shutil.rmtree(home, ignore_errors=True)


def _unmount(home: Path) -> None:
    """Let go of what dockerd leaves mounted, the default network's name space at least."""
    mounted = (line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    for place in sorted((one for one in mounted if one.startswith(f"{home}/")), reverse=True):
        subprocess.run(["umount", place], check=False, timeout=20)


def docker(address: str, *words: str) -> str:
    """Run docker and return what it writes."""
    return _docker(address, *words).stdout.strip()


def _docker(address: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": address}
    return subprocess.run(["docker", *words], env=environment, check=check, capture_output=True, text=True, timeout=60)


def _make_image(address: str) -> None:
    """Import Python with the libraries it needs, a shell, and the tests' small service at ``/service.py``."""
    real = Path(_PYTHON).resolve()
    programs = ("/bin/sh", "/bin/sleep", str(real))
    told = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    libraries = {word for word in re.findall(r"/\S+", told) if not word.endswith(":")}
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in (*sorted(libraries), *programs):
                tar.add(os.path.realpath(path), arcname=path[1:])
            tar.add(real, arcname=_PYTHON[1:])
            tar.add(SCRIPT, arcname="service.py")
            for directory, names, files in os.walk(f"/usr/lib/{real.name}"):
                names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
                for file in files:
                    tar.add(os.path.realpath(Path(directory, file)), arcname=str(Path(directory, file))[1:])
        archive.seek(0)
        environment = {**os.environ, "DOCKER_HOST": address}
        subprocess.run(["docker", "import", "-", IMAGE], env=environment, stdin=archive, check=True, stdout=-3)


GENERATIONS = ("v1", "v2")


def require_generation(generation: str) -> None:
    """Skip the test, or fail it in CI, unless that generation of Compose is installed."""
    if generation == "v1":
        require_part("docker-compose")
    elif subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        missing("docker compose is not installed")


FILE = """
services:
  web:
    image: ${IMAGE}
    command: [/usr/bin/python3, /service.py, "${PORT}"]
    network_mode: host
    restart: unless-stopped
    depends_on: [shared]
    environment: {VERSION: "${VERSION}", DSN: "${DSN}", FAULT: "${FAULT:-}"}
    healthcheck:
      test: [CMD, /usr/bin/python3, -c, "import urllib.request as u; u.urlopen('http://127.0.0.1:${PORT}/health')"]
      interval: 250ms
      timeout: 5s
      retries: 2
  worker:
    image: ${IMAGE}
    command: [/bin/sleep, "1000"]
    network_mode: host
    restart: always
    init: true
    profiles: [work]
  shared:
    image: no-such-image:1
"""
"""A Compose file with what answers, what works by itself, and what no version starts."""


def compose(address: str, **fields: Any) -> Compose:
    """Return a platform that runs the small service in containers, with further settings."""
    variables = {"PORT": "{port}", "VERSION": "{version}", "DSN": "{dsn}", "IMAGE": IMAGE} | fields.pop("variables", {})
    services = {"web": "web", "worker": "background"}
    plain = {"services": services, "profiles": ["work"], "engine": address, "stop_wait": "2s", "start_within": "20s"}
    return Compose.model_validate(plain | {"environment": variables} | fields)
