"""Holds /metrics against what this program does itself: ``python verify_metrics.py --url URL``."""

import argparse
import re
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

REQUESTS = 20


def read(url: str, name: str, labels: str = "") -> float:
    """Return the sum of a metric's series whose labels hold a text."""
    with urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - the address is given
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}(\{{|\s)", line) and labels in line)


def main() -> None:
    """Ask for a lot that is not there, as nobody else does, and compare the counts and the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    url = parser.parse_args().url.rstrip("/")
    labels = 'path="/api/v1/lots/{row_id}",status="404"'
    names = ("neurohub_requests_total", "neurohub_request_seconds_total")
    before = [read(url, name, labels) for name in names]
    queries, began = read(url, "neurohub_queries_total"), time.monotonic()
    for _ in range(REQUESTS):
        try:
            urlopen(f"{url}/api/v1/lots/2000000000", timeout=10)  # noqa: S310 - the address is given
        except HTTPError as error:
            if error.code != 404:
                raise
    took = time.monotonic() - began
    counted, seconds = (read(url, name, labels) - was for name, was in zip(names, before, strict=True))
    asked = read(url, "neurohub_queries_total") - queries
    sys.stdout.write(f"{counted:g} of {REQUESTS} requests, {seconds:.3f} of {took:.3f} s, {asked:g} queries\n")
    sys.exit(not (counted == REQUESTS and 0 < seconds <= took and asked >= REQUESTS))


if __name__ == "__main__":
    main()
