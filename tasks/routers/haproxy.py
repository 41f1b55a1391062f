"""The router haproxy."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.domain.target import Target
from tasks.domain.traffic import Traffic
from tasks.domain.upstream import Upstream
from tasks.routers import FileRouter

_FAILED = ("hrsp_5xx", "eresp")
_ALL = "BACKEND"


class Haproxy(FileRouter):
    """Sends requests through an HAProxy in master-worker mode that is started with golive's file as a further ``-f``.

    A frontend of the main file says ``default_backend BACKEND`` and should say ``option idle-close-on-response``, so
    that a reload closes no idle connection on which a client is about to send.
    """

    counts: ClassVar[bool] = True
    kind: Literal["haproxy"] = "haproxy"
    """Which kind of router this is."""
    file: Path = Path("/etc/haproxy/golive.cfg")
    """The file that golive writes, given to haproxy by a further ``-f``; nothing else may write it."""
    backend: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["shop"])]
    """The name of the backend, to which a frontend leads."""
    test: tuple[str, ...] = ("haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg", "-f", "/etc/haproxy/golive.cfg")
    """The command that says whether the configuration is valid, by its exit code."""
    reload: tuple[str, ...] = ("systemctl", "reload", "haproxy")
    """The command that makes the running haproxy read its configuration, such as SIGUSR2 to its master."""

    def render(self, upstream: Upstream) -> str:
        """Return a backend with a server for each member, and a frontend on loopback that says what is in force."""
        servers = "\n".join(f"    server {one.slot} {one.address} weight {one.weight}" for one in upstream.members)
        return f"""# Written by golive; changes by hand are lost.
backend {self.backend}
    mode http
    retries 3
    option redispatch 1
{servers}
frontend {self.backend}_golive
    mode http
    timeout client 5s
    bind 127.0.0.1:{self.status_port}
    stats uri /stats
    http-request return status 200 content-type text/plain string "{upstream}" unless {{ path_beg /stats }}
"""

    def tally(self, target: Target) -> Mapping[str, Traffic] | None:
        """Return what HAProxy has counted since its last reload, with what it answered for want of a server."""
        return {name: one for name, one in self._rows(target).items() if name == _ALL}

    def counted(self, target: Target) -> Mapping[str, Traffic] | None:
        """Return what HAProxy has counted for each server since its last reload, which a switch makes."""
        return {name: one for name, one in self._rows(target).items() if name != _ALL}

    def _rows(self, target: Target) -> dict[str, Traffic]:
        """Return what the backend's rows of the statistics say, of each server and of all."""
        url = f"http://127.0.0.1:{self.status_port}/stats;csv"
        answer = target.world.http.request("GET", url, timeout=5.0, fresh=True)
        rows = csv.DictReader(io.StringIO(answer.body.decode(errors="replace").lstrip("# ")))
        return {row["svname"]: _traffic(row) for row in rows if row.get("pxname") == self.backend}


def _traffic(row: Mapping[str, str]) -> Traffic:
    asked = int(row["stot"] or 0)
    # A server that went away in the midst of its answer counts as both.
    return Traffic(asked, min(asked, sum(int(row[key] or 0) for key in _FAILED)))
