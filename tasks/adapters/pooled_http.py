"""HTTP with a pool of connections for each server, so that a request costs the same however many servers are asked.

The pool of httpcore goes through all the connections that it keeps at each request, and through all of them again for
each idle one once they are many: with one pool for hundreds of servers that is most of what a request costs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import httpx

MOST_POOLS = 64
"""Servers to which connections are kept at the same time; those asked longest ago are let go first."""

_Origin = tuple[str, str, int | None]


class PooledPerServer(httpx.BaseTransport):
    """Sends each request through the transport of its server; ``make`` gives a new one."""

    def __init__(self, make: Callable[[], httpx.BaseTransport], most: int = MOST_POOLS) -> None:
        self._make, self._most = make, most
        self._lock = threading.Lock()
        self._pools: OrderedDict[_Origin, _Pool] = OrderedDict()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and hold its server's pool until the answer was read."""
        url = request.url
        pool = self._taken((url.scheme, url.host, url.port))
        try:
            answer = pool.transport.handle_request(request)
        except BaseException:
            self._give_back(pool)
            raise
        stream = _Held(answer.stream, lambda: self._give_back(pool))  # type: ignore[arg-type]
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream, extensions=answer.extensions)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), OrderedDict()
        for pool in pools:
            pool.transport.close()

    def _taken(self, origin: _Origin) -> _Pool:
        with self._lock:
            pool = self._pools.get(origin) or self._pools.setdefault(origin, _Pool(self._make()))
            self._pools.move_to_end(origin)
            pool.busy += 1
            over = len(self._pools) - self._most
            # Those in use are left alone, so that there may be more of them for a while.
            gone = [name for name, one in self._pools.items() if not one.busy][:over] if over > 0 else []
            closing = [self._pools.pop(name) for name in gone]
        for one in closing:
            one.transport.close()
        return pool

    def _give_back(self, pool: _Pool) -> None:
        with self._lock:
            pool.busy -= 1


class _Pool:
    """The connections to one server, and how many requests use them now."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self.transport, self.busy = transport, 0


class _Held(httpx.SyncByteStream):
    """The body of an answer, at whose end the pool is given back once."""

    def __init__(self, body: httpx.SyncByteStream, give_back: Callable[[], None]) -> None:
        self._body, self._give_back = body, give_back
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body

    def close(self) -> None:
        """Close the body, which gives its connection back."""
        if not self._closed:
            self._closed = True
            try:
                self._body.close()
            finally:
                self._give_back()
