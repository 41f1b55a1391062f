"""What is built from a version's code on the host: whole or not at all, in its final place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.domain.errors import CommandFailed, DiskTooSmall, GoliveError, OutsideError, Refused
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.sources import ARCHIVED, MARKER, archive, placed, show_current
from tasks.sources.directory import Directory
from tests.flows import wait_until
from tests.parts import require_part, small_disk
from tests.sites import a_target

PYTHON = {"python": sys.executable}


@pytest.fixture(autouse=True)
def flock():
    require_part("flock")


@pytest.fixture
def target(tmp_path: Path, world: World) -> Target:
    code = tmp_path / "builds" / "v1"
    (code / "app").mkdir(parents=True)
    (code / "app" / "__init__.py").write_text("")
    (code / "app" / "broken.py").write_text("import no_such_library\n")
    return a_target(world, tmp_path / "root")


def source(target: Target, *build: dict[str, object]) -> Directory:
    path = target.root.parent / "builds"
    return Directory.model_validate({"path": str(path), "build": [{"timeout": "30s", **one} for one in build]})


def shell(text: str, **fields: object) -> dict[str, object]:
    return {"command": ["sh", "-c", text], **fields}


def left(target: Target) -> list[str]:
    return sorted(path.name for path in (target.root / "releases").glob("*"))


def a_wheel(directory: Path) -> Path:
    """Write the smallest wheel that has a program, as pip installs it without a network."""
    wheel = directory / "tool-1-py3-none-any.whl"
    info = "tool-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tool.py", "import sys\ndef main():\n    print(sys.prefix)\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntool = tool:main\n")
        file.writestr(f"{info}/RECORD", "")
    return wheel


def test_a_virtual_environment_runs_from_where_it_was_built_and_its_modules_are_there(target):
    a_wheel(target.root.parent / "builds" / "v1")
    made = source(
        target,
        {"command": ["{python}", "-m", "venv", ".venv"]},
        {"command": [".venv/bin/pip", "install", "--quiet", "--no-index", "./tool-1-py3-none-any.whl"]},
        {"imports": ["app", "tool"]},
    )
    fetched = made.fetch(target, "v1")
    said = subprocess.run([fetched.directory / ".venv" / "bin" / "tool"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(fetched.directory / ".venv")
    assert fetched.identity == made.identify(target, "v1")
    assert left(target) == ["v1"]
    assert placed(target, "v1") == made.fetch(target, "v1")


def test_a_build_that_fails_leaves_nothing_and_says_what_it_wrote_last_without_secrets(target, monkeypatch):
    monkeypatch.setenv("BUILD_TOKEN", "hidden-word")
    failing = shell(
        'cp -r . ../spare; echo "no package, asked with $TOKEN"; exit 3', environment={"TOKEN": "${env:BUILD_TOKEN}"}
    )
    with pytest.raises(CommandFailed, match="build step 2 of 2 failed: exit code 3") as caught:
        source(target, shell("touch made"), failing).fetch(target, "v1")
    assert "no package, asked with •••" in str(caught.value)
    assert left(target) == ["spare"]
    assert not (target.root / "releases" / "spare" / MARKER).exists()
    assert source(target, shell("test ! -e made")).fetch(target, "v1").directory.is_dir()


def test_a_build_that_hangs_is_ended_and_not_tried_again(target):
    with pytest.raises(CommandFailed, match="build step 1 of 1 failed: did not end") as caught:
        source(target, shell("sleep 60 & sleep 60", timeout="300ms")).fetch(target, "v1")
    assert not caught.value.retryable
    assert left(target) == []


def test_an_import_that_fails_names_the_module(target):
    with pytest.raises(CommandFailed, match=r"cannot import app\.broken: ModuleNotFoundError.*no_such_library"):
        source(target, {"imports": ["app", "app.broken"], **PYTHON}).fetch(target, "v1")
    assert left(target) == []


def test_another_build_of_the_same_code_is_another_content_of_the_version(target):
    first = source(target, shell("echo one > made"))
    fetched = first.fetch(target, "v1")
    other = source(target, shell("echo two > made"))
    assert first.identify(target, "v1") != other.identify(target, "v1") != source(target).identify(target, "v1")
    with pytest.raises(Refused, match="one thing"):
        other.fetch(target, "v1")
    assert (fetched.directory / "made").read_text() == "one\n"


@pytest.mark.parametrize("wrong", [{}, {"command": ["true"], "imports": ["app"]}, {"command": ["x", "${env:A}"]}])
def test_a_step_is_a_command_without_secrets_or_a_list_of_modules(target, wrong):
    with pytest.raises(ValidationError):
        source(target, wrong)


DRIVER = """
import sys
from tests.integration.test_build import source, shell
from tests.sites import a_target
from pathlib import Path
from tasks.context import world
target = a_target(world(), Path(sys.argv[1]))
source(target, shell(sys.argv[2])).fetch(target, "v1")
"""


def test_a_build_that_was_killed_is_begun_anew_once_what_it_left_running_has_ended(target):
    text = "touch begun; sleep 1.5; touch late"
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(target.root), text], env=os.environ)
    try:
        wait_until(lambda: (target.root / "releases" / "v1" / "begun").exists())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert placed(target, "v1") is None
    assert source(target).prune(target, []) == []
    assert "v1" in left(target), "a command that still runs there was pulled away"
    fetched = source(target, shell("test ! -e begun && test ! -e late && touch good")).fetch(target, "v1")
    assert {path.name for path in fetched.directory.iterdir()} == {MARKER, "app", "good"}
    assert left(target) == ["v1"]


def test_what_a_killed_build_has_left_is_swept_and_what_is_whole_stays(target):
    made = source(target).fetch(target, "v1")
    releases = target.root / "releases"
    (releases / ".v1.making").write_text("killed after the marker was written")
    (releases / "v2").mkdir()
    (releases / ".v2.making").write_text("killed before")
    (releases / "by-hand").mkdir()
    source(target).prune(target, ["v1"])
    assert left(target) == ["by-hand", "v1"]
    assert placed(target, "v1") == made


def test_a_process_whose_version_another_one_makes_by_now_stops_and_spoils_nothing(target):
    taken_over = "echo another > ../.v1.making"
    with pytest.raises(Refused, match="another process makes v1 now"):
        source(target, shell(taken_over), shell("touch never")).fetch(target, "v1")
    assert placed(target, "v1") is None
    assert source(target, shell("test ! -e never")).fetch(target, "v1").directory.is_dir()


def test_a_disk_that_is_full_amid_code_or_build_holds_no_part_of_the_version(target):
    for big, build in ((200_000, []), (10, [shell("head -c 200000 /dev/zero > much")])):
        (target.root.parent / "builds" / "v1" / "asset").write_bytes(b"x" * big)
        with small_disk(target.root, "128k"):
            with pytest.raises(GoliveError, match="No space left on device") as caught:
                source(target, *build).fetch(target, "v1")
            assert isinstance(caught.value, CommandFailed if build else OutsideError | DiskTooSmall)
            assert left(target) == []


def test_an_archived_version_is_out_of_the_way_with_its_reason_and_would_be_built_anew(target):
    made = source(target, shell("date +%N > made"))
    first = (made.fetch(target, "v1").directory / "made").read_text()
    assert show_current(target, "v1") == {"current": "releases/v1"}
    where = archive(target, "v1", "errors above 20 %")
    assert where is not None
    assert json.loads((where / ARCHIVED).read_text())["reason"] == "errors above 20 %"
    assert archive(target, "v1", "again") is None
    assert made.prune(target, []) == []
    assert (made.fetch(target, "v1").directory / "made").read_text() != first
    assert (where / "made").read_text() == first


def test_of_archived_releases_the_newest_stay_and_what_golive_did_not_archive(target):
    archived = target.root / "archive"
    for number in range(4):
        made = source(target, shell(f"echo {number} > made")).model_copy(update={"keep": 2})
        made.fetch(target, "v1")
        where = archive(target, "v1", f"fault {number}")
        assert where is not None
        where.rename(archived / f"v1-2026010{number}-000000")
    (archived / "somebodys-20250101-000000").mkdir()
    assert made.prune(target, []) == ["archive/v1-20260100-000000", "archive/v1-20260101-000000"]
    left_there = sorted(path.name for path in archived.iterdir())
    assert left_there == ["somebodys-20250101-000000", "v1-20260102-000000", "v1-20260103-000000"]
    assert made.model_copy(update={"keep": 1}).prune(target, []) == ["archive/v1-20260102-000000"]
    assert made.model_copy(update={"keep": 1}).prune(target, []) == []


def test_the_link_to_the_current_version_is_switched_and_trouble_with_it_holds_nothing_up(target):
    source(target).fetch(target, "v1")
    show_current(target, "v1")
    assert (target.root / "current" / "app").is_dir()
    (target.root / "current").unlink()
    (target.root / "current").mkdir()
    assert show_current(target, "v1")["current"].startswith("not switched")
    assert "no directory" in show_current(target, "v9")["current"]
