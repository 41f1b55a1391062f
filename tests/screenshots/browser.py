"""A headless Chromium with one page, driven by its DevTools protocol; it reaches loopback addresses only."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WITHIN = 60.0
"""Seconds that the browser may take for anything."""
SETTLED_WITHIN = 10.0
"""Seconds after which a page is shown as it is."""
TALLEST = 6000
"""Pixels of a page beyond which its picture is cut."""
_STILL = """(() => {
  if (document.readyState !== 'complete') return '';
  if (document.querySelector('[data-slot=skeleton], .animate-pulse')) return '';
  return `${location.href} ${document.querySelectorAll('*').length} ${document.body.innerText}`;
})()"""
_HEIGHT = """Math.max(document.documentElement.scrollHeight, ...[...document.querySelectorAll('*')]
  .filter(one => /auto|scroll/.test(getComputedStyle(one).overflowY) && one.clientWidth > innerWidth / 2)
  .map(one => one.getBoundingClientRect().top + one.scrollHeight))"""


class NoBrowserError(Exception):
    """There is no Chromium on this machine, or it does not answer."""


@dataclass
class Browser:
    """The page of a running Chromium."""

    socket: Connection
    width: int = 1280
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; what the browser tells by itself is left alone."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self.socket.recv(timeout=WITHIN))
            if said.get("id") == number:
                if "error" in said:
                    raise NoBrowserError(f"{method}: {said['error']['message']}")
                return dict(said["result"])

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript comes to in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise NoBrowserError(f"{expression[:80]}: {result['exceptionDetails']['text']}")
        return result["result"].get("value")

    def size(self, width: int = 1280, height: int = 900) -> None:
        """Give the window a size."""
        self.width = width
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def look(self, *, dark: bool = False, printed: bool = False) -> None:
        """Choose what style sheets are told of the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if printed else "", features=[scheme])

    def go(self, url: str) -> None:
        """Open an address and wait until the page stands still."""
        self.size(self.width)
        self.call("Page.navigate", url=url)
        self.settle()

    def settle(self, quiet: float = 1.0) -> None:
        """Wait until the page has been the same for ``quiet`` seconds; some never stand still, so not for long."""
        deadline = time.monotonic() + SETTLED_WITHIN
        before, since = "", time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            now = str(self.value(_STILL))
            if not now or now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since >= quiet:
                return

    def click(self, selector: str, text: str = "") -> bool:
        """Click the first element that a selector finds and whose text is this; tell whether there was one."""
        found = self.value(
            f"(() => {{ const one = [...document.querySelectorAll({json.dumps(selector)})]"
            f".find(one => !{json.dumps(text)} || one.innerText.trim() === {json.dumps(text)});"
            f" one?.click(); return Boolean(one); }})()"
        )
        self.settle()
        return bool(found)

    def fill(self, selector: str, text: str) -> None:
        """Write into a field as a person does, so that the page hears of it."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def picture(self, path: Path, *, height: int = 0) -> None:
        """Take a picture of the whole page, or of as much as a window of ``height`` shows."""
        tall = height or min(TALLEST, int(self.value(_HEIGHT)))
        self.size(self.width, max(300, tall))
        self.settle(0.6)
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(taken["data"]))

    def printed(self, path: Path) -> None:
        """Write what a printer would get, as PDF."""
        made = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(made["data"]))


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Run a Chromium until the block ends; raises `NoBrowserError` where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise NoBrowserError("there is no chromium here; on Debian: apt-get install chromium")
    home = Path(tempfile.mkdtemp(prefix="golive-browser-"))
    words = [
        program,
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={home}",
        "--no-first-run",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # as root it does not start with one
        "about:blank",
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        try:
            with connect(_page_of(home), max_size=None, proxy=None) as socket:
                browser = Browser(socket)
                browser.call("Page.enable")
                browser.size()
                yield browser
        finally:
            run.terminate()
            run.wait(WITHIN)
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)  # its helpers may still write into its directory
            shutil.rmtree(home, ignore_errors=True)


def _page_of(home: Path) -> str:
    """Return the address of the browser's one page, once it has told its port."""
    told, deadline = home / "DevToolsActivePort", time.monotonic() + WITHIN
    while not told.exists() or not told.read_text().strip():
        if time.monotonic() > deadline:
            raise NoBrowserError(f"chromium told no port within {WITHIN:g} s")
        time.sleep(0.1)
    port = told.read_text().split()[0]
    pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=WITHIN, trust_env=False).json()
    return str(next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page"))
