"""Looks whether a running service lists just the providers whose modules are here: ``--url http://127.0.0.1:8080``."""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from pathlib import Path


def listed(url: str) -> set[str] | str:
    """Return which providers the service lists, or why that cannot be said."""
    try:
        with urllib.request.urlopen(f"{url}/api/providers", timeout=5) as answer:  # noqa: S310 - the operator's URL
            return set(json.load(answer)["providers"])
    except (OSError, ValueError) as error:
        return str(error)


def main() -> None:
    """Ask until they agree, or end with both lists."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--within", type=float, default=15, help="seconds in which it may start anew (15)")
    given = parser.parse_args()
    here = {path.stem for path in (Path(__file__).parent / "providers").glob("[a-z]*.py")}
    until = time.monotonic() + given.within
    while (found := listed(given.url)) != here and time.monotonic() < until:
        time.sleep(0.2)
    if found != here:
        raise SystemExit(f"the service lists {found}, expected {sorted(here)}")
    sys.stdout.write(f"✓ {len(here)} providers: {', '.join(sorted(here))}\n")


if __name__ == "__main__":
    main()
