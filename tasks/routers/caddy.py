"""The router caddy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import OutsideError, RolloutFailed
from tasks.domain.kind import Strict
from tasks.domain.target import Target
from tasks.domain.upstream import Member, Upstream
from tasks.routers import Port, Router
from tasks.routers._caddy_admin import Admin, Handler
from tasks.routers._tickets import dials, must_be_plain, pointed_at

_ROUND_ROBIN = "round_robin"
_WEIGHTED = "weighted_round_robin"
_BALANCING, _POLICY = "load_balancing", "selection_policy"


class Tickets(Strict):
    """Files from which Caddy reads for each request where it goes, so that a switch leaves its configuration alone."""

    directory: str = "{root}/router/tickets"
    """Where golive keeps them; Caddy's account must be able to read there."""
    status_port: Port
    """A free port on 127.0.0.1 where Caddy tells golive what it reads."""


class Caddy(Router):
    """Sends requests through a Caddy that the system's people run, changed by its admin API.

    One ``reverse_proxy`` handler of its configuration carries an ``@id``; golive writes that handler's upstreams and
    selection policy, and leaves all else as it is. What somebody else changed meanwhile is never overwritten unseen.

    Caddy takes any change by its API as a new configuration: it opens its listening sockets anew, and a connection that
    is just being opened may be closed without an answer (measured with 2.11: 3 of 24,958 requests over three rollouts;
    ``net.ipv4.tcp_migrate_req`` halves it). With ``tickets``, which take Caddy 2.8, that happens at the first switch
    alone: it makes the handler read from files where requests go, and every later switch replaces a symbolic link.

    Without ``tickets`` the upstreams carry an ``@id`` each, which names the slot, and members with weights take
    Caddy 2.7.
    """

    kind: Literal["caddy"] = "caddy"
    """Which kind of router this is."""
    admin: Annotated[str, Field(pattern=r"^http://[A-Za-z0-9.:\[\]-]+$")] = "http://127.0.0.1:2019"
    """The address of Caddy's admin API."""
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", examples=["shop"])]
    """The ``@id`` of the ``reverse_proxy`` handler in Caddy's configuration."""
    tickets: Tickets | None = None
    """Where Caddy reads for each request where it goes; without it each switch is a new configuration of Caddy's."""

    def current(self, target: Target) -> Upstream | None:
        """Return where Caddy says that requests go; None while the upstreams are not golive's."""
        handler = self._admin(target).handler()
        if not _reads_tickets(handler):
            return self._named_upstream(handler)
        if self.tickets is None or _upstreams(handler) != dials(self._current(target)):
            raise RolloutFailed(
                f"Caddy reads where requests go from {_upstreams(handler)[0]} and others",
                expected=str(self._current(target)) if self.tickets else "upstreams with their addresses",
                where=self.admin,
                do="give the router the tickets that it had, or set the handler's upstreams anew by hand",
            )
        return self._told(target, self.tickets.status_port)

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Put the upstream in force in one change, and read it back; if that fails, put the former state back."""
        self.must_answer(target, upstream)
        admin = self._admin(target)
        if self.tickets is None:
            self._put(admin, target, upstream)
            return
        link = self._current(target)
        with pointed_at(target.world.host, link.parent, upstream, public=True):
            admin.let_tell(self.tickets.status_port, f"{{file.{link}/told}}")
            found = self._told(target, self.tickets.status_port)
            if found != upstream:  # before any request goes there
                raise admin.failed(f"Caddy reads {found or 'nothing'} there", f"its account can read {link}/told")
            self._put(admin, target, upstream)

    def _put(self, admin: Admin, target: Target, upstream: Upstream) -> None:
        """Change the handler unless it is right, and read back what is in force."""
        meant = f"caddy sends requests to {upstream}"
        former = admin.change(lambda found: self._wanted(target, found, upstream), meant)
        try:
            found = self.current(target)
            if found != upstream:
                raise RolloutFailed(f"Caddy says that requests go to {found}")
        except (OutsideError, RolloutFailed) as error:
            undone = f"; {admin.restored(former)}" if former is not None else ""
            raise admin.failed(f"{error.seen}{undone}", meant) from error

    def _wanted(self, target: Target, former: Handler, upstream: Upstream) -> Handler | None:
        """Return the handler that sends requests to the upstream; None if the former one does."""
        shares = [member.weight for member in upstream.members]
        ours: Handler | None
        if self.tickets is not None:
            wanted = dials(self._current(target))
            if _upstreams(former) == wanted:
                return None
            members, ours = [{"dial": dial} for dial in wanted], {"policy": _ROUND_ROBIN}
        elif self._named_upstream(former) == upstream:
            return None
        else:
            members = [{"@id": f"{self.id}.{one.slot}", "dial": one.address} for one in upstream.members]
            ours = {"policy": _WEIGHTED, "weights": shares} if set(shares) != {1} else None
        policy = self._policy(target, former, ours)
        balancing = {key: value for key, value in (former.get(_BALANCING) or {}).items() if key != _POLICY}
        if policy is not None:
            balancing[_POLICY] = policy
        rest = {key: value for key, value in former.items() if key not in {"upstreams", _BALANCING}}
        return {**rest, "upstreams": members, **({_BALANCING: balancing} if balancing else {})}

    def _policy(self, target: Target, former: Handler, ours: Handler | None) -> Handler | None:
        """Return ``ours`` if there is one, and else the selection policy of Caddy's people, which is kept meanwhile."""
        host, kept = target.world.host, target.root / "router" / f"caddy-{self.id}.policy"
        found: Handler | None = (former.get(_BALANCING) or {}).get(_POLICY)
        was_ours = found is not None and (found.get("policy") == _WEIGHTED or _reads_tickets(former))
        if ours is None:
            return json.loads(host.read(kept) or "null") if was_ours else found
        if not was_ours:
            host.write(kept, json.dumps(found))
        return ours

    def _named_upstream(self, handler: Handler) -> Upstream | None:
        """Return the upstream of a handler whose upstreams all carry an ``@id`` of golive's."""
        prefix = f"{self.id}."
        entries = handler.get("upstreams") or []
        ours = [one for one in entries if str(one.get("@id", "")).startswith(prefix)]
        if len(ours) < len(entries) or not ours:
            return None
        policy = (handler.get(_BALANCING) or {}).get(_POLICY) or {}
        weights = policy["weights"] if policy.get("policy") == _WEIGHTED else [1] * len(ours)
        pairs = zip(ours, weights, strict=False)
        return Upstream(tuple(Member(one["@id"].removeprefix(prefix), one["dial"], int(share)) for one, share in pairs))

    def _current(self, target: Target) -> Path:
        """Return the symbolic link to the tickets that are in force."""
        directory = self.tickets.directory if self.tickets else ""
        return must_be_plain(Path(target.fill(directory))) / self.id / "current"

    def _told(self, target: Target, port: int) -> Upstream | None:
        """Return what Caddy itself reads from the tickets."""
        answer = target.world.http.request("GET", f"http://127.0.0.1:{port}/", timeout=5.0, fresh=True)
        return Upstream.parse(answer.body.decode(errors="replace")) if answer.status == 200 else None

    def _admin(self, target: Target) -> Admin:
        return Admin(target.world.http, self.admin, self.id)


def _upstreams(handler: Handler) -> list[str]:
    return [str(one.get("dial", "")) for one in handler.get("upstreams") or ()]


def _reads_tickets(handler: Handler) -> bool:
    return any(dial.startswith("{file.") for dial in _upstreams(handler))
