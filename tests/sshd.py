"""A real sshd on the loopback, with its own keys, for tests of what golive does on another machine."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.adapters.ssh import SshHost
from tasks.adapters.ssh_connection import Login
from tests.parts import require_part
from tests.services import free_port


@dataclass
class Sshd:
    """One sshd, the way into it, and its process."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def login(self) -> Login:
        return Login("127.0.0.1", getpass.getuser(), self.port, self.home / "user_key", self.home / "known_hosts")

    def host(self, name: str = "app1", **changes: object) -> SshHost:
        """Return the machine as golive sees it, with other ways in if told so."""
        return SshHost(name, replace(self.login, **changes), sys.executable)  # type: ignore[arg-type]

    def start(self) -> None:
        program = require_part("sshd")
        said = (self.home / "log").open("ab")
        self.process = subprocess.Popen(
            [program, "-D", "-e", "-f", self.home / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        said.close()
        deadline = time.monotonic() + 10
        while b"Server listening" not in (self.home / "log").read_bytes().rpartition(b"starts\n")[2]:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError((self.home / "log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """End sshd and the processes that it has for its connections, as a machine that goes away would."""
        if self.process is None:
            return
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        with (self.home / "log").open("ab") as log:
            log.write(b"starts\n")

    def logins(self) -> int:
        """Return how often somebody was let in."""
        return (self.home / "log").read_text(errors="replace").count("Accepted publickey")

    def new_host_key(self) -> None:
        (self.home / "host_key").unlink()
        _key(self.home / "host_key")

    def _children(self) -> list[int]:
        """Return the processes below sshd that are sshd's own, or all of their connection's."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                    if (entry / "comm").read_text().strip() == "sshd":
                        parents.setdefault(int(stat[1]), []).append(int(entry.name))
        found, look = [], [self.process.pid if self.process else 0]
        while look:
            below = parents.get(look.pop(), [])
            found += below
            look += below
        return found


@contextmanager
def an_sshd() -> Iterator[Sshd]:
    """Run an sshd with keys of its own for this user, on a free port of the loopback."""
    require_part("ssh")
    home = Path(tempfile.mkdtemp(prefix="golive-sshd-"))
    server = Sshd(home, free_port())
    try:
        for name in ("host_key", "user_key"):
            _key(home / name)
        shutil.copy(home / "user_key.pub", home / "authorized_keys")
        public = (home / "host_key.pub").read_text()
        (home / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")
        # Without PAM an account that no password opens, as those of services are, counts as locked.
        pam = "no" if os.geteuid() == 0 else "yes"
        (home / "sshd_config").write_text(
            f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {home}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {home}/authorized_keys\nStrictModes no\nUsePAM {pam}\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel INFO\nMaxStartups 50\n"
            # With this bash does not read what the user who runs the tests has in .bashrc.
            "SetEnv SHLVL=2\n"
            # What a login script prints must not be taken for what a command does.
            'ForceCommand echo hello from a login script; echo and this >&2; eval "$SSH_ORIGINAL_COMMAND"\n'
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _key(path: Path) -> None:
    words = shlex.split("ssh-keygen -q -t ed25519 -N '' -C test -f")
    subprocess.run([*words, str(path)], check=True, stdin=subprocess.DEVNULL)
