"""Every command prints JSON of a documented shape where that is asked for, or there is a reason why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

from deployments.cli import app
from deployments.reference import cli_reference, commands_of
from deployments.shapes import SHAPES, WITHOUT
from tasks.domain import errors
from tests.shapes import as_json

pytestmark = pytest.mark.usefixtures("own_installation")
COMMANDS: dict[str, Any] = dict(commands_of(typer.main.get_command(app)))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_command_has_json_of_a_documented_shape_or_a_reason(name: str) -> None:
    offers = any("--json" in one.opts for one in COMMANDS[name].params)
    assert offers is (name in SHAPES)
    assert offers is not (name in WITHOUT)
    assert f"`{name}`" in cli_reference(app).partition("## JSON")[2]


def test_nothing_is_documented_that_is_no_command() -> None:
    assert {*SHAPES, *WITHOUT} == set(COMMANDS)


def test_what_is_said_of_a_release_file_is_json(tmp_path: Path) -> None:
    document = tmp_path / "go-live.md"
    document.write_text("# Before\n\n- [ ] Back the database up\n- [ ] Tell the customers\n")
    begun = as_json("init", "shop", "--checklist", str(document))
    assert begun["file"].endswith("systems/shop/release.yaml")
    assert begun["checklist"]["asked"] == 2
    code = tmp_path / "store"
    code.mkdir()
    (code / "Procfile").write_text("web: uvicorn app:app --port $PORT\n")
    assert as_json("init", f"{code}/")["fill_in"]
    assert {one["system"] for one in as_json("validate")} == {"shop", "store"}
    (tmp_path / "systems" / "shop" / "release.yaml").write_text("system: shop\n")
    faulty, sound = as_json("validate", code=errors.UserError.exit_code)
    assert "missing" in faulty["fault"]
    assert sound["fault"] is None
    assert as_json("checklist", "import", str(document))["new"] == ["CL-001", "CL-002"]


def test_how_a_checklist_is_covered_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOLIVE_SYSTEMS")
    assert as_json("checklist", "show", "pilot2")["rows"]
