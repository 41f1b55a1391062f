"""The router command."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import OutsideError, RolloutFailed
from tasks.domain.kind import Argv, Duration
from tasks.domain.ports import Command as Run
from tasks.domain.target import Target
from tasks.domain.upstream import Upstream
from tasks.routers import Router


class Command(Router):
    """Sends requests through anything that two commands of the release file can switch and ask, as a cloud's balancer.

    Both run without a shell (for one, write ``[sh, -c, …]``) and may be repeated without harm. ``set`` gets on its
    standard input ``{"system": …, "members": [{"slot": …, "address": …, "weight": …}]}``, puts that in force as a whole
    and lets requests under way finish. ``get`` prints one line with what is in force, such as
    ``blue 127.0.0.1:8101 1``, with ``, `` between members; nothing if requests go nowhere yet.
    """

    kind: Literal["command"] = "command"
    """Which kind of router this is."""
    set: Annotated[Argv, Field(examples=[["bin/balancer", "switch"]])]
    """The command that puts an upstream in force; it ends with another exit code than 0 if it did not."""
    get: Annotated[Argv, Field(examples=[["bin/balancer", "show"]])]
    """The command that prints what is in force, as the router itself reports it."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    """Variables that both get besides PATH, HOME, LANG, TZ and TMPDIR; masked wherever they would be shown."""
    timeout: Duration = 60.0
    """How long each command may take."""
    within: Duration = 30.0
    """How long a change may take to be in force before the former upstream is put back."""

    def current(self, target: Target) -> Upstream | None:
        """Return what ``get`` prints; raises `RolloutFailed` if that is no upstream."""
        said = target.world.host.run(self._run(target, self.get)).stdout.strip()
        if not said:
            return None
        found = Upstream.parse(said)
        if found is None:
            raise RolloutFailed(
                f"it printed {target.world.secrets.mask(said[:200])!r}",
                expected="members such as 'blue 127.0.0.1:8101 1', or nothing",
                where=self.get[0],
                do="mend the command",
            )
        return found

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Put the upstream in force and read it back; if that fails, put the former one in force."""
        self.must_answer(target, upstream)
        before = self.current(target)
        if before == upstream:
            return
        try:
            self._put(target, upstream)
            self._read_back(target, upstream)
        except (OutsideError, RolloutFailed) as error:
            raise RolloutFailed(
                f"{error.seen}; {self._restored(target, before)}",
                expected=f"requests go to {upstream}",
                where=self.set[0],
                do="find out what the router says, and start again",
            ) from error

    def _put(self, target: Target, upstream: Upstream) -> None:
        members = [{"slot": one.slot, "address": one.address, "weight": one.weight} for one in upstream.members]
        text = json.dumps({"system": target.system, "members": members})
        target.world.host.run(self._run(target, self.set, text.encode()))

    def _read_back(self, target: Target, upstream: Upstream) -> None:
        clock = target.world.clock
        until = clock.monotonic() + self.within
        while (found := self.current(target)) != upstream:
            if clock.monotonic() > until:
                raise RolloutFailed(f"not in force after {self.within:g} s: requests go to {found}")
            clock.sleep(0.2)

    def _restored(self, target: Target, before: Upstream | None) -> str:
        if before is None:
            return "there is no former upstream to put back"
        try:
            self._put(target, before)
            self._read_back(target, before)
        except (OutsideError, RolloutFailed) as error:
            return f"the former upstream could not be put back: {error.seen}"
        return "the former upstream is back"

    def _run(self, target: Target, argv: tuple[str, ...], stdin: bytes | None = None) -> Run:
        return Run(
            tuple(target.fill(word) for word in argv),
            secret_env={name: target.fill(value) for name, value in self.environment.items()},
            timeout=self.timeout,
            stdin=stdin,
        )
