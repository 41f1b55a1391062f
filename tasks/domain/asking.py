"""Asking a target over HTTP: a request, what its answer must be, many at once, whose fault it is if none comes."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from tasks.domain.condition import Expected, all_of, at_path, held, same, show
from tasks.domain.errors import ConnectionLost, OutsideError, TimedOut, Unreachable
from tasks.domain.kind import Duration, Strict
from tasks.domain.outcome import Outcome, Reading, failed, judge_limit, unknown
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
    """The address; ``{base_url}`` is that of the version that is looked at."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """The HTTP method."""
    headers: dict[str, str] = Field(default_factory=dict, examples=[{"Authorization": "Bearer ${env:API_TOKEN}"}])
    """Headers to send; secrets by reference."""
    body: Any = None
    """What is sent, as JSON; secrets by reference."""

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


class Answer(Strict):
    """What the answer to a request must be."""

    model_config = ConfigDict(populate_by_name=True)

    status: Status | tuple[Status, ...] = 200
    """The status that is right, or a list of those that are."""
    within: Duration | None = None
    """The longest that the answer may take."""
    contains: str | None = None
    """A text that must stand in the body."""
    json_: dict[str, Expected | bool | int | float | str | list[Any] | None] = Field(
        default_factory=dict, alias="json", examples=[{"status": "ok", "checks.database.latency_ms": {"max": 50}}]
    )
    """What must stand at each place of the JSON body: a value, or a condition (``min``, ``max``, ``pattern``, …)."""

    def judge(self, target: Target, answer: HttpAnswer) -> Reading:
        """Return whether the answer is as it must be, each condition with its value; secrets are masked."""
        allowed = self.status if isinstance(self.status, tuple) else (self.status,)
        expected = " or ".join(str(status) for status in allowed)
        readings = [held(f"status {answer.status} = {expected}", answer.status in allowed)]
        if self.within is not None:
            readings.append(judge_limit(round(answer.elapsed * 1000, 1), self.within * 1000, "ms", "answered in"))
        if self.contains is not None:
            readings.append(held(f"body contains {show(self.contains)}", self.contains.encode() in answer.body))
        if self.json_:
            readings.extend(self._judge_body(answer.body))
        found = all_of(readings)
        mask = target.world.secrets.mask
        detail: dict[str, Any] = {"status": answer.status, "elapsed_ms": round(answer.elapsed * 1000, 1)}
        if found.outcome is not Outcome.PASSED:
            detail["body"] = mask(answer.body[:2000].decode(errors="replace"))[:500]
        return Reading(found.outcome, mask(found.seen), found.value, found.unit, found.limit, detail)

    def _judge_body(self, body: bytes) -> list[Reading]:
        try:
            document = json.loads(body)
        except ValueError:
            return [failed("body is not JSON")]
        readings = []
        for path, expected in self.json_.items():
            value = at_path(document, path)
            if isinstance(expected, Expected):
                readings.append(expected.judge(path, value))
            else:
                readings.append(held(f"{path} {show(value)} = {show(expected)}", same(value, expected)))
        return readings


def on_this_machine(url: str) -> bool:
    """Tell whether a URL leads to this machine itself, so that no network can stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
