from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.checks.command import Command
from tasks.checks.coverage import Coverage
from tasks.checks.junit import Junit
from tasks.checks.packages import Packages
from tasks.checks.python_code import PythonCode
from tasks.checks.python_imports import PythonImports
from tasks.domain.errors import CommandFailed, ToolMissing
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.gits import a_repository
from tests.looks import F, P, U, look


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


def test_modules_are_imported_by_the_release_s_own_interpreter(target, tmp_path):
    (tmp_path / "good.py").write_text("print('noise'); import sys; app = sys.prefix\n")
    (tmp_path / "broken.py").write_text("import flask_that_is_not_there\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    fields = {"python": sys.executable}
    assert look(PythonImports, target, modules=["good:app.upper", "good"], **fields).outcome is P
    reading = look(PythonImports, target, modules=["good", "broken", "exits", "good:gone"], **fields)
    assert reading.outcome is F
    for words in (
        "broken: ModuleNotFoundError: No module named 'flask_that_is_not_there'", "exits: SystemExit: 3",
        "good:gone: AttributeError",
    ):  # fmt: skip
        assert words in reading.seen
    assert not list(tmp_path.rglob("*.pyc"))
    with pytest.raises(ToolMissing):
        look(PythonImports, target, modules=["good"])
    (tmp_path / "dies.py").write_text("import os; os._exit(0)\n")
    with pytest.raises(CommandFailed, match="without an answer"):
        look(PythonImports, target, modules=["dies"], **fields)
    for wrong in ("os; import x", "a b", "a:", "-c"):
        with pytest.raises(ValidationError):
            PythonImports.model_validate({"name": "it", "modules": [wrong]})


CODE = """
import datetime
from datetime import datetime as other
from pdb import set_trace

class Service:
    def run(self, session, name):
        now = datetime.datetime.utcnow()
        later = datetime.datetime.now()
        aware = datetime.datetime.now(datetime.timezone.utc)
        session.execute(f"SET app.user = {name}")
        session.execute(text("SELECT " + name))
        session.execute("SELECT %s" % name)
        session.execute("SELECT 1 " + "FROM task " + "LIMIT 1", {"user": name})
        session.execute(text("SET app.user = :user"), {"user": name})
"""


def test_python_code_is_read_without_being_run(target, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.py").write_text(CODE)
    (tmp_path / "app" / "b.py").write_text('"""Does it.\n\nAuthor: Ada\n"""\n\nraise SystemExit("it was run")\n')
    fields = {"files": ["app/**/*.py"], "python": sys.executable}

    def lines(**more: object) -> list[str]:
        found = look(PythonCode, target, **fields, **more).detail["findings"]
        return [one.removeprefix(f"{tmp_path}/app/") for one in found]

    assert lines() == []
    assert lines(forbidden=["datetime.utcnow", "pdb.set_trace"]) == ["a.py:4 pdb.set_trace", "a.py:8 datetime.utcnow"]
    assert lines(with_arguments=["datetime.now"]) == ["a.py:9 datetime.now() without arguments"]
    assert {one.split()[0] for one in lines(built_sql=False)} == {"a.py:11", "a.py:12", "a.py:13"}
    assert lines(docstrings=["module", "class", "function"], module_says="Author: .+") == [
        "a.py:1 module has no docstring", "a.py:1 its docstring does not say Author: .+",
        "a.py:6 class Service has no docstring", "a.py:7 function run has no docstring",
    ]  # fmt: skip
    (tmp_path / "app" / "c.py").write_text("x = (\n")
    assert lines() == ["c.py:1 '(' was never closed"]
    assert look(PythonCode, target, files=["none/*.py"], python=sys.executable).outcome is F


def installed(site: Path, name: str, version: str, *needs: str) -> None:
    directory = site / f"{name}-{version}.dist-info"
    directory.mkdir()
    lines = [f"Requires-Dist: {need}" for need in needs]
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (directory / "METADATA").write_text("\n".join([*head, *lines]))


def test_packages_are_those_of_the_release_and_fit_each_other(target, tmp_path):
    venv.create(tmp_path / ".venv", symlinks=True)
    (site,) = (tmp_path / ".venv").glob("lib/python*/site-packages")
    assert look(Packages, target, installed=["flask"]).outcome is U
    installed(site, "Flask_APScheduler", "1.13", "flask>=2", "old ; python_version < '3'", "docs ; extra == 'docs'")
    reading = look(Packages, target, installed=["flask"])
    assert "flask is not installed: failed" in reading.seen
    assert "flask-apscheduler needs flask, which is not installed: failed" in reading.seen
    installed(site, "flask", "3.1.0")
    assert look(Packages, target, installed=["Flask>=3,<4", "flask-apscheduler"], not_installed=["pytest"]).outcome is P
    assert look(Packages, target, installed=["flask<3"]).seen == "flask 3.1.0 <3: failed"
    installed(site, "needy", "1", "flask<2")
    assert look(Packages, target).seen == "needy needs flask<2, 3.1.0 is installed: failed"
    assert look(Packages, target, conflicts=True, not_installed=["needy"]).seen == "needy 1: failed"
    (tmp_path / "requirements.txt").write_text(
        "# locked\nflask==3.1 \\\n    --hash=sha256:00\nflask-apscheduler==1.12\n"
        "win==1 ; sys_platform == 'win32'\n-r x\n"
    )
    reading = look(Packages, target, conflicts=True, lock="requirements.txt", only_locked=True)
    assert reading.seen == "flask-apscheduler 1.13 ≠ 1.12: failed; needy not in requirements.txt: failed"
    assert look(Packages, target, conflicts=True, lock="none.txt").outcome is U
    with pytest.raises(ValidationError, match="is not a requirement"):
        Packages.model_validate({"name": "it", "installed": ["flask >"]})


PASSED = '<testcase classname="m" name="a"/>'
BAD = '<testcase classname="m" name="b"><failure>no</failure></testcase>'
SKIPPED = '<testcase classname="m" name="c"><skipped/></testcase>'


def suite(*cases: str, more: str = "") -> str:
    return f'<?xml version="1.0"?><testsuites><testsuite {more}>{"".join(cases)}</testsuite></testsuites>'


def test_results_of_several_reports_are_added_up(target, tmp_path):
    (tmp_path / "a.xml").write_text(suite(*[PASSED] * 18, SKIPPED))
    (tmp_path / "b.xml").write_text(suite(PASSED, BAD))
    reading = look(Junit, target, files=["*.xml"])
    assert (reading.outcome, reading.value) == (F, 95)
    assert reading.seen == "19 of 20 tests passed, 95.0% ≥ 100.0%: m.b: failed"
    assert look(Junit, target, files=["*.xml"], pass_rate="95%", tests=21, max_skipped=1).outcome is P
    assert "21 tests = 37: failed" in look(Junit, target, files=["*.xml"], pass_rate="95%", tests=37).seen
    assert look(Junit, target, files=["a.xml"], max_skipped=0).seen == "1 skipped ≤ 0: failed"
    assert look(Junit, target, files=["a.xml"], min_tests=50).outcome is F
    (tmp_path / "b.xml").write_text(suite(PASSED, more='errors="1"'))
    assert look(Junit, target, files=["b.xml"]).outcome is F


@pytest.mark.parametrize(
    "text",
    ["", "no xml", "<html/>", suite(), suite(SKIPPED), '<!DOCTYPE x [<!ENTITY a "a">]><testsuite>&a;</testsuite>'],
)
def test_a_report_that_tells_of_no_test_is_unknown(target, tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    assert look(Junit, target, files=["a.xml"]).outcome is U


def test_a_report_of_before_the_commit_does_not_count(target, tmp_path):
    (tmp_path / "old.xml").write_text(suite(PASSED))
    os.utime(tmp_path / "old.xml", (1, 1))
    a_repository(tmp_path / "mirror.git", {"a": "a"}, tag="v2")
    assert look(Junit, target, files=["old.xml"], newer_than_commit=True).outcome is F
    assert look(Junit, target, files=["old.xml"], max_age="1d").outcome is F


COBERTURA = """<?xml version="1.0" ?><coverage line-rate="0.5"><sources><source>/ci/shop/api</source></sources>
<packages><package name="."><classes><class filename="a.py">
<lines><line number="1" hits="1"/><line number="2" hits="0"/></lines>
</class></classes></package></packages></coverage>"""


def test_coverage_is_judged_as_a_whole_and_by_package(target, tmp_path):
    (tmp_path / "c.xml").write_text(COBERTURA)
    assert look(Coverage, target, files=["c.xml"], at_least="50%", packages={"api": "50%"}).outcome is P
    reading = look(Coverage, target, files=["c.xml"], at_least="51%")
    assert (reading.outcome, reading.seen) == (F, "all: coverage 50 % ≥ 51 %: failed")
    assert look(Coverage, target, files=["c.xml"], packages={"engine": "0%"}).outcome is U
    (tmp_path / "c.xml").write_text("<coverage/>")
    assert look(Coverage, target, files=["c.xml"]).outcome is U


def test_a_command_is_judged_by_the_reports_that_it_writes_and_not_by_older_ones(target, tmp_path):
    (tmp_path / "r.xml").write_text(suite(PASSED))
    (tmp_path / "c.xml").write_text(COBERTURA)
    fields = {"junit": {"files": ["r.xml"], "tests": 1}, "coverage": {"files": ["c.xml"]}}
    reading = look(Command, target, argv=["true"], **fields)
    assert reading.outcome is U
    assert f"{tmp_path}/r.xml was not written anew: unknown" in reading.seen
    write = f"cp {tmp_path}/r.xml x && mv x r.xml && cp c.xml y && mv y c.xml"
    assert look(Command, target, argv=["sh", "-c", write], **fields).outcome is P
    assert look(Command, target, argv=["sh", "-c", f"{write}; exit 1"], **fields).outcome is F
