"""Pictures of all that people see: ``python -m tests.screenshots DIRECTORY``; needs chromium, and about ten minutes.

golive is brought up as by ``golive up``, two systems are taken through releases, and a headless Chromium looks at the
UI's pages, the artifacts and the reports. What stands in Slack is written as text. Nothing but loopback is used, and
nothing is left but DIRECTORY.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.screenshots.browser import Browser, NoBrowserError, a_browser
from tests.screenshots.chat import conversation
from tests.screenshots.scene import Scene, a_scene

PARTS = ("lists", "forms", "runs", "artifacts", "reports")
TABS = ("Logs", "Details", "TaskRuns", "SubflowRuns", "Artifacts", "Parameters")
"""Of a run; the first two are shown of each."""
UI = "/v2"
"""Where Prefect serves the UI that it shows by default."""


@dataclass
class Album:
    """Takes the pictures and says which."""

    scene: Scene
    browser: Browser
    directory: Path

    def take(self, name: str, height: int = 0) -> None:
        """Take a picture of what the browser shows."""
        self.browser.picture(self.directory / f"{name}.png", height=height)
        self.scene.tell(f"{name}.png")

    def page(self, path: str, name: str, height: int = 0) -> None:
        """Take a picture of a page of the UI."""
        self.browser.go(f"{self.scene.server.ui}{UI}{path}")
        self.take(name, height)

    def all(self, parts: Sequence[str]) -> None:
        """Take every picture of these parts."""
        (self.directory / "slack.txt").write_text(conversation(self.scene.slack))
        self.sign_in()
        for part in parts:
            getattr(self, part)()

    def sign_in(self) -> None:
        """Show the login, and log in by what `golive up` names."""
        self.page("/login", "00-login", height=900)
        self.browser.fill("input", self.scene.server.password)
        self.browser.click("button[type=submit]")

    def lists(self) -> None:
        """Show where people come by first."""
        for path in ("dashboard", "deployments", "runs", "artifacts", "concurrency-limits"):
            self.page(f"/{path}", f"01-{path}")

    def forms(self) -> None:
        """Show each deployment, and the form by which it is started."""
        for name, id_ in sorted(self.scene.deployments().items()):
            self.page(f"/deployments/deployment/{id_}", f"02-deployment-{name}")
            self.page(f"/deployments/deployment/{id_}/run", f"03-form-{name}")

    def runs(self) -> None:
        """Show each run with its graph and what its tabs hold."""
        for name, id_ in self.scene.flow_runs.items():
            for tab in TABS if name == "release-good" else TABS[:2]:
                self.page(f"/runs/flow-run/{id_}?tab={tab}", f"04-run-{name}-{tab.lower()}")

    def artifacts(self) -> None:
        """Show the last of each artifact."""
        for one in self.scene.ask("/artifacts/latest/filter"):
            self.page(f"/artifacts/artifact/{one['latest_id']}", f"05-artifact-{one['key']}")

    def reports(self) -> None:
        """Show the reports as pages in light and dark, on a telephone, and on paper."""
        from tasks.report import write_report

        for release in self.scene.releases:
            name = f"06-report-{release}"
            self.browser.size(1280)
            self.browser.go(write_report(release).as_uri())
            self.take(f"{name}-light")
            self.browser.look(dark=True)
            self.take(f"{name}-dark")
            self.browser.look()
            self.browser.size(400)
            self.take(f"{name}-narrow")
            self.browser.size(1280)
            self.browser.printed(self.directory / f"{name}.pdf")
            if shutil.which("pdftoppm"):
                words = ["pdftoppm", "-r", "70", "-png", f"{name}.pdf", f"{name}-printed"]
                subprocess.run(words, cwd=self.directory, check=True, timeout=120)


def main() -> int:
    """Take the pictures and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the pictures go; made if need be")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which pictures; all by default")
    parser.add_argument("--hold", action="store_true", help="let everything stay up until Enter is pressed")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started is ended then too
    tell = _clock()
    try:
        with a_browser() as browser, a_scene(tell) as scene:
            Album(scene, browser, given.directory).all(given.parts or PARTS)
            if given.hold:
                print(f"{scene.server.ui}, {scene.server.password}")
                sys.stdin.readline()
    except KeyboardInterrupt:
        return 130
    except NoBrowserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _clock() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
