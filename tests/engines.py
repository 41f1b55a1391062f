"""A real Docker engine for the tests, with an image that is made of this machine's own Python: no registry is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.platforms.compose import Compose
from tests.parts import missing, require_part
from tests.services import SCRIPT

IMAGE = "golive-test:base"
_PYTHON = "/usr/bin/python3"  # Debian's, which its docker-compose needs too; it lies whole in /usr
_LIBRARIES = ("/lib", "/usr/lib")  # others come with a module
_LEFT_OUT = {"__pycache__", "test", "idlelib", "lib2to3", "tkinter", "ensurepip", "pydoc_data", "dist-packages"}


@contextmanager
def engine() -> Iterator[str]:
    """Start an engine that holds the image, give its address, and end it with all that it holds.

    It is never one that somebody uses: tests remove all that they find in it.
    """
    require_part("docker")
    require_part("dockerd")
    if os.geteuid() != 0:
        missing("dockerd needs root")
    if Path("/sys/class/net/docker0").exists():
        missing("another Docker engine runs here, whose bridge a second one would take away")
    home = Path(tempfile.mkdtemp(prefix="golive-docker-"))
    address = f"unix://{home}/socket"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM", "dockerd", "--host", address, "--data-root", str(home / "data")),
                *("--exec-root", str(home / "exec"), "--pidfile", str(home / "pid"), "--shutdown-timeout", "2"),
                *("--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                *("--default-address-pool", f"base=10.{200 + os.getpid() % 50}.0.0/16,size=26"),
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
        if process.poll() is None:
            clear(address)
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


def clear(address: str) -> None:
    """Remove all containers and networks; a network's bridge would outlive the engine."""
    if ids := _docker(address, "ps", "-aq", check=False).stdout.split():
        _docker(address, "rm", "-f", *ids, check=False)
    _docker(address, "network", "prune", "--force", check=False)


def docker(address: str, *words: str) -> str:
    """Run docker and return what it writes."""
    return _docker(address, *words).stdout.strip()


def _docker(address: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": address}
    return subprocess.run(["docker", *words], env=environment, check=check, capture_output=True, text=True, timeout=60)


def _make_image(address: str) -> None:
    """Make the image of Python and the tests' small service at ``/service.py``."""
    real = Path(_PYTHON).resolve()
    modules = []
    for directory, names, files in os.walk(f"/usr/lib/{real.name}"):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        modules += [Path(directory, file) for file in files]
    image_of(
        address,
        IMAGE,
        ("/bin/sleep", str(real)),
        {_PYTHON: real, "/service.py": SCRIPT, **{str(one): one for one in modules}},
    )


def image_of(
    address: str, name: str, programs: Iterable[str], files: Mapping[str, Path], modules: Iterable[Path] = ()
) -> None:
    """Import an image of programs of this machine, with a shell, and of further files.

    The libraries that the programs and ``modules`` need are in it; the modules themselves are among the files.
    """
    programs = ("/bin/sh", *programs)
    libraries = _needed_by(programs) | {one for one in _needed_by(modules) if one.startswith(_LIBRARIES)}
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in (*sorted(libraries), *programs):
                tar.add(os.path.realpath(path), arcname=path[1:])
            for place, file in files.items():
                tar.add(file.resolve(), arcname=place[1:])
        archive.seek(0)
        environment = {**os.environ, "DOCKER_HOST": address}
        words = ["docker", "import", "-", name]
        subprocess.run(words, env=environment, stdin=archive, check=True, stdout=subprocess.DEVNULL, timeout=60)


def _needed_by(files: Iterable[str | Path]) -> set[str]:
    if not (words := [str(one) for one in files]):
        return set()
    told = subprocess.run(["ldd", *words], check=True, capture_output=True, text=True).stdout
    return {word for word in re.findall(r"/\S+", told) if not word.endswith(":")}


def python_image(address: str, name: str, *distributions: str) -> None:
    """Import an image of Python with distributions of this environment, and with all that they need."""
    real = Path(_PYTHON).resolve()
    files = {f"/usr/lib/{real.name}/{place}": file for place, file in _files_below(Path(f"/usr/lib/{real.name}"))}
    for one in _with_needed(distributions):
        for path in metadata.distribution(one).files or ():
            if not path.parts[0].startswith("..") and (file := Path(str(path.locate()))).is_file():
                files[f"/usr/local/lib/{real.name}/dist-packages/{path}"] = file
    files |= {"/etc/passwd": Path("/etc/passwd"), _PYTHON: real}
    modules = [file for place, file in files.items() if place.endswith(".so")]
    image_of(address, name, ("/bin/sleep", str(real)), files, modules)


def _files_below(directory: Path) -> Iterator[tuple[Path, Path]]:
    for at, names, files in os.walk(directory):
        names[:] = [name for name in names if name not in _LEFT_OUT - {"__pycache__"}]
        yield from ((Path(at, file).relative_to(directory), Path(at, file)) for file in files)


def _with_needed(distributions: Iterable[str]) -> set[str]:
    """Return distributions with those that they need and that are installed."""
    found: set[str] = set()
    todo = list(distributions)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        try:
            needs = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            plain = (need for need in needs if "extra ==" not in need)
            todo += [match[0] for need in plain if (match := re.match(r"[\w.-]+", need))]
    return found


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
      interval: 1s
      timeout: 10s
      start_period: 3s
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
