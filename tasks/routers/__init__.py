"""Routers: what sends the clients' requests to a running version. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from tasks.domain.errors import OutsideError, ReleaseFileError, RolloutFailed
from tasks.domain.kind import Duration, Kind, no_secret_in
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.traffic import Traffic
from tasks.domain.upstream import Member, Upstream

Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP port."""


@dataclass(frozen=True)
class Held:
    """A pause that is over: how long it was, how many requests it held back, and the longest that one of them took."""

    seconds: float
    requests: int
    longest: float


class Router(Kind):
    """Sends requests to the members of one upstream, and changes that in one step that drops no request."""

    holds: ClassVar[bool] = False
    """Whether this kind of router can hold requests back for a while."""
    counts: ClassVar[bool] = False
    """Whether this kind of router can tell what the clients' requests came to, at each member and in all."""

    @abstractmethod
    def current(self, target: Target) -> Upstream | None:
        """Return where requests go now, as the router itself reports it, or None if nowhere yet."""

    @abstractmethod
    def switch(self, target: Target, upstream: Upstream) -> None:
        """Send new requests to the upstream, let those under way finish, and read the change back.

        Starts the router first if it is golive's own. Raises `RolloutFailed` with the router's words, the former state
        still in force.
        """

    def require_hold(self, seconds: float) -> None:
        """Raise `ReleaseFileError` unless this router can hold requests back for that long."""
        raise ReleaseFileError(
            f"the router {self.kind} cannot hold requests back for {seconds:g} s",
            expected="a router that can, such as embedded",
            where="router.kind",
            do="take another router, or do without the pause",
        )

    def pause(self, target: Target, seconds: float) -> None:  # noqa: ARG002
        """Hold new requests back instead of failing them, until `resume` and for at most ``seconds``.

        That limit is the router's own: it holds nobody back for longer when golive is killed in between. Holding
        already, it holds from now on. Raises what `require_hold` raises.
        """
        self.require_hold(seconds)

    def resume(self, target: Target) -> Held | None:  # noqa: ARG002
        """Let go on what is held back, and return what that was, as far as it is answered; None without a pause."""
        return None

    def count(self, target: Target, seconds: float) -> None:
        """Begin to count what the clients' requests come to, for at most so long; some routers always do."""

    def counted(self, target: Target) -> Mapping[str, Traffic] | None:  # noqa: ARG002
        """Return what was counted since `count` for each slot that got requests; None if this router does not count."""
        return None

    def tally(self, target: Target) -> Mapping[str, Traffic] | None:  # noqa: ARG002
        """Return what the requests of clients came to, in counters that only ever grow; None if this router has none.

        One may begin anew, as where the router is started again.
        """
        return None

    def close(self, target: Target) -> None:
        """End the router if golive started it."""

    def must_answer(self, target: Target, upstream: Upstream) -> None:
        """Ask each member itself, and raise `RolloutFailed` if nothing answers there; any status will do."""

        def ask(member: Member) -> None:
            try:
                target.world.http.request("GET", f"http://{member.address}/", timeout=5.0, fresh=True)
            except OutsideError as error:
                raise RolloutFailed(
                    f"nothing answers: {error.seen}",
                    expected="an upstream that answers",
                    where=str(member),
                    do="the router was left as it is; look at the instance's log",
                ) from error

        with ThreadPoolExecutor(len(upstream.members)) as pool:
            list(pool.map(ask, upstream.members))


class FileRouter(Router):
    """Keeps one file of a proxy's configuration, which the proxy reads anew when told to.

    The file also opens ``status_port``, where the running proxy itself says what it has in force.
    """

    file: Path
    """The file that golive writes and the proxy's configuration includes; nothing else may write it."""
    status_port: Port
    """A free port on 127.0.0.1 where the proxy tells golive what it has in force."""
    test: tuple[str, ...]
    """The command that says whether the configuration is valid, by its exit code."""
    reload: tuple[str, ...]
    """The command that makes the running proxy read its configuration."""
    within: Duration = 10.0
    """How long the proxy may take to put a change in force before the former state is restored."""

    # A validator, because a kind that gives a default declares the field anew and would lose an annotation.
    _no_secret = field_validator("test", "reload")(no_secret_in)

    @abstractmethod
    def render(self, upstream: Upstream) -> str:
        """Return the text of the file that sends requests to the upstream."""

    def current(self, target: Target) -> Upstream | None:
        """Return what the running proxy says it has in force; raises `Unreachable` if it should run and does not."""
        if not (target.world.host.read(self.file) or "").strip():
            return None
        url = f"http://127.0.0.1:{self.status_port}/"
        answer = target.world.http.request("GET", url, timeout=5.0, fresh=True)
        found = Upstream.parse(answer.body.decode(errors="replace")) if answer.status == 200 else None
        if found is None:
            raise RolloutFailed(
                f"status {answer.status} from something else than {self.kind}",
                expected="a slot and its address",
                where=url,
                do="give a status_port that nothing else uses",
            )
        return found

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Write the file, test it, reload the proxy and read back; on any failure put the former file in force."""
        host, text = target.world.host, self.render(upstream)
        before = host.read(self.file) or ""
        if before == text and self._in_force(target, upstream):
            return
        self.must_answer(target, upstream)
        former = target.root / "router" / f"{self.kind}.former"
        if before != text:  # else this is the second try of a golive that was killed: keep what it had kept
            host.write(former, before)
            host.write(self.file, text, mode=0o644)
        try:
            self._run(target, self.test)
        except OutsideError as error:
            host.write(self.file, host.read(former) or "", mode=0o644)
            raise self._failed(upstream, f"refused by {self.test[0]}: {error.seen}") from error
        try:
            self._run(target, self.reload)
            self._read_back(target, upstream)
        except (OutsideError, RolloutFailed) as error:
            host.write(self.file, host.read(former) or "", mode=0o644)
            raise self._failed(upstream, f"{error.seen}; {self._reload_former(target)}") from error
        host.write(former, text)

    def _reload_former(self, target: Target) -> str:
        try:
            self._run(target, self.reload)
        except OutsideError as error:
            return f"the former file is back, but {self.reload[0]} failed: {error.seen}"
        return "the former file is back and reloaded"

    def _read_back(self, target: Target, upstream: Upstream) -> None:
        clock = target.world.clock
        until, row = clock.monotonic() + self.within, 0
        # An old worker may take a few connections more after the reload returns: one right answer is not yet proof.
        while row < 5:
            row = row + 1 if self._in_force(target, upstream) else 0
            if clock.monotonic() > until:
                raise RolloutFailed(f"not in force {self.within:g} s after the reload")
            clock.sleep(0.03)

    def _in_force(self, target: Target, upstream: Upstream) -> bool:
        try:
            return self.current(target) == upstream
        except (OutsideError, RolloutFailed):
            return False

    def _run(self, target: Target, argv: tuple[str, ...]) -> None:
        target.world.host.run(Command(tuple(target.fill(part) for part in argv), timeout=30.0))

    def _failed(self, upstream: Upstream, seen: str) -> RolloutFailed:
        return RolloutFailed(
            seen,
            expected=f"{self.kind} sends requests to {upstream}",
            where=str(self.file),
            do="mend the proxy's configuration and start again; requests go where they went before",
        )
