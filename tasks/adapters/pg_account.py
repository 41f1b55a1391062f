"""The account that golive's own PostgreSQL servers run as: golive's own, or an unprivileged one if golive is root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.errors import AccessDenied, ToolMissing

CANDIDATES = ("postgres", "nobody")
"""System users that a server may run as when golive is root, the first that exists is taken."""


@dataclass(frozen=True)
class Account:
    """Whom a server's programs run as; ``user`` is None for golive's own user."""

    user: str | None = None
    uid: int = -1
    gid: int = -1

    def run(
        self, argv: Sequence[str], *, cwd: Path, timeout: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end as this account, in an environment that holds nothing of golive's."""
        return subprocess.run(
            argv,
            check=False,
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            input=stdin,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
            # A session of its own: an interrupt from golive's terminal must not reach the server.
            start_new_session=True,
            user=self.uid if self.user else None,
            group=self.gid if self.user else None,
            extra_groups=[] if self.user else None,
        )

    def own(self, path: Path) -> None:
        """Give a file or directory to this account."""
        if self.user:
            os.chown(path, self.uid, self.gid)

    def may_enter(self, path: Path) -> bool:
        """Tell whether this account can reach a directory, or run a program."""
        if not self.user:
            return os.access(path, os.X_OK)
        return self.run(["test", "-x", str(path)], cwd=Path("/"), timeout=10.0).returncode == 0

    def require_access(self, directory: Path) -> None:
        """Raise `AccessDenied` unless this account can reach a directory; permissions are never changed for it."""
        if not self.may_enter(directory):
            who = (
                f"the user {self.user}, as which PostgreSQL runs when golive is root," if self.user else "golive's user"
            )
            raise AccessDenied(
                f"{who} cannot enter the directory",
                where=str(directory),
                do="choose a directory that others may enter, as below /var/lib, or run golive as an ordinary user",
            )


def server_account() -> Account:
    """Return the account for servers; raises `ToolMissing` if golive is root and the system has no fit user."""
    if os.geteuid() != 0:
        return Account()
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ToolMissing(
        "PostgreSQL does not run as root, and there is no unprivileged user to run it as",
        expected=f"a system user named {' or '.join(CANDIDATES)}",
        do="add one, or run golive as an ordinary user",
    )
