"""Asking a target over HTTP: a request, many at once, whose fault it is if no answer comes."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from tasks.domain.errors import ConnectionLost, OutsideError, TimedOut, Unreachable
from tasks.domain.kind import Strict
from tasks.domain.outcome import Reading, failed, unknown
from tasks.domain.ports import HttpAnswer
from tasks.domain.target import Target

Status = Annotated[int, Field(ge=100, le=599)]
SILENCE = (Unreachable, ConnectionLost, TimedOut)
"""The errors that mean that no answer came."""
CONTROL_TIMEOUT = 5.0
"""Seconds within which a control must answer."""


@dataclass(frozen=True)
class Filled:
    """A request with its placeholders and secrets put in; it must not be shown."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any

    def send(self, target: Target, timeout: float, *, fresh: bool = False) -> HttpAnswer:
        """Send the request and return the answer; raises one of `SILENCE` if none comes."""
        return target.world.http.request(
            self.method, self.url, headers=self.headers, json=self.body, timeout=timeout, fresh=fresh
        )


class Request(Strict):
    """An HTTP request."""

    url: Annotated[str, Field(min_length=1, examples=["{base_url}/health"])]
    """The address; ``{base_url}`` is that of the version that is looked at. Redirects are answers like others."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """The HTTP method."""
    headers: dict[str, str] = Field(default_factory=dict, examples=[{"Authorization": "Bearer ${env:API_TOKEN}"}])
    """Headers to send; secrets by reference."""
    body: Any = None
    """What is sent, as JSON; secrets by reference."""

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return in words what sending it does besides asking; empty for a method that only asks."""
        return "" if self.method in ("GET", "HEAD", "OPTIONS") else f"sends a {self.method}, which may change something"

    def filled(self, target: Target) -> Filled:
        """Return the request with placeholders and secrets put in."""
        headers = {name: target.fill(value) for name, value in self.headers.items()}
        return Filled(self.method, target.fill(self.url), headers, _filled(target, self.body))


def _filled(target: Target, value: Any) -> Any:
    if isinstance(value, str):
        return target.fill(value)
    if isinstance(value, Mapping):
        return {key: _filled(target, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(target, inner) for inner in value]
    return value


def on_this_machine(url: str) -> bool:
    """Tell whether a URL leads to this machine itself, so that no network can stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Controlled(Strict):
    """Something that is asked, beside a control that tells its trouble from golive's own."""

    control: str | None = None
    """A URL elsewhere; if it answers while the target does not, the target is to blame. Needless on one machine."""


def answer_or_blame(request: Filled, target: Target, timeout: float, control: str | None) -> HttpAnswer | Reading:
    """Return the answer to a request, or whose fault it is that there is none."""
    try:
        return request.send(target, timeout)
    except SILENCE as silence:
        return blame(target, request.url, silence, control)


def blame(target: Target, url: str, silence: OutsideError, control: str | None) -> Reading:
    """Return whose fault it is that nothing answered at ``url``: the target's (failed), or not known.

    It is the target's if it is on this machine, or if the control, a URL elsewhere, answers at the same time.
    """
    seen = target.world.secrets.mask(silence.seen)
    if on_this_machine(url):
        return failed(seen)
    if not control:
        return unknown(f"{seen}; no control is named that would tell the target's trouble from golive's own")
    try:
        target.world.http.request("GET", target.fill(control), timeout=CONTROL_TIMEOUT, fresh=True)
    except SILENCE:
        return unknown(f"{seen}; the control does not answer either")
    return failed(f"{seen}, while the control answers")


@dataclass(frozen=True)
class Burst:
    """What many requests came to: the seconds that right answers took, and how often what else happened.

    ``wanted`` is how many were to be sent; those that the time did not suffice for are in none of the counts.
    """

    wanted: int
    latencies: tuple[float, ...]
    problems: Mapping[str, int]
    silence: OutsideError | None
    took: float

    @property
    def asked(self) -> int:
        """How many requests were sent."""
        return len(self.latencies) + sum(self.problems.values())


def burst(
    target: Target,
    request: Filled,
    wanted: int,
    concurrency: int,
    *,
    each: float,
    total: float,
    status: tuple[int, ...],
) -> Burst:
    """Send the same request many times from a few threads; ``each`` is the limit of one in seconds.

    After ``total`` seconds no further request is sent.
    """
    clock = target.world.clock
    start = clock.monotonic()

    def one(_number: int) -> float | str | OutsideError | None:
        if clock.monotonic() - start > total:
            return None
        try:
            answer = request.send(target, each)
        except SILENCE as silence:
            return silence
        return answer.elapsed if answer.status in status else f"status {answer.status}"

    with ThreadPoolExecutor(concurrency, thread_name_prefix="golive-burst") as pool:
        results = list(pool.map(one, range(wanted)))
    silences = [result for result in results if isinstance(result, OutsideError)]
    problems = Counter(type(r).__name__ if isinstance(r, OutsideError) else r for r in results if not _is_good(r))
    return Burst(
        wanted,
        tuple(result for result in results if isinstance(result, float)),
        {str(problem): count for problem, count in problems.items()},
        silences[0] if silences else None,
        clock.monotonic() - start,
    )


def _is_good(result: object) -> bool:
    return result is None or isinstance(result, float)
