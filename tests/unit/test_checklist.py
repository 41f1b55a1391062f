from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.checklist import (
    By,
    Claims,
    Cover,
    Row,
    Way,
    by_program,
    coverage,
    read_checklist,
    told,
    write_checklist,
)
from tasks.domain.errors import ReleaseFileError
from tasks.domain.filling import Found, Standing, fill, stands
from tasks.domain.marks import DOCUMENTS, MARKS
from tasks.reporting.checklist import _PARTS
from tasks.spec import loading
from tasks.spec.checklist import Documents, Steps, claims_of

ROOT = Path(__file__).resolve().parents[2]
HEAD = "id,phase,section,item,nature,how\n"
AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def listed(*lines: str) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines)


THREE = listed(
    'SH-001,preflight,Before,"all tests pass, every one",check,command: run them',
    "SH-002,signoff,At the end,the DBA signs,person,signature",
    "SH-003,backup,Before,back up,action,pg_dump",
)


# -- the file -------------------------------------------------------------------------------------------------------


def test_a_checklist_is_read_and_written_as_it_is():
    found = read_checklist(THREE)
    assert [row.id for row in found.rows] == ["SH-001", "SH-002", "SH-003"]
    assert found.rows[0].item == "all tests pass, every one"
    assert write_checklist(found.rows) == "id,phase,section,item,nature,how\n" + THREE.removeprefix(HEAD)


def test_byte_order_mark_windows_line_ends_and_line_breaks_within_an_item_are_fine():
    text = "\ufeff" + listed('A-001,health,S,"one\ntwo",check,h', "A-002,health,S,ü ✓,metric,").replace("\n", "\r\n")
    assert [row.item for row in read_checklist(text).rows] == ["one\r\ntwo", "ü ✓"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("id,phase,section,item,how\n", r"l.csv:1: column nature missing"),
        (listed("A-001,p,s,i,check,h", "A-001,p,s,j,check,h"), r"l.csv:3: id A-001 stands in line 2 too"),
        (listed("A-001,p,s,i,chek,h"), r"l.csv:2: no nature 'chek'; did you mean check\?"),
        (listed("A-001,p,s,i,zzz,h"), r"expected check, metric, action, alert, document, person"),
        (listed("A-001,p,s,i,check"), r"l.csv:2: 5 fields; expected 6"),
        (listed("A 1,p,s,i,check,h"), r"l.csv:2: id 'A 1'; expected one word"),
        (listed("A-001,p,s,,check,h"), r"l.csv:2: A-001 has no item"),
        (listed('A-001,p,s,"i,check,h'), r"l.csv:2: not CSV"),
        (listed('A-001,p,"s\ns",i,check,h', "A-002,p,s,i,chek,h"), r"l.csv:4: no nature"),
    ],
)
def test_a_fault_of_the_file_is_told_with_its_line(text, says):
    with pytest.raises(ReleaseFileError, match=says):
        read_checklist(text, "l.csv")


def test_every_fault_of_the_file_is_told_at_once():
    with pytest.raises(ReleaseFileError) as caught:
        read_checklist(listed("A-001,p,s,i,chek,h", "A-002,p,s,,check,h"), "l.csv")
    assert str(caught.value).count("l.csv:") == 2


# -- coverage -------------------------------------------------------------------------------------------------------


def test_each_row_is_automated_signed_waived_or_open_and_counted_once():
    check, role = Cover(By.CHECK, "tests pass", "command", "preflight"), Cover(By.SIGNATURE, "dba")
    rows = coverage(
        read_checklist(THREE), Claims({"SH-001": (check, role), "SH-002": (role,)}, {}, {"SH-003": "as written, no"})
    )
    assert [(one.row.id, one.way) for one in rows] == [
        ("SH-001", Way.AUTOMATED),
        ("SH-003", Way.OPEN),
        ("SH-002", Way.SIGNED),
    ]
    assert told(rows) == "3 rows: 1 automated, 1 signed, 0 waived, 1 open"
    assert by_program(rows) == (1, 2)
    assert rows[1].note == "as written, no"


def test_a_row_that_the_document_no_longer_has_is_not_asked():
    text = "id,phase,section,item,nature,how,origin,removed\nA-001,p,s,i,check,h,abc,2026-11-22\n"
    assert coverage(read_checklist(text), Claims()) == ()
    assert read_checklist(write_checklist(read_checklist(text).rows)).rows == read_checklist(text).rows


# -- how a row stands -----------------------------------------------------------------------------------------------

