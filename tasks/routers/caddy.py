"""The router caddy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.domain.errors import OutsideError, RolloutFailed, ServerTrouble
from tasks.domain.ports import HttpAnswer
from tasks.domain.target import Target
from tasks.domain.upstream import Member, Upstream
from tasks.routers import Router

_WEIGHTED = "weighted_round_robin"
_TRIES = 3
_WITHIN = 30.0  # a change makes Caddy build its whole configuration anew


class Caddy(Router):
    """Sends requests through a Caddy that the system's people run, changed by its admin API.

    One ``reverse_proxy`` handler of its configuration carries an ``@id``. golive writes that handler's upstreams, each
    with an ``@id`` of its own that names the slot, and the selection policy while members have weights, which takes
    Caddy 2.7. All else is left as it is. A change that somebody else made meanwhile is never overwritten unseen.

    Caddy takes any change by its API as a new configuration: it opens its listening sockets anew and closes idle
    connections. Requests that it has begun to read are answered; a connection that is just being opened may be closed
    without an answer (measured with 2.11: 18 in 60 switches at some 500 new connections a second), so clients should
    send once more what is safe to repeat. Where that may not be, the router ``embedded`` switches without a new
    configuration.
    """

    kind: Literal["caddy"] = "caddy"
    """Which kind of router this is."""
    admin: Annotated[str, Field(pattern=r"^http://[A-Za-z0-9.:\[\]-]+$")] = "http://127.0.0.1:2019"
    """The address of Caddy's admin API."""
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", examples=["shop"])]
    """The ``@id`` of the ``reverse_proxy`` handler in Caddy's configuration."""

    def current(self, target: Target) -> Upstream | None:
        """Return where Caddy says that requests go; None while the upstreams are not golive's."""
        return self._upstream(self._handler(target)[0])

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Put the upstream in force in one change, and read it back; if that fails, put the former handler back."""
        self.must_answer(target, upstream)
        former = self._put(target, upstream)
        if former is None:
            return
        try:
            found = self.current(target)
            if found != upstream:
                raise RolloutFailed(f"Caddy says that requests go to {found}")
        except (OutsideError, RolloutFailed) as error:
            raise self._failed(upstream, f"{error.seen}; {self._restored(target, former)}") from error

    def _put(self, target: Target, upstream: Upstream) -> Mapping[str, Any] | None:
        """Change the handler and return what it was; None if the upstream is in force already."""
        for _ in range(_TRIES):
            former, mark = self._handler(target)
            if self._upstream(former) == upstream:
                return None
            wanted = self._changed(target, former, upstream)
            try:
                answer = self._ask(target, "PATCH", wanted, {"If-Match": mark})
            except OutsideError as error:
                # Whether it was taken is not known.
                raise self._failed(upstream, f"{error.seen}; {self._restored(target, former)}") from error
            if answer.status == 200:
                return former
            if answer.status != 412:
                raise self._failed(upstream, f"refused by Caddy: {_said(answer)}")
        raise self._failed(upstream, f"somebody else changed the handler during each of {_TRIES} tries")

    def _handler(self, target: Target) -> tuple[Mapping[str, Any], str]:
        """Return the handler as Caddy has it in force, with the mark by which a later change of it is noticed."""
        answer = self._ask(target, "GET")
        if answer.status != 200:
            trouble = ServerTrouble if answer.status >= 500 else RolloutFailed
            raise trouble(
                f"status {answer.status}: {_said(answer)}",
                expected=f'a reverse_proxy handler with "@id": "{self.id}"',
                where=self.admin,
                do="give the handler that id in Caddy's configuration, or correct the router's admin or id",
            )
        found = json.loads(answer.body)
        if not isinstance(found, dict) or found.get("handler") != "reverse_proxy":
            raise RolloutFailed(
                f"{self.id} is no reverse_proxy handler", expected="one", where=self.admin, do="move the id to it"
            )
        return found, answer.headers.get("etag", "")

    def _upstream(self, handler: Mapping[str, Any]) -> Upstream | None:
        prefix = f"{self.id}."
        entries = handler.get("upstreams") or []
        ours = [one for one in entries if str(one.get("@id", "")).startswith(prefix)]
        if len(ours) < len(entries) or not ours:
            return None
        policy = _policy(handler)
        weights = policy["weights"] if policy and policy.get("policy") == _WEIGHTED else [1] * len(ours)
        pairs = zip(ours, weights, strict=False)
        return Upstream(tuple(Member(one["@id"].removeprefix(prefix), one["dial"], int(share)) for one, share in pairs))

    def _changed(self, target: Target, former: Mapping[str, Any], upstream: Upstream) -> Mapping[str, Any]:
        """Return the handler with the upstream in it, and its own selection policy where nobody has a weight."""
        host, kept = target.world.host, self._kept_policy(target)
        weights = [member.weight for member in upstream.members]
        policy = _policy(former)
        if set(weights) != {1}:
            if policy is None or policy.get("policy") != _WEIGHTED:
                host.write(kept, json.dumps(policy))
            policy = {"policy": _WEIGHTED, "weights": weights}
        elif policy is not None and policy.get("policy") == _WEIGHTED:
            policy = json.loads(host.read(kept) or "null")
        balancing = {key: value for key, value in (former.get("load_balancing") or {}).items() if key != _POLICY}
        if policy is not None:
            balancing[_POLICY] = policy
        members = [{"@id": f"{self.id}.{one.slot}", "dial": one.address} for one in upstream.members]
        rest = {key: value for key, value in former.items() if key not in {"upstreams", "load_balancing"}}
        return {**rest, "upstreams": members, **({"load_balancing": balancing} if balancing else {})}

    def _kept_policy(self, target: Target) -> Path:
        return target.root / "router" / f"caddy-{self.id}.policy"

    def _restored(self, target: Target, former: Mapping[str, Any]) -> str:
        try:
            answer = self._ask(target, "PATCH", former)
        except OutsideError as error:
            return f"the former handler could not be put back: {error.seen}"
        if answer.status != 200:
            return f"the former handler was not taken back: {_said(answer)}"
        return "the former handler is back"

    def _ask(
        self,
        target: Target,
        method: str,
        content: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        url = f"{self.admin}/id/{self.id}"
        return target.world.http.request(method, url, json=content, headers=headers, timeout=_WITHIN, fresh=True)

    def _failed(self, upstream: Upstream, seen: str) -> RolloutFailed:
        return RolloutFailed(
            seen,
            expected=f"caddy sends requests to {upstream}",
            where=f"{self.admin}/id/{self.id}",
            do="look at Caddy's log and configuration, and start again",
        )


_POLICY = "selection_policy"


def _policy(handler: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (handler.get("load_balancing") or {}).get(_POLICY)
    return found


def _said(answer: HttpAnswer) -> str:
    return answer.body.decode(errors="replace").strip()[:500]
