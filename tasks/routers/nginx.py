"""The router nginx."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.upstream import Upstream
from tasks.routers import FileRouter


class Nginx(FileRouter):
    """Sends requests through an nginx that includes golive's file within its ``http`` block.

    The locations of the nginx say ``proxy_pass http://UPSTREAM;``, and for kept-alive connections to the service
    ``proxy_http_version 1.1; proxy_set_header Connection "";``. At each reload nginx closes the idle connections of
    clients; a client that sends on one in that moment has to send again, as HTTP/1.1 demands of it.
    """

    kind: Literal["nginx"] = "nginx"
    """Which kind of router this is."""
    file: Path = Path("/etc/nginx/conf.d/golive.conf")
    """The file that golive writes and nginx includes in its ``http`` block; nothing else may write it."""
    upstream: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["shop"])]
    """The name of the ``upstream`` block, to which ``proxy_pass`` leads."""
    test: tuple[str, ...] = ("nginx", "-t")
    """The command that says whether the configuration is valid, by its exit code."""
    reload: tuple[str, ...] = ("nginx", "-s", "reload")
    """The command that makes the running nginx read its configuration."""

    def render(self, upstream: Upstream) -> str:
        """Return an ``upstream`` block, and a ``server`` on loopback that says what is in force."""
        servers = "\n".join(f"    server {one.address} weight={one.weight};" for one in upstream.members)
        # Idle connections are given up before the service does so (uvicorn: 5 s), which would cost a request.
        return f"""# Written by golive; changes by hand are lost.
upstream {self.upstream} {{
{servers}
    keepalive 32;
    keepalive_timeout 2s;
}}
server {{
    listen 127.0.0.1:{self.status_port};
    access_log off;
    default_type text/plain;
    location / {{ return 200 "{upstream}"; }}
}}
"""