PASSED, FAILED = Found(Standing.PASSED, "41 ms", AT), Found(Standing.FAILED, "9 s", AT + timedelta(hours=1))
UNKNOWN, SIGNED = Found(Standing.UNKNOWN, "no answer", AT), Found(Standing.SIGNED, "signed by ana", AT)
MISSING = Found(Standing.NOT_REACHED, "not reached")
UNCALLED = Found(Standing.NOT_REACHED, "no rollback", uncalled=True)


@pytest.mark.parametrize(
    ("found", "standing"),
    [
        ([], Standing.OPEN),
        ([PASSED, PASSED], Standing.PASSED),
        ([PASSED, FAILED, UNKNOWN, MISSING], Standing.FAILED),
        ([PASSED, UNKNOWN, MISSING], Standing.UNKNOWN),
        ([PASSED, MISSING], Standing.NOT_REACHED),
        ([PASSED, UNCALLED], Standing.PASSED),
        ([UNCALLED], Standing.NOT_REACHED),
        ([SIGNED], Standing.SIGNED),
        ([SIGNED, PASSED], Standing.PASSED),
        ([SIGNED, MISSING], Standing.NOT_REACHED),
    ],
)
def test_a_row_is_ticked_only_if_all_that_covers_it_was_seen_to_hold(found, standing):
    assert stands(found) is standing


def test_a_filled_row_tells_failures_first_and_when_it_was_seen_last():
    answers = {"fast": PASSED, "right": FAILED}
    covers = tuple(Cover(By.CHECK, name, "http", "health") for name in answers)
    rows = coverage(read_checklist(THREE), Claims({"SH-001": covers}, {"SH-002": "we have none"}))
    first, third, second = fill(rows, lambda cover: answers[cover.name])
    assert [entry.who for entry in first.entries] == ["check “right” (http)", "check “fast” (http)"]
    assert first.at == FAILED.at
    assert (second.standing, second.because) == (Standing.WAIVED, "we have none")
    assert third.standing is Standing.OPEN


# -- the closed lists -----------------------------------------------------------------------------------------------


def test_every_step_that_a_release_file_may_name_is_one_that_golive_puts_on_record():
    sources = [*ROOT.glob("tasks/*.py"), *ROOT.glob("tasks/rollouts/*.py")]
    text = "\n".join(path.read_text() for path in sources)
    names = [step for mark in MARKS for step in mark.steps] + [mark.check for mark in MARKS if mark.check]
    assert [name for name in names if f'"{name}' not in text] == []


def test_every_step_of_a_release_may_be_named_unless_nobody_s_checklist_would_ask_for_it():
    sources = [*ROOT.glob("tasks/*.py"), *ROOT.glob("tasks/rollouts/*.py")]
    recorded = {name for path in sources for name in re.findall(r'Step\(\s*f?"([^"{]+)', path.read_text())}
    known = tuple(step for mark in MARKS for step in mark.steps)
    nobody_s = {
        "reckon the disk",
        "copy the restored database",
        "see that nothing is in the migration's way",
        "compare ",
        "look at the destination",
        "restore and compare once more",
    }
    missing = {name for name in recorded if not name.startswith(known)} - nobody_s
    assert not missing, "name them in tasks/domain/marks.py, so that a checklist's rows can be decided by them"


def test_the_keys_of_the_section_are_the_closed_lists():
    assert list(Steps.model_fields) == [mark.name for mark in MARKS]
    assert list(Documents.model_fields) == list(DOCUMENTS) == list(_PARTS)


# -- in the release file --------------------------------------------------------------------------------------------

SMALL = """\
system: shop
base_url: http://127.0.0.1:8080
database: {dsn: "${env:SHOP_DSN}"}
source: {kind: directory, path: /srv}
platform: {kind: supervisor, processes: {api: {command: [run]}}}
rollout: {kind: recreate, port: 8080, ready: {path: /, within: 5s}}
migration: {kind: none}
sign_off: {go: [dba]}
checks:
  compatibility:
    - {kind: http, name: it answers, url: "{base_url}/", covers: [SH-001]}
"""


@pytest.fixture
def beside(tmp_path):
    (tmp_path / "checklist.csv").write_text(THREE)

    def load(more: str = "", covers: str = "SH-001") -> Any:
        (tmp_path / "release.yaml").write_text(SMALL.replace("SH-001", covers) + more)
        return loading.load(tmp_path / "release.yaml")

    return load


