"""Addresses that must answer, or must not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.asking import on_this_machine
from tasks.domain.condition import all_of
from tasks.domain.errors import Inconclusive, NotFound, OutsideError, TimedOut, Unreachable
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, failed, judge_limit, passed, unknown
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

Address = Annotated[
    str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/]+):(\d{1,5}|\{port\})$", examples=["127.0.0.1:5432"])
]
# bash opens the connection itself, so that nothing need be installed there. 124 is timeout's own exit code.
_CONNECT = 'exec 3<>"/dev/tcp/$0/$1"'
_TIMED_OUT = 124


class Tcp(Check):
    """Looks whether something accepts connections at addresses, or nothing does."""

    advice: ClassVar[str] = "see whether it listens there (ss -ltn), and whether a firewall lies between"

    kind: Literal["tcp"] = "tcp"
    """Which kind of check this is."""
    addresses: Annotated[tuple[Address, ...], Field(min_length=1, examples=[["db.internal:5432", "127.0.0.1:6379"]])]
    """The hosts and ports; each is judged by itself."""
    open: bool = True
    """Whether they must accept connections; ``false`` means that they must not."""
    within: Annotated[Duration, Field(gt=0)] = 5.0
    """How long a connection may take."""
    seen_from: Literal["golive", "host"] = "golive"
    """Where the connection comes from: golive's own machine, or the one that the system runs on (which has bash)."""
    control: Address | None = None
    """An address that accepts connections; only if it does, the silence of another one, not on this machine, counts."""

    @property
    def on_hosts(self) -> bool:
        """Whether each host opens the connections."""
        return self.seen_from == "host" and self.on != "golive"

    @model_validator(mode="after")
    def _is_seen_from_there(self) -> Self:
        if self.on == "hosts" and self.seen_from != "host":
            raise ValueError("on: hosts needs seen_from: host")
        return self

    def look(self, target: Target) -> Reading:
        """Return which addresses are not as they must be; silence without a control leaves it unknown."""
        with ThreadPoolExecutor(min(16, len(self.addresses)), thread_name_prefix="golive-tcp") as pool:
            readings = list(pool.map(lambda address: self._judge(target, address), self.addresses))
        return all_of(readings, detail={"addresses": [reading.seen for reading in readings]})

    def _judge(self, target: Target, address: str) -> Reading:
        filled = target.fill(address)
        try:
            took = self._connect(target, filled)
        except NotFound as error:
            return failed(str(error)) if self.open else unknown(str(error))
        except TimedOut:
            return self._silent(target, filled)
        except Unreachable as error:
            return failed(f"{filled}: {error.seen}") if self.open else passed(f"{filled} accepts no connection")
        if not self.open:
            return failed(f"{filled} accepts connections")
        limit = round(self.within * 1000)
        return judge_limit(round(took * 1000, 1), limit, "ms", f"{filled} accepted a connection in")

    def _connect(self, target: Target, address: str) -> float:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if self.seen_from == "golive":
            return target.world.network.connect(host, int(port), timeout=self.within)
        argv = ("timeout", f"{self.within:g}", "bash", "-c", _CONNECT, host, port)
        command = Command(argv, env={"LC_ALL": "C"}, timeout=self.within + 5, ok_exit=(0, 1, _TIMED_OUT))
        try:
            ended = target.world.host.run(command)
        except Unreachable as error:
            raise Inconclusive(f"{error.seen}, from where it was to be asked", where=error.where) from error
        said = (ended.stderr.strip().splitlines() or [""])[0]
        if ended.exit_code == _TIMED_OUT:
            raise TimedOut("no connection", where=address)
        if "Name or service not known" in said:
            raise NotFound("no such name", where=address)
        if "Connection refused" in said or "No route to host" in said:
            raise Unreachable(said.rpartition(": ")[2], where=address)
        if ended.exit_code:
            raise OutsideError(said, where=address)
        return ended.took

    def _silent(self, target: Target, address: str) -> Reading:
        seen = f"{address} did not answer within {show_seconds(self.within)}"
        counts = Reading(Outcome.FAILED if self.open else Outcome.PASSED, seen)
        if on_this_machine(f"tcp://{address}"):
            return counts
        if not self.control:
            return unknown(f"{seen}; no control is named that would tell its silence from golive's own trouble")
        try:
            self._connect(target, target.fill(self.control))
        except OutsideError:
            return unknown(f"{seen}; the control {self.control} does not accept connections either")
        return Reading(counts.outcome, f"{seen}, while the control does")
