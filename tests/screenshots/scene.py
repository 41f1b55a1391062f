"""What the pictures show: two systems that golive has taken through a good release, a bad one, and one that waits.

glad-labs, as in the demo, goes v1 → v2 under load and is found stable; v3 is bad and comes back by itself. The small
shop's v2 waits for signatures. All runs are started as a person starts them in the UI, and made by golive's worker.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.registering import post
from deployments.server import LocalServer, local_server
from deployments.serving import bring_up, take_down
from examples.client import LoadClient
from examples.demo_system import DemoSystem
from examples.slack_server import TOKEN, FakeSlack, fake_slack
from tasks.adapters.pg_server import EmbeddedServer
from tasks.adapters.postgres import Postgres
from tasks.settings import Settings
from tests.flows import DATA, GROW, SmallSystem
from tests.services import free_port

HOUR = 1.5
"""Seconds that stand for an hour of the watch of glad-labs."""
WITHIN = 240.0
"""Seconds within which a run must have ended."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
Tell = Callable[[str], None]


@dataclass
class Scene:
    """A golive that is up, and what it did."""

    home: Path
    settings: Settings
    server: LocalServer
    slack: FakeSlack
    tell: Tell
    flow_runs: dict[str, str] = field(default_factory=dict)
    """The runs of which pictures are taken, by a name for their files."""
    releases: list[str] = field(default_factory=list)

    def deployments(self) -> dict[str, str]:
        """Return the id of each deployment by its name."""
        return {one["name"]: one["id"] for one in self.ask("/deployments/filter")}

    def ask(self, path: str, **values: Any) -> Any:
        """Ask Prefect's API."""
        return post(self.server, path, **values)

    def start(self, deployment: str, picture: str = "", **parameters: Any) -> str:
        """Start a deployment as its form does, and return the run's id; ``picture`` makes it one to be shown."""
        path = f"/deployments/{self.deployments()[deployment]}/create_flow_run"
        run = str(self.ask(path, parameters=parameters)["id"])
        if picture:
            self.flow_runs[picture] = run
        return run

    def wait(self, *runs: str) -> None:
        """Wait until these runs have ended, and say how."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = self.ask("/flow_runs/filter", flow_runs={"id": {"any_": list(runs)}})
            if all(one["state"] and one["state"]["type"] in ENDED for one in found):
                for one in found:
                    self.tell(f"{one['name']}: {one['state']['name'].lower()} after {one['total_run_time']:.0f} s")
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{[one['name'] for one in found]} did not end within {WITHIN:g} s")
            time.sleep(0.5)

    def run(self, deployment: str, picture: str = "", **parameters: Any) -> str:
        """Start a deployment and wait for its end."""
        run = self.start(deployment, picture, **parameters)
        self.wait(run)
        return run

    def remember_latest(self, system: str) -> str:
        """Put the newest release of a system among those whose reports are shown, and return its id."""
        from tasks.context import ledger

        latest = str(ledger(self.settings).releases.latest(system, 1)[0].id)
        self.releases.append(latest)
        return latest


@contextmanager
def a_scene(tell: Tell) -> Iterator[Scene]:
    """Bring golive up below a temporary directory, put the releases through, and end all of it after the block."""
    home = Path(tempfile.mkdtemp(prefix="golive-pictures-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "GOLIVE_"))]:
        del os.environ[name]
    os.environ.update(GOLIVE_HOME=str(home / "golive"), GOLIVE_SYSTEMS=str(home / "systems"))
    (home / "golive").mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        slack = stack.enter_context(fake_slack())
        production = EmbeddedServer(home / "production")
        stack.callback(production.stop)
        system = DemoSystem.make(home, production, slack.base_url, TOKEN, HOUR)
        shop = _a_shop(home, production, slack.base_url)
        os.environ.update({**system.environment, **shop.variables})
        settings = Settings.from_environment()
        stack.callback(take_down, settings, tell, keep_ledger=False, force=True)
        bring_up(settings, tell)
        scene = Scene(home, settings, local_server(settings), slack, tell)
        stack.callback(shop.stop_service)
        stack.callback(system.end)
        stack.callback(system.end_guard, home / "golive")
        _play(scene, system, shop)
        yield scene


def _a_shop(home: Path, production: EmbeddedServer, slack_url: str) -> SmallSystem:
    """Make the small system of the tests beside the other; nobody signs for it yet."""
    dsn = production.dsn("shop")
    with Postgres().session(dsn) as session:
        session.script(DATA)
    shop = SmallSystem(home / "shop", "shop", dsn, "", {}, {"SHOP_DSN": dsn}, port=free_port())
    shop.path.parent.mkdir(parents=True)
    (home / "systems" / "shop").symlink_to(shop.path.parent)
    shop.file = shop.plain_file()
    shop.file["description"] = "Sells what is in stock."
    shop.file["notify"] = [
        {"kind": "slack", "token": "${env:GLAD_LABS_SLACK_TOKEN}", "channel": "ops", "base_url": slack_url}
    ]
    shop.write()
    shop.add_version("v1")
    shop.add_version("v2", up={"1_grow": GROW}, down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"})
    return shop


def _play(scene: Scene, system: DemoSystem, shop: SmallSystem) -> None:
    scene.wait(
        scene.start("deploy", "deploy", system="glad-labs", version="v1", started_by="ann"),
        scene.start("deploy", system="shop", version="v1", started_by="ann"),
    )
    shop.write({"sign_off": {"go": ["technical_lead", "dba"], "remind": "4h"}})
    with LoadClient(system.base_url, 20.0, system.token, out=scene.home / "client.jsonl"):
        what = {"system": "glad-labs", "version": "v2", "reason": "the audit trail", "started_by": "ann"}
        good = scene.start("release", "release-good", **what)
        waits = scene.start("release", "release-waits", system="shop", version="v2", reason="colours", started_by="ann")
        scene.wait(good, waits)
        waiting = scene.remember_latest("shop")
        scene.run("approve", "approve", waiting=waiting, role="dba", person="Dora", reason="read the plan")
        _watch(scene, scene.remember_latest("glad-labs"))
        scene.run("monitor", "monitor")
        scene.run("release", "release-bad", **what | {"version": "v3", "reason": "a faster list of tasks"})
        _watch(scene, scene.remember_latest("glad-labs"))
    scene.run("backup", "backup", system="glad-labs", version="v2", started_by="ann")
    scene.run("restore-drill", "restore-drill", system="glad-labs")
    scene.run("preflight", "preflight-fails", system="glad-labs", version="v9", started_by="ben")


def _watch(scene: Scene, release: str) -> None:
    """Let the monitor look each "hour" until the watch has ended one way or the other."""
    from flows.monitor import monitor
    from tasks.context import ledger
    from tasks.domain.release import State

    book, deadline = ledger(scene.settings), time.monotonic() + WITHIN
    while (state := State(book.releases.get(release).state)) in {State.WATCHING, State.ROLLING_BACK}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the watch of {release} did not end within {WITHIN:g} s")
        next_look = time.monotonic() + HOUR
        asyncio.run(monitor())
        time.sleep(max(0.0, next_look - time.monotonic()))
    scene.tell(f"{release}: {state}")
