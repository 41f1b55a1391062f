"""The files of examples/several_machines name settings that Prefect knows, and its guide the commands that are run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prefect.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "several_machines"
AS_BY_DEFAULT = {"PREFECT_SERVER_API_PORT"}
"""What stands in a file for people to change."""


def variables(name: str) -> dict[str, str]:
    lines = [line for line in (EXAMPLE / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def settings(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]) -> dict[str, object]:
    """Return Prefect's settings as a process has them in whose environment these alone are Prefect's."""
    with monkeypatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        for name, value in given.items():
            patch.setenv(name, value)
        return Settings().model_dump(mode="json", context={"include_secrets": True})


@pytest.mark.parametrize("name", ["server.env", "worker.env"])
def test_prefect_heeds_every_setting_of_the_example(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {**variables(name), "PREFECT_HOME": str(tmp_path)}
    found = settings(monkeypatch, given)
    # Those of prefect-redis are its own.
    for one in given.keys() - AS_BY_DEFAULT:
        if one.startswith("PREFECT_") and not one.startswith("PREFECT_REDIS_"):
            assert settings(monkeypatch, {key: value for key, value in given.items() if key != one}) != found, one


def test_the_commands_of_the_guide_are_those_that_the_test_of_several_machines_runs() -> None:
    guide = (ROOT / "docs" / "how-to" / "several-machines.md").read_text()
    told = {line for block in re.findall(r"```console\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()}
    read = {f"set -a; . ./{name}.env; set +a" for name in ("server", "balancer", "worker")}
    supervised = {f"supervisord -c {role}.conf" for role in ("api", "services", "worker")}
    assert told == read | supervised | {
        "pip install 'golive[several-machines]'",
        "prefect server database upgrade --yes",
        "haproxy -f haproxy.cfg",
        "golive register",
        "golive doctor",
    }
