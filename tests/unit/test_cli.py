from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
from pydantic import BaseModel
from ruamel.yaml import YAML
from typer.testing import CliRunner

from deployments import looking, serving
from deployments.cli import app
from deployments.output import reported
from deployments.reference import _form, cli_reference, commands_of, release_file_reference, release_file_schema
from tasks.domain import errors, units
from tasks.domain.release import State
from tasks.settings import Settings
from tasks.spec import loading
from tasks.spec.kinds import PACKAGES, kinds_in

pytestmark = pytest.mark.usefixtures("own_installation")
ROOT = Path(__file__).resolve().parents[2]
GLAD_LABS = ROOT / "deployments" / "systems" / "glad-labs" / "release.yaml"


def golive(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def a_system(directory: Path, name: str = "shop", change: tuple[str, str] = ("", "")) -> Path:
    assert golive("init", name).exit_code == 0
    path = directory / "systems" / name / "release.yaml"
    path.write_text(path.read_text().replace(*change) if change[0] else path.read_text())
    return path


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["validate", "glad-labs"], ["schema"], ["reference"]])
def test_what_needs_no_flow_does_not_import_what_is_heavy(words: list[str]) -> None:
    heavy = ("prefect", "sqlalchemy", "scipy", "matplotlib", "psycopg", "alembic", "slack_sdk")
    script = f"""
import sys
from deployments.cli import app
try:
    app({words!r})
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    environment = {name: value for name, value in os.environ.items() if name != "GOLIVE_SYSTEMS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_a_release_file_to_begin_with_is_valid(tmp_path: Path) -> None:
    path = a_system(tmp_path)
    seen = golive("validate")
    assert seen.exit_code == 0
    assert f"ok: {path}: shop, 2 checks, 2 triggers" in seen.stdout


def test_a_release_file_is_never_overwritten(tmp_path: Path) -> None:
    path = a_system(tmp_path)
    path.write_text("mine")
    assert golive("init", "shop").exit_code == errors.Refused.exit_code
    assert path.read_text() == "mine"


def test_a_name_that_leads_out_of_the_directory_of_systems_is_refused(tmp_path: Path) -> None:
    assert golive("init", "../shop").exit_code == 2
    assert not (tmp_path / "shop").exists()


def test_a_fault_comes_with_path_line_and_the_likely_key(tmp_path: Path) -> None:
    path = a_system(tmp_path, change=("base_url:", "base_ulr:"))
    seen = golive("validate", "shop")
    assert seen.exit_code == 2
    assert f"{path}:4: base_ulr: unknown key; did you mean base_url?" in seen.stderr
    assert not seen.stdout


def test_all_files_are_checked_even_if_the_first_is_wrong(tmp_path: Path) -> None:
    a_system(tmp_path, "aaa", change=("kind: sql", "kind: sqll"))
    a_system(tmp_path, "zzz")
    seen = golive("validate")
    assert seen.exit_code == 2
    assert "did you mean sql?" in seen.stderr
    assert "zzz, 2 checks" in seen.stdout


def test_a_file_in_a_directory_of_another_name_is_a_fault(tmp_path: Path) -> None:
    a_system(tmp_path, change=("system: shop", "system: shops"))
    seen = golive("validate")
    assert seen.exit_code == 2
    assert "system is 'shops'; expected shop" in seen.stderr


def test_a_path_is_checked_wherever_it_lies() -> None:
    seen = golive("validate", str(GLAD_LABS))
    assert seen.exit_code == 0, seen.stderr


def test_no_release_file_at_all_is_said() -> None:
    seen = golive("validate")
    assert seen.exit_code == 2
    assert "golive init" in seen.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("release", "shp", "v2"), "did you mean shop?"),
        (("release", "shop", "v2; touch x"), "'v2; touch x' is not a version"),
        (("rollback", "shp"), "did you mean shop?"),
        (("phase", "backup", "shop", "../v2"), "'../v2' is not a version"),
        (("block", "shop", "v 2", "--by", "ana", "--reason", "no"), "'v 2' is not a version"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_started(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    a_system(tmp_path)
    seen = golive(*words)
    assert seen.exit_code == 2
    assert says in seen.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "to",
    [
        "postgresql://ana:hidden-word@db/shop",
        "postgresql://ana@db/shop?password=hidden-word",
        "postgresql://ana@db/shop?pass%77ord=hidden-word",
        "host=db dbname=shop password = 'hidden-word'",
        "host=db dbname=shop sslpassword=hidden-word",
        "postgresql://ana:hidden-word${env:SHOP_TAIL}@db/shop",
    ],
)
def test_a_restore_takes_no_password_on_the_command_line_and_says_how_else(to: str) -> None:
    seen = golive("restore", "1", "--to", to)
    assert seen.exit_code == 2
    assert "the DSN holds a password" in seen.stderr
    assert "${env:NAME}" in seen.stderr
    assert "hidden-word" not in seen.output


def test_a_restore_takes_a_dsn_whose_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.keeping import HANDED_OVER, _without_a_secret

    monkeypatch.setenv("SHOP_WORD", "hidden-word")
    monkeypatch.setenv(HANDED_OVER, "")
    for given in ("${env:SHOP_DSN}", "${file:/etc/golive/dsn}", "${block:shop}", "glad-labs"):
        assert _without_a_secret(given) == given
    assert _without_a_secret("postgresql://ana:${env:SHOP_WORD}@db/shop") == "${env:GOLIVE_RESTORE_TO}"
    assert os.environ[HANDED_OVER] == "postgresql://ana:hidden-word@db/shop"
    assert _without_a_secret("postgresql://ana@db/F2X_NeuroHub") == "${env:GOLIVE_RESTORE_TO}"


@pytest.mark.parametrize("kind", [errors.GoliveError, *errors.GoliveError.__subclasses__()])
def test_every_error_has_its_own_exit_code(kind: type[errors.GoliveError]) -> None:
    def fails() -> None:
        raise kind("seen", expected="more", do="look")

    with pytest.raises(typer.Exit) as end:
        reported(fails)()
    assert end.value.exit_code == kind.exit_code


def test_an_error_nobody_foresaw_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks() -> None:
        raise RuntimeError("cannot reach postgresql://ana:hidden-word@db/shop\nand more")

    with pytest.raises(typer.Exit) as end:
        reported(breaks)()
    said = capsys.readouterr().err
    (kept,) = (tmp_path / "home" / "errors").iterdir()
    assert end.value.exit_code == 70
    assert said.startswith("error: RuntimeError: cannot reach postgresql://ana:•••@db/shop; ")
    assert str(kept) in said
    assert said.count("\n") == 1
    assert "hidden-word" not in said + kept.read_text()
    assert "in breaks" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_does_not_hide_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").write_text("a file where a directory should be")

    def breaks() -> None:
        raise RuntimeError("what matters")

    with pytest.raises(typer.Exit):
        reported(breaks)()
    assert "what matters; the traceback could not be written" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as end:
        reported(interrupted)()
    assert end.value.exit_code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_system(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    seen = golive("monitor")
    assert seen.exit_code == errors.Unreachable.exit_code
    assert "unset PREFECT_API_URL" in seen.stderr


def test_a_file_that_is_wrong_by_now_does_not_hold_a_rollback_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_system(tmp_path, change=("base_url:", "base_ulr:"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert golive("rollback", "shop").exit_code == errors.Unreachable.exit_code
    assert golive("release", "shop", "v2").exit_code == errors.UserError.exit_code


def test_a_run_within_a_flow_run_of_a_worker_is_a_run_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "another run's")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with pytest.raises(errors.Unreachable):
        serving.connect(Settings.from_environment(), print)
    assert "PREFECT__FLOW_RUN_ID" not in os.environ


def test_up_does_not_register_with_a_server_that_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    seen = golive("up")
    assert seen.exit_code == errors.Refused.exit_code
    assert "unset it" in seen.stderr


def test_down_is_fine_where_nothing_runs() -> None:
    assert golive("down").exit_code == 0


# -- what is printed of releases ------------------------------------------------------------------------------------


def _facts(state: State, **more: Any) -> dict[str, Any]:
    base = {"id": "shop-1", "system": "shop", "state": state, "touched_production": True, "driven_by": None}
    return {**base, **more}


@pytest.mark.parametrize(
    ("facts", "missing", "words"),
    [
        (_facts(State.AWAITING_GO), ["dba"], "golive approve shop-1 --role dba"),
        (_facts(State.AWAITING_GO), [], "golive resume shop-1"),
        (_facts(State.NEEDS_PERSON), [], "golive accept shop-1"),
        (_facts(State.WATCHING), [], "golive rollback shop --release shop-1"),
        (_facts(State.MIGRATE), [], "golive resume shop-1"),
    ],
)
def test_what_a_person_may_do_now_is_said_as_a_command(facts: dict[str, Any], missing: list[str], words: str) -> None:
    assert words in looking.next_act(facts, missing)


@pytest.mark.parametrize("facts", [_facts(State.STABLE), _facts(State.MIGRATE, driven_by="host:1:a")])
def test_nothing_is_advised_where_nothing_is_to_be_done(facts: dict[str, Any]) -> None:
    assert looking.next_act(facts, []) == ""


def test_a_rollback_is_not_advised_where_production_is_untouched() -> None:
    assert "rollback" not in looking.next_act(_facts(State.NEEDS_PERSON, touched_production=False), [])


def test_a_release_may_be_stopped_until_production_is_touched() -> None:
    for state, missing in ((State.AWAITING_GO, ["dba"]), (State.BACKUP, [])):
        assert "golive stop shop-1" in looking.next_act(_facts(state, touched_production=False), missing)
    assert "stop" not in looking.next_act(_facts(State.MIGRATE), [])


@pytest.mark.parametrize(
    ("proven", "drill", "words"),
    [
        (False, None, "no"),
        (True, None, "by restore"),
        (True, {"at": "2026-11-22T12:00:00+00:00", "outcome": "passed"}, "by drill of 2026-11-22"),
        (True, {"at": "2026-11-22T12:00:00+00:00", "outcome": "failed"}, "drill failed of 2026-11-22"),
        (True, {"at": "2026-11-22T12:00:00+00:00", "outcome": "unknown"}, "drill unknown of 2026-11-22"),
    ],
)
def test_a_backup_is_shown_with_what_has_proven_it(proven: bool, drill: Any, words: str) -> None:
    table = looking.backups_table(
        [
            {"id": 7, "system": "shop", "at": "2026-11-20T12:00:00+00:00", "kind": "dump", "safety_copy": True,
             "bytes": 1, "took": 1.0, "proven": proven, "drill": drill, "needed_by": ["shop-1"],
             "location": "/backups/1", "encrypted": False}
        ]
    )  # fmt: skip
    (shown,) = zip(*(column.cells for column in table.columns), strict=True)
    cells = [str(cell) for cell in shown]
    assert words in cells
    assert {"7", "shop", "dump, of a restore", "shop-1", "/backups/1"} <= set(cells)


def test_markup_in_a_reason_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from deployments.output import console, say

    now = datetime.now(UTC)
    one = {
        **_facts(State.WATCHING),
        "version": "[red]v2",
        "previous_version": None,
        "scope": "release",
        "since": (now - timedelta(minutes=5)).isoformat(),
        "started_by": "[bold]ana",
        "way_back": None,
    }
    console().print(looking.releases_table([one], now))
    say("[blink]reason")
    said = capsys.readouterr().out
    assert "– → [red]v2" in said
    assert "[bold]ana" in said
    assert "(5 min)" in said
    assert "[blink]reason" in said


# -- schema and references ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "now", "how"),
    [
        ("docs/reference/release-file.md", lambda: release_file_reference(), "golive reference release-file"),
        ("docs/reference/cli.md", lambda: cli_reference(app), "golive reference cli"),
        (
            "docs/release.schema.json",
            lambda: json.dumps(release_file_schema(), indent=2, ensure_ascii=False) + "\n",
            "golive schema",
        ),
    ],
)
def test_what_is_published_is_what_the_code_says(path: str, now: Any, how: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == now(), f"write it anew: {how} > {path}"


def test_a_field_that_may_only_be_empty_is_described_too() -> None:
    assert _form(tuple[()]) == "an empty list"
    assert _form(tuple[str, ...]) == "list of text"


def test_every_command_and_option_says_what_it_is_for() -> None:
    group: Any = typer.main.get_command(app)
    for name, command in commands_of(group):
        assert command.help, name
        for one in command.params:
            assert one.help, f"{name} {one.name}"


def test_every_kind_and_every_field_of_it_is_in_the_reference() -> None:
    text = release_file_reference()
    for package in PACKAGES:
        for name, kind in kinds_in(package).items():
            heading = f"### {package.__name__.rpartition('.')[2]}: {name}\n"
            assert heading in text
            section = text.split(heading)[1].split("\n#")[0]
            for key, field in kind.model_fields.items():
                assert f"| `{field.alias or key}` |" in section, f"{heading} {key}"


def test_every_field_of_the_release_file_is_described() -> None:
    bare = [
        line
        for line in release_file_reference().splitlines()
        if line.startswith("| `") and line.rstrip().endswith(("|  |", "| |"))
    ]
    assert bare == []


def test_every_link_of_the_reference_leads_to_a_heading() -> None:
    import re

    text = release_file_reference()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)


def test_the_schema_accepts_a_release_file_that_golive_accepts() -> None:
    validator = jsonschema.Draft202012Validator(release_file_schema())
    jsonschema.Draft202012Validator.check_schema(release_file_schema())
    assert list(validator.iter_errors(YAML(typ="safe").load(GLAD_LABS))) == []


@pytest.mark.parametrize(("old", "new"), [("base_url:", "base_ulr:"), ("kind: sql", "kind: sqll"), ("10 min", "10")])
def test_the_schema_refuses_what_golive_refuses(tmp_path: Path, old: str, new: str) -> None:
    path = a_system(tmp_path, change=(old, new))
    with pytest.raises(errors.ReleaseFileError):
        loading.load(path)
    validator = jsonschema.Draft202012Validator(release_file_schema())
    assert list(validator.iter_errors(YAML(typ="safe").load(path))) != []


def test_every_default_of_a_quantity_is_written_as_people_may_write_it() -> None:
    read = {"30s": units.seconds, "2 GiB": units.size_in_bytes, "20%": units.share}
    parsed = [
        read[node["examples"][0]](node["default"])
        for node in _nodes(release_file_schema())
        if str(next(iter(node.get("examples", ())), "")) in read and node.get("default") is not None
    ]
    assert len(parsed) > 10


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(below)


def test_no_part_of_the_release_file_lacks_a_sentence() -> None:
    from deployments.reference import _models_in
    from tasks.spec.release_file import ReleaseFile

    seen: set[type[BaseModel]] = set()
    waiting: list[type[BaseModel]] = [ReleaseFile]
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen.add(model)
            waiting += list(_models_in(model))
    assert [model.__name__ for model in seen if not (model.__doc__ or "").strip()] == []