def test_a_release_file_accounts_for_rows(beside):
    file = beside(
        "checklist:\n  steps: {backup: [SH-003]}\n  signed: {dba: [SH-002]}\n  notes: {SH-003: as written it fails}\n"
    )
    assert file.checklist.signed == {"dba": ("SH-002",)}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("checklist: {steps: {bakup: [SH-003]}}", r":12: checklist.steps.bakup: unknown key; did you mean backup\?"),
        ("checklist: {documents: {isues: [SH-003]}}", r"did you mean issues\?"),
        (
            "checklist: {steps: {backup: [SH-03]}}",
            r":12: checklist.steps.backup.0: SH-03 is in no row .*did you mean",
        ),
        ("checklist: {notes: {XX-9: a}}", r"checklist.notes.XX-9: XX-9 is in no row .* expected the id of a row"),
        ("checklist: {signed: {dbas: [SH-002]}}", r"checklist.signed.dbas: 'dbas' signs nothing; .* sign_off: dba"),
        (
            "checklist:\n  waived:\n    - {rows: [SH-003, SH-001], because: no need}",
            r":14: checklist.waived.0.rows.1: SH-001 is waived here and covered by check 'it answers'",
        ),
        ("checklist: {waived: [{rows: [SH-003, SH-003], because: no need}]}", "SH-003 is waived twice"),
        ("checklist: {waived: [{rows: [SH-003], because: ''}]}", "at least 3 characters"),
        ("checklist: {waived: [{rows: [], because: no need}]}", "at least 1 item"),
    ],
)
def test_a_section_that_cannot_hold_is_refused_with_its_place(beside, more, says):
    with pytest.raises(ReleaseFileError, match=says):
        beside(more)


def test_a_switch_accounts_for_the_rows_that_turning_it_does(beside):
    switch = "switches: [{name: bad, rename: {from: a, to: b}, check: it answers, covers: [%s]}]\n"
    assert claims_of(beside(switch % "SH-003")).covers["SH-003"] == (Cover(By.SWITCH, "bad"),)
    with pytest.raises(ReleaseFileError, match=r"switches.0.covers.0: SH-101 is in no row"):
        beside(switch % "SH-101")


def test_a_check_that_covers_a_row_which_is_not_there_is_refused(beside):
    with pytest.raises(ReleaseFileError, match=r":11: checks.compatibility.0.covers.0: SH-101 is in no row"):
        beside(covers="SH-101")


def test_a_row_that_was_removed_can_no_longer_be_covered(beside, tmp_path):
    head = "id,phase,section,item,nature,how,origin,removed\n"
    (tmp_path / "checklist.csv").write_text(f"{head}SH-001,p,s,i,check,h,abc,2026-11-20\n")
    with pytest.raises(ReleaseFileError, match="SH-001 was removed from the checklist on 2026-11-20"):
        beside()


def test_without_a_checklist_what_looks_like_a_row_is_refused_and_anything_else_is_a_note(beside, tmp_path):
    (tmp_path / "checklist.csv").unlink()
    with pytest.raises(ReleaseFileError, match=r"SH-001: there is no checklist.csv beside this file; golive checklist"):
        beside()
    assert beside(covers="wiki:health").checks.compatibility[0].covers == ("wiki:health",)
    with pytest.raises(ReleaseFileError, match=r"there is no checklist\.csv"):
        beside("checklist: {steps: {backup: [x]}}", covers="wiki")


def test_a_fault_of_the_checklist_is_told_when_the_release_file_is_loaded(beside, tmp_path):
    (tmp_path / "checklist.csv").write_text(THREE.replace(",person,", ",persons,"))
    with pytest.raises(ReleaseFileError, match=r"checklist.csv:3: no nature 'persons'; did you mean person\?"):
        beside()


def test_what_is_on_record_is_read_without_the_checklist_of_today():
    assert loading.parse(SMALL.replace("SH-001", "SH-999")).checks.compatibility[0].covers == ("SH-999",)


def test_the_rows_of_glad_labs_are_accounted_for_as_far_as_its_release_file_says():
    from tasks.spec.checklist import claims_of

    path = ROOT / "deployments/systems/glad-labs/release.yaml"
    rows = coverage(loading.load_checklist(path), claims_of(loading.load(path)))
    assert len(rows) == 133
    assert {one.row.id: one.way for one in rows}["GL-082"] is Way.AUTOMATED
    assert all(isinstance(one.row, Row) for one in rows)
    # What is open needs a second, longer watch after the first; nothing else may become open again.
    assert sum(one.way is Way.OPEN for one in rows) <= 5
