from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands import either_like, systems_like
from tasks.domain.errors import ChecksFailed
from tasks.domain.ports import RunningServer
from tests.flows import SmallSystem, a_system
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def without_a_prefect_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)  # that of other tests in this process


@pytest.fixture(scope="module")
def shop(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system of which nothing runs, with a ledger; one release of it was left behind by its process."""
    with a_system(pg_server) as system:
        yield system


def examined(code: int = ChecksFailed.exit_code) -> dict[str, dict[str, Any]]:
    seen = CliRunner().invoke(app, ["doctor", "--json"])
    assert seen.exit_code == code, seen.output + repr(seen.exception)
    return {one["about"]: one for one in json.loads(seen.stdout)}


def test_what_is_well_and_what_is_not_is_told_with_what_to_do(shop: SmallSystem) -> None:
    found = examined()
    for about in ("python", "disk", "ledger", "clock", "guard", "shop: secrets", "shop: database", "program squawk"):
        assert found[about]["outcome"] == "passed", found[about]
    assert found["Prefect"]["outcome"] == "failed"
    assert found["Prefect"]["do"] == "golive up"
    said = CliRunner().invoke(app, ["doctor"]).stdout
    assert "✗ Prefect: its server was never started" in said
    assert "→ golive up" in said
    assert shop.dsn not in said


def test_a_secret_without_a_value_is_named_and_one_with_a_value_is_not_shown(
    shop: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://ana:hidden-word@127.0.0.1:9/shop")
    seen = CliRunner().invoke(app, ["doctor"])
    assert "✗ shop: database" in seen.stdout
    assert "hidden-word" not in seen.output
    shop.write({"description": "${env:SHOP_OTHER}"})
    try:
        found = examined()
    finally:
        shop.write({"description": ""})
    assert "${env:SHOP_OTHER}" in found["shop: secrets"]["seen"]
    monkeypatch.delenv("SHOP_DSN")
    assert "not in use here" in examined()["shop"]["seen"]


def test_a_release_whose_process_has_died_and_a_silent_guard_are_found(shop: SmallSystem) -> None:
    from tasks.ledger.releases import Opening

    book = shop.ledger
    row = book.releases.open(
        Opening(id="shop-20261122-0000-aaaa", system="shop", version="v2", scope="release", mutates=True,
                started_by="ann", reason="", file="x", file_text=shop.path.read_text(), previous_version="v1",
                identity="x", checklist_text="")
    )  # fmt: skip
    assert f"nobody drives {row.id}" in examined()["releases"]["seen"]
    assert either_like("sho") == ["shop", row.id]


def test_a_ledger_that_does_not_answer_is_told(shop: SmallSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_LEDGER_URL", f"postgresql://x@127.0.0.1:{free_port()}/ledger?connect_timeout=2")
    found = examined()
    assert found["ledger"]["outcome"] == "failed"
    assert "GOLIVE_LEDGER_URL" in found["ledger"]["do"]
    assert either_like("sho") == ["shop"]


def test_names_are_completed_by_the_shell(shop: SmallSystem) -> None:
    assert systems_like("x") == []
    asked = {**os.environ, "_GOLIVE_COMPLETE": "complete_bash", "COMP_WORDS": "golive status sho", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from deployments.cli import main; main()"],
        env=asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "shop" in done.stdout.split(), done.stderr
