"""HTTP over kept-alive connections, with errors that say what really happened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from tasks.adapters.pooled_http import PooledPerServer
from tasks.adapters.tunnelled_http import LIMITS, LOOPBACK, Tunnelled, Tunnels
from tasks.domain.errors import ConnectionLost, GoliveError, OutsideError, TimedOut, Unreachable, UserError
from tasks.domain.ports import HttpAnswer
from tasks.domain.units import show_bytes, show_seconds

LARGEST_BODY = 10_000_000
"""Bytes of an answer's body beyond which it is refused."""

_IDEMPOTENT = frozenset({"GET", "HEAD"})
_NEW_OR_ANSWERED = frozenset(
    {
        "connection.connect_tcp.started",
        "connection.connect_unix_socket.started",
        "http11.receive_response_headers.complete",
    }
)
_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


class HttpxHttp:
    """Sends HTTP requests over shared connections; safe to use from several threads.

    Proxies of the environment are not used, since most targets are on this machine. Cookies are not kept: a look must
    not depend on the look before it. With ``there``, a loopback address means that machine's own.
    """

    def __init__(self, there: Tunnels | None = None) -> None:
        self._there = there
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._tls.load_default_certs()  # so that a company's own authority, installed on the machine, counts too
        self._client = self._new_client(PooledPerServer(self._transport))

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float = 10.0,
        follow_redirects: bool = False,
        fresh: bool = False,
    ) -> HttpAnswer:
        """Return the answer, whatever its status; ``fresh`` opens a new connection.

        ``timeout`` is in seconds and holds for connecting, for each wait and for the body as a whole. A GET or HEAD
        whose kept-alive connection the server had already closed is sent once more on a new connection; on a new
        connection nothing is repeated, so that a server that dies on a request is seen to die.

        Raises `Unreachable`, `ConnectionLost` or `TimedOut` if there is no answer, `OutsideError` if it is too large
        or garbled, `UserError` for a URL that cannot be asked.
        """
        seen: set[str] = set()

        def trace(event: str, _info: Mapping[str, Any]) -> None:
            seen.add(event)

        try:
            request = self._client.build_request(
                method,
                url,
                headers=headers,
                json=json,
                content=content,
                timeout=httpx.Timeout(timeout),
                extensions={"trace": trace},
            )
            if (request.url.port or 0) > 65535:  # the system would take it modulo 65536
                raise ValueError(f"there is no port {request.url.port}")
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise UserError(f"this cannot be sent: {error}", where=f"{method} {shown(url)}") from error
        start = time.perf_counter()
        try:
            if fresh:
                return self._send_alone(request, start, timeout, follow=follow_redirects)
            try:
                return _send(self._client, request, start, timeout, follow=follow_redirects)
            except _LOST:
                if method.upper() not in _IDEMPOTENT or seen & _NEW_OR_ANSWERED:
                    raise
                return self._send_alone(request, start, timeout, follow=follow_redirects)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _named(error, f"{method} {shown(url)}", time.perf_counter() - start) from error

    def _send_alone(self, request: httpx.Request, start: float, timeout: float, *, follow: bool) -> HttpAnswer:
        with self._new_client(self._transport()) as client:
            return _send(client, request, start, timeout, follow=follow)

    def _transport(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=self._tls, trust_env=False, limits=LIMITS)

    def _new_client(self, transport: httpx.BaseTransport) -> httpx.Client:
        return httpx.Client(
            transport=transport,
            trust_env=False,
            mounts={f"all://{host}": Tunnelled(self._there, self._tls) for host in LOOPBACK} if self._there else None,
            headers={"user-agent": "golive"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )


def _send(client: httpx.Client, request: httpx.Request, start: float, timeout: float, *, follow: bool) -> HttpAnswer:
    response = client.send(request, stream=True, follow_redirects=follow)
    where = f"{request.method} {shown(str(request.url))}"
    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise OutsideError(
                    "the answer is too large", expected=f"at most {show_bytes(LARGEST_BODY)}", where=where
                )
            if time.perf_counter() - start > timeout:
                raise TimedOut(
                    "the answer did not end in time", expected=f"within {show_seconds(timeout)}", where=where
                )
    finally:
        response.close()
    return HttpAnswer(response.status_code, bytes(body), time.perf_counter() - start, dict(response.headers))


def _named(error: httpx.HTTPError | httpx.InvalidURL, where: str, after: float) -> GoliveError:
    words = str(error) or type(error).__name__
    match error:
        case httpx.TimeoutException():
            part = "no connection" if isinstance(error, httpx.ConnectTimeout) else "no answer"
            return TimedOut(f"{part} after {show_seconds(after)}", where=where)
        case httpx.ConnectError():
            return Unreachable(f"nothing answers: {words}", where=where)
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError() | httpx.CloseError():
            return ConnectionLost(f"the connection broke: {words}", where=where)
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | httpx.InvalidURL():
            return UserError(f"this cannot be sent: {words}", where=where)
        case _:
            return OutsideError(words, where=where)


def shown(url: str) -> str:
    """Return a URL fit to be shown: without user, password, query values or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "…" if parts.query else "", ""))
