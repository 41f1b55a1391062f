"""The checklist of a system on the command line, and filled in by a whole release of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.messages import Note
from tasks.domain.outcome import Measurement, failed, passed, unknown
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening
from tasks.reporting.facts import gather
from tasks.reporting.html import write_html
from tasks.reporting.markdown import to_markdown
from tests.flows import GROW

HEAD = "id,phase,section,item,nature,how\n"
ROWS = f"""{HEAD}\
SH-001,preflight,Before,the window is open,check,step
SH-002,backup,Before,back up,action,pg_dump
SH-003,health,After,items can be read,check,curl
SH-004,health,After,it is as fast as before,metric,load
SH-005,rollback,If it fails,"start the old version, by hand",action,systemctl
SH-006,signoff,At the end,the DBA signs,person,signature
SH-007,report,At the end,issues are listed,document,by hand
SH-008,report,At the end,users are happy,person,ask them
"""
SECTION: dict[str, Any] = {
    "steps": {"window": ["SH-001"], "backup": ["SH-002"], "start_previous": ["SH-005"]},
    "signed": {"dba": ["SH-006"]},
    "documents": {"issues": ["SH-007"]},
    "waived": [{"rows": ["SH-008"], "because": "nobody <asks> them"}],
    "notes": {"SH-002": "as written it is never restored"},
}


def golive(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_a_release_fills_the_checklist_in_as_it_was_when_it_began(shop):
    shop.add_version("v2", up={"1_grow": GROW})
    covered = [{**shop.file["checks"]["compatibility"][0], "covers": ["SH-003"]}]
    shop.write({"checks.compatibility": covered, "checklist": SECTION, "sign_off": {"go": ["dba"]}})
    beside = shop.home / "systems" / shop.name / "checklist.csv"
    beside.write_text(ROWS)
    shop.release("v2")
    waiting = shop.latest().id
    with shop.in_environment():
        assert "checklist: 8 rows: 5 automated, 1 signed, 1 waived, 1 open" in golive("status", waiting).stdout
        assert stands(shop.ledger, waiting)["SH-006"] == ("not reached", "not signed")
        assert stands(shop.ledger, waiting)["SH-003"][0] == "not reached"
    beside.write_text(ROWS.replace("SH-008", "SH-009"))
    shop.approve(waiting, "dba", "ann")
    beside.write_text(ROWS)
    with shop.in_environment():
        told = stands(shop.ledger, waiting)
        shown = golive("report", waiting)
        page = Path(shown.stdout.strip()).read_text()
    assert {number: standing for number, (standing, _seen) in told.items()} == {
        "SH-001": "passed",
        "SH-002": "passed",
        "SH-003": "passed",
        "SH-004": "open",
        "SH-005": "not reached",
        "SH-006": "signed",
        "SH-007": "not reached",
        "SH-008": "waived",
    }
    assert "signed by ann" in told["SH-006"][1]
    assert told["SH-005"][1] == "no rollback was called for"
    line = "8 rows: 3 passed, 1 signed, 1 waived, 2 not reached, 1 open"
    assert f"checklist: {line}" in shown.stderr
    assert f"<b>Checklist</b> {line}</p>" in page
    assert "because nobody &lt;asks&gt; them" in page
    assert "Note: as written it is never restored" in page


def stands(ledger: Ledger, release_id: str) -> dict[str, tuple[str, str]]:
    rows = gather(ledger, release_id).checklist
    return {row.id: (str(row.standing), row.entries[0].found.seen if row.entries else "") for row in rows}


# -- from the record alone ------------------------------------------------------------------------------------------

FILE = """\
system: shop
base_url: http://127.0.0.1:8080
database: {dsn: "${env:SHOP_DSN}"}
source: {kind: directory, path: /srv}
platform: {kind: supervisor, processes: {api: {command: [run]}}}
rollout: {kind: recreate, port: 8081}
migration: {kind: none}
checks:
  compatibility: [{kind: http, name: it answers, url: "{base_url}/", covers: [SH-003]}]
  watch: [{kind: sql, name: it is fast, query: SELECT 1, equals: 1, covers: [SH-003, SH-004]}]
