"""HTTP to the loopback of another machine, through the tunnels that a connection to it keeps."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

import httpx

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""What a machine calls itself in a URL."""
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)
"""How many connections a client keeps, and for how long."""

_SAFE = frozenset({"GET", "HEAD"})


class Tunnels(Protocol):
    """What leads to the ports of another machine's 127.0.0.1."""

    name: str

    def tunnel_to(self, port: int, *, anew: bool = False) -> Path:
        """Return a socket that leads to a port; ``anew`` if the former one does not work any more."""
        ...

    def port_is_free(self, port: int) -> bool:
        """Tell whether nothing listens on a port there."""
        ...


class Tunnelled(httpx.BaseTransport):
    """Sends requests through the tunnel to their port."""

    def __init__(self, there: Tunnels, tls: ssl.SSLContext) -> None:
        self._there, self._tls = there, tls
        self._transports: dict[Path, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; a tunnel that is gone with its connection is made anew once."""
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            return self._through(self._there.tunnel_to(port), request)
        except httpx.ConnectError:
            return self._through(self._there.tunnel_to(port, anew=True), request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            # A tunnel opens before its other end does, so that a port without a listener looks like a lost connection.
            if request.method in _SAFE and self._there.port_is_free(port):
                raise httpx.ConnectError(f"nothing listens on port {port} of host {self._there.name}") from error
            raise

    def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            transport.close()

    def _through(self, path: Path, request: httpx.Request) -> httpx.Response:
        transport = self._transports.get(path)
        if transport is None:
            made = httpx.HTTPTransport(verify=self._tls, limits=LIMITS, uds=str(path))
            transport = self._transports.setdefault(path, made)
        return transport.handle_request(request)
