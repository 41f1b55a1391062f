"""A rollout on a stage: with its site, its router, and what the clients see of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks import rollouts
from tasks.domain.ports import World
from tasks.platforms import Platform
from tasks.rollouts import Host, Ready, Rollout, Site
from tasks.spec.kinds import kinds_in
from tests.plain import Life, Plain, elsewhere
from tests.services import free_port
from tests.sites import Way, a_target, supervisor

ELSEWHERE = {"push"}
"""Those that have something else start the processes; they have tests of their own."""
KINDS = sorted(set(kinds_in(rollouts)) - ELSEWHERE)
READY = Ready.model_validate({"within": "6s", "every": "50ms"})
QUICK = {"ready": {"within": "20s", "every": "20ms", "successes": 2}, "drain": "50ms"}
"""For plain processes, which are up at once."""
_PROBE = {"path": "/work", "every": "20ms", "within": "1s"}


def a_rollout(kind: str, **fields: object) -> Rollout:
    """Return a rollout of a kind on free ports, with little patience."""
    ports: dict[str, dict[str, object]] = {
        "recreate": {"port": free_port()},
        "blue_green": {"ports": (free_port(), free_port())},
        "canary": {
            "ports": (free_port(), free_port()),
            "steps": [{"share": "20%", "for": "300ms"}],
            "least": 10,
            "probe": _PROBE,
        },
        "rolling": {"ports": (free_port(), free_port())},
    }
    return kinds_in(rollouts)[kind].model_validate({"ready": READY, "drain": "100ms"} | ports[kind] | fields)  # type: ignore[return-value]


@dataclass
class Stage:
    """A rollout with its site, and what the clients see of it."""

    rollout: Rollout
    site: Site
    way: Way

    def at(self, version: str, fault: str = "") -> Site:
        """Return the site for a version, whose process shows a fault."""
        before = self.site.platform
        platform: Platform
        if isinstance(before, Plain):
            platform = before.model_copy(update={"fault": fault})
        else:
            platform = supervisor(web={"environment": {"VERSION": "{version}", "DSN": "{dsn}", "FAULT": fault}})
        hosts = {name: replace(host, target=host.target.at(version=version)) for name, host in self.site.hosts.items()}
        return replace(self.site, target=self.site.target.at(version=version), platform=platform, hosts=hosts)

    def impatient(self) -> Stage:
        """Return the same stage with a rollout that soon gives up what does not get ready."""
        ready = self.rollout.ready.model_copy(update={"within": 1.0})
        return replace(self, rollout=self.rollout.model_copy(update={"ready": ready}))

    def go(self, version: str, fault: str = "") -> dict[str, Any]:
        """Run all steps, and return the evidence of each by its name."""
        site = self.at(version, fault)
        return {step.name: json.loads(json.dumps(step.act())) for step in self.rollout.steps(site, version)}

    def back(self, version: str) -> dict[str, Any]:
        """Run the steps of a rollback."""
        site = self.at(version)
        return {step.name: json.loads(json.dumps(step.act())) for step in self.rollout.back(site, version)}

    def ask(self) -> bytes:
        return self.site.target.world.http.request("GET", f"http://127.0.0.1:{self.way.port}/", fresh=True).body

    def serving(self) -> str | None:
        return self.rollout.serving(self.site)

    def serves_only(self, version: str) -> None:
        """Hold that one version serves, by golive's own word and by what clients get."""
        assert self.serving() == version
        assert {self.ask() for _ in range(12)} == {version.encode()}

    def finish(self) -> list[Mapping[str, Any]]:
        return [step.act() for step in self.rollout.finish(self.site)]


def a_stage(root: Path, rollout: Rollout, way: Way, world: World) -> Stage:
    """Return a stage on which supervisor runs the processes."""
    target = a_target(world, root)
    return Stage(rollout, Site(target, supervisor(), way.router), way)


@contextmanager
def plain_stage(root: Path, rollout: Rollout, way: Way, world: World, hosts: int = 0) -> Iterator[Stage]:
    """Give a stage of plain processes, on golive's own machine or on so many hosts."""
    target = a_target(world, root)
    life = Life()
    found = {}
    for number in range(1, hosts + 1):
        (root / f"h{number}").mkdir()
        address = f"127.0.0.{number}"
        there = target.at(world=elsewhere(world, address), root=root / f"h{number}")
        found[f"h{number}"] = Host(there, address)
    stage = Stage(rollout, Site(target, Plain(life=life), way.router, found), way)
    try:
        yield stage
    finally:
        stage.site.platform.close(target)