"""
AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


@pytest.fixture
def seen(ledger):
    """Put looks at checks on record for a release of `FILE`, one a minute, and return how its rows stand."""
    opening = Opening("shop-1", "shop", "v2", "release", True, "ana", "", "f", FILE, "v1", checklist_text=ROWS)
    ledger.releases.open(opening)
    minutes = iter(range(1000))

    def look(phase, name, reading):
        at = AT + timedelta(minutes=next(minutes))
        ledger.evidence.measured("shop-1", phase, [Measurement(name, "http", reading, at, 0.1)])
        return {row.id: row for row in gather(ledger, "shop-1").checklist}

    return look


def test_what_passed_on_the_copy_is_not_yet_so_in_production_and_what_failed_there_has_failed(seen):
    row = seen("rehearse new", "it answers", passed("status 200"))["SH-003"]
    assert (row.standing, row.entries[0].found.seen) == ("not reached", "on the copy: status 200")
    assert seen("rehearse new", "it answers", failed("status 500"))["SH-003"].standing == "failed"


def test_how_the_old_version_does_says_nothing_of_the_new_one(seen):
    seen("rehearse old", "it answers", failed("status 500"))
    assert seen("rollback", "it answers", failed("status 500"))["SH-003"].entries[0].found.seen == "not reached"


def test_the_newest_look_counts_and_earlier_failures_are_told(seen):
    seen("health", "it answers", passed("status 200"))
    assert seen("watch", "it is fast", unknown("no answer"))["SH-004"].standing == "unknown"
    seen("watch", "it is fast", failed("9 s"))
    rows = seen("watch", "it is fast", passed("1 ms"))
    assert rows["SH-004"].standing == "passed"
    assert rows["SH-004"].entries[0].found.seen == "1 ms (not so in 2 of 3 looks)"
    assert rows["SH-003"].standing == "passed"
    rows = seen("watch", "it is fast", failed("9 s"))
    assert [entry.found.seen for entry in rows["SH-003"].entries] == ["9 s", "status 200"]
    assert rows["SH-003"].standing == "failed"


def test_a_message_that_reached_nobody_has_told_nobody(ledger, tmp_path):
    file = f"{FILE}checklist: {{documents: {{messages: [SH-008]}}}}\n"
    ledger.releases.open(Opening("shop-4", "shop", "v2", "release", True, "ana", "", "f", file, checklist_text=ROWS))

    def row() -> tuple[str, str]:
        return stands(ledger, "shop-4")["SH-008"]

    assert row() == ("not reached", "not in the report yet")
    notes = [
        Note(kind, text, {}) for kind, text in (("root", "it begins"), ("reply", "it is live"), ("root_edit", "on"))
    ]
    ledger.evidence.looked("shop-4", "test", "passed", {}, tell=notes)
    first, second, edit = ledger.outbox.messages("shop-4")
    ledger.outbox.dead(edit.id, "slack", "message_not_found")
    ledger.outbox.retry(first.id, "slack", "no route", 60)
    assert row() == ("unknown", "none of 3 messages is known to have arrived")
    ledger.outbox.delivered(first.id, "slack", {})
    assert row() == ("passed", "in this report: 3 messages, 1 of them delivered")
    ledger.outbox.dead(second.id, "slack", "channel_not_found")
    assert row() == ("failed", "1 of 3 messages could not be delivered; slack: channel_not_found")
    write_html(gather(ledger, "shop-4"), tmp_path / "r.html", str)
    assert "it is live (not delivered: slack: channel_not_found)" in (tmp_path / "r.html").read_text()


def test_the_markdown_has_each_row_with_failures_first_and_nothing_that_breaks_a_table(ledger, seen):
    seen("health", "it answers", passed("a | b"))
    seen("watch", "it is fast", failed("<9 s>"))
    text = to_markdown(gather(ledger, "shop-1"))
    assert "8 rows: 2 failed, 6 open." in text
    assert "### Health" in text
    assert text.index("SH-003") < text.index("SH-007")
    assert "✕ failed" in text
    assert "a \\| b" in text
    assert "&lt;9 s&gt;" in text


def test_without_a_checklist_neither_form_of_the_report_speaks_of_one(ledger, tmp_path):
    ledger.releases.open(Opening("shop-2", "shop", "v2", "release", True, "ana", "", "f", FILE))
    facts = gather(ledger, "shop-2")
    write_html(facts, tmp_path / "r.html", str)
    assert "hecklist" not in to_markdown(facts) + (tmp_path / "r.html").read_text()


def test_a_checklist_that_cannot_be_read_any_more_is_told_among_what_is_missing(ledger):
    ledger.releases.open(
        Opening("shop-3", "shop", "v2", "release", True, "ana", "", "f", "system: shop", checklist_text=ROWS)
    )
    facts = gather(ledger, "shop-3")
    assert facts.checklist == ()
    assert any("checklist could not be filled in" in one for one in facts.not_measured)


# -- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def systems(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GOLIVE_SYSTEMS", str(tmp_path / "systems"))
    (tmp_path / "systems" / "shop").mkdir(parents=True)
    (tmp_path / "systems" / "shop" / "release.yaml").write_text(FILE)
    (tmp_path / "systems" / "shop" / "checklist.csv").write_text(ROWS)
    return tmp_path / "systems"


def test_the_checklist_is_shown_by_phase_with_what_covers_each_row(systems):
    shown = golive("checklist", "shop")
    assert shown.exit_code == 1
    assert "it is fast (sql, watch)" in shown.stdout
    assert "nothing; suggested: pg_dump" in shown.stdout
    assert shown.stdout.splitlines()[-1] == (
        "8 rows: 2 automated, 0 signed, 0 waived, 6 open; of 5 that a program can decide 2 are automated (40%)"
    )
    assert shown.stdout.index("preflight") < shown.stdout.index("rollback")
    assert golive("checklist", "show", "shop").stdout == shown.stdout
    only = golive("checklist", "--open", "shop").stdout
    assert "SH-003" not in only
    assert "SH-005" in only


def test_as_json_it_says_the_same(systems):
    told = json.loads(golive("checklist", "shop", "--json").stdout)
    assert told["counts"] == {"rows": 8, "automated": 2, "signed": 0, "waived": 0, "open": 6}
    assert told["by_program"] == {"automated": 2, "decidable": 5}
    row = next(row for row in told["rows"] if row["id"] == "SH-004")
    assert row["covered_by"] == [{"by": "check", "name": "it is fast", "kind": "sql", "phase": "watch"}]
    assert len(json.loads(golive("checklist", "shop", "--json", "--open").stdout)["rows"]) == 6


def test_it_ends_well_once_no_row_is_open(systems):
    open_ones = "[SH-001, SH-002, SH-005, SH-006, SH-007, SH-008]"
    waived = f"checklist: {{waived: [{{rows: {open_ones}, because: we have none of it}}]}}\n"
    (systems / "shop" / "release.yaml").write_text(FILE + waived)
    assert golive("checklist", "shop").exit_code == 0


def test_a_system_without_a_checklist_says_how_to_come_to_one(systems):
    (systems / "shop" / "checklist.csv").unlink()
    (systems / "shop" / "release.yaml").write_text(FILE.replace("SH-003, SH-004", "a").replace("SH-003", "b"))
    shown = golive("checklist", "shop")
    assert shown.exit_code == 2
    assert "golive checklist import" in shown.stderr
    assert "did you mean shop?" in golive("checklist", "shp").stderr


def test_a_document_becomes_a_checklist_beside_it_and_is_merged_the_next_time(tmp_path):
    document, table = tmp_path / "LIST.md", tmp_path / "LIST.csv"
    document.write_text("# Go\n- [ ] one\n- [ ] two\n- prose\n", encoding="utf-8-sig")
    first = golive("checklist", "import", str(document), "--prefix", "SH")
    assert first.exit_code == 0
    assert first.stdout == f"wrote {table}: 2 rows asked for, 0 as before, 2 new\n"
    assert "1 list items or table rows seem to ask for nothing" in first.stderr
    document.write_text("# Go\n- [ ] two\n- [ ] three\n")
    assert golive("checklist", "import", str(document)).stdout.splitlines() == [
        f"wrote {table}: 2 rows asked for, 1 as before, 1 new",
        "new: SH-003",
        "removed: SH-001",
    ]
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == ["id", "SH-001", "SH-002", "SH-003"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LIST.csv", "LIST.md"]


@pytest.mark.parametrize(
    ("content", "more", "says"),
    [
        (b"just prose\n", [], "asks for nothing"),
        (b"- [ ] \xff\n", [], "LIST.md:1: is not UTF-8 text"),
        (b"- [ ] a\n", ["--prefix", "x y"], "'x y' is no prefix"),
        (b"- [ ] a\n", ["--out", "/nowhere/at/all.csv"], "cannot be written"),
        (b"- [ ] a\n" * 2_000_000, [], "expected at most"),
        (None, [], "cannot be read"),
    ],
)
def test_what_cannot_be_imported_is_told_and_nothing_is_written(tmp_path, content, more, says):
    document = tmp_path / "LIST.md"
    if content is not None:
        document.write_bytes(content)
    done = golive("checklist", "import", str(document), *more)
    assert done.exit_code == 2
    assert says in done.stderr
    assert not (tmp_path / "LIST.csv").exists()
