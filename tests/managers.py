"""A systemd of the tests' own: its first process in name spaces of its own, and a user's manager in it.

Files and the loopback are the machine's, so that what it runs can be reached. Its control groups, /run and journal are
not; and above all it sees none of the machine's units and rules: those would empty /tmp, as they do at each boot.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.parts import missing, require_part

USER_UNITS = "home/.config/systemd/user"
"""Where the user's manager has its units, below the directory."""

_OUTER = """
set -e
group=golive-test-$1
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/$group
sh -c 'echo $$ > /sys/fs/cgroup/$0/cgroup.procs
exec unshare --cgroup --ipc --uts --mount --pid --mount-proc --fork --kill-child sh -c "$1" sh "$2"' \
    "$group" "$3" "$2" &
echo $!
cat > /dev/null || true
kill -9 $! || true
wait || true
for _ in 1 2 3 4 5 6 7 8 9 10; do
  find /sys/fs/cgroup/$group -depth -type d -exec rmdir {} + 2> /dev/null && exit
  sleep 0.2
done
"""
"""Ends what it began when its input ends, also if the test's process was killed."""

_INNER = """
set -e
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=755 none /run
mount --bind "$1/units" /etc/systemd/system
mount --bind "$1/machine-id" /etc/machine-id || true
if [ -d /var/log/journal ]; then mount -t tmpfs none /var/log/journal; fi
mount --bind -o ro /proc/sys /proc/sys
for rules in /usr/lib/tmpfiles.d /etc/tmpfiles.d /usr/lib/sysctl.d /etc/sysctl.d /usr/lib/modules-load.d; do
  if [ -d $rules ]; then mount -t tmpfs none $rules; fi
done
for units in /lib/systemd/system /usr/lib/systemd/system /usr/lib/systemd/user /etc/systemd/user; do
  if [ -d $units ]; then mount -t tmpfs none $units; fi
done
exec env -i PATH="$PATH" container=other SYSTEMD_UNIT_PATH=/etc/systemd/system \
  /lib/systemd/systemd --system --unit=golive-test.target --show-status=no
"""

_TARGETS = ("sysinit", "basic", "shutdown", "multi-user", "network", "default")
"""What every unit depends upon; here they bring in nothing."""

_UNITS = {
    "golive-test.target": """[Unit]
DefaultDependencies=no
Wants=systemd-journald.service golive-test-user.service
""",
    "systemd-journald.service": """[Unit]
DefaultDependencies=no
[Service]
Type=notify
ExecStart=/lib/systemd/systemd-journald
Sockets=systemd-journald.socket
StandardOutput=null
""",
    "systemd-journald.socket": """[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
PassCredentials=yes
""",
    "golive-test-user.service": """[Unit]
DefaultDependencies=no
[Service]
Type=notify
Delegate=yes
Environment=XDG_RUNTIME_DIR={directory}/run HOME={directory}/home
Environment=SYSTEMD_UNIT_PATH={directory}/home/.config/systemd/user
ExecStart=/lib/systemd/systemd --user --unit=golive-test.target
""",
}


@dataclass(frozen=True)
class Manager:
    """A running systemd: where its units lie, and what stands before a command that is to reach it."""

    directory: Path
    prefix: tuple[str, ...]

    def systemctl(self, *words: str) -> str:
        """Return what systemctl prints, whatever its exit code."""
        return subprocess.run(
            [*self.prefix, "systemctl", *words], check=False, capture_output=True, text=True, timeout=60
        ).stdout


@contextmanager
def systemd_running() -> Iterator[Manager]:
    """Run a systemd until the block ends; where it cannot run, the test is skipped, or fails in CI."""
    for program in ("systemctl", "systemd-analyze", "unshare", "nsenter"):
        require_part(program)
    if os.geteuid() != 0:
        missing("a systemd of the tests' own needs root")
    with tempfile.TemporaryDirectory(prefix="golive-systemd-") as name:
        directory = Path(name)
        for below in ("units", USER_UNITS, "run"):
            (directory / below).mkdir(parents=True, mode=0o700)
        (directory / "machine-id").write_text(secrets.token_hex(16) + "\n")
        nothing = "[Unit]\nDefaultDependencies=no\n"
        for below in ("units", USER_UNITS):
            for target in (*_TARGETS, "golive-test"):
                (directory / below / f"{target}.target").write_text(nothing)
        for unit, text in _UNITS.items():
            (directory / "units" / unit).write_text(text.replace("{directory}", name))
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _OUTER, "sh", secrets.token_hex(4), name, _INNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            pid = process.stdout.readline().strip() if process.stdout else ""
            found = Manager(
                directory, ("nsenter", f"--mount=/proc/{pid}/ns/mnt", f"--pid=/proc/{pid}/ns/pid_for_children")
            )
            if not comes(lambda: "running" in found.systemctl("is-system-running")):
                missing(f"systemd does not run here: {found.systemctl('is-system-running') or 'it has ended'}")
            yield found
        finally:
            process.communicate(timeout=30)


def comes(holds: Callable[[], bool], within: float = 20.0) -> bool:
    """Wait until something holds, and tell whether it came to that in time."""
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
