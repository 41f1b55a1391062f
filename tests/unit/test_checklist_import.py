"""Anybody's Markdown as a checklist: small documents of every habit, and what becomes of them when they change."""

from __future__ import annotations

from datetime import date

import pytest

from tasks import checks
from tasks.domain.checklist import Nature, Row, read_checklist, write_checklist
from tasks.domain.checklist_guess import SUGGESTED_KINDS, SUGGESTED_STEPS, how_of, nature_of, phase_of
from tasks.domain.checklist_merge import merge, prefix_of
from tasks.domain.markdown_checklist import LONGEST, Ask, Form, asked_in
from tasks.domain.marks import MARKS
from tasks.spec.kinds import kinds_in

DAY = date(2026, 11, 22)


def items(text: str, **more: bool) -> list[tuple[str, str]]:
    return [(ask.item, ask.form.value) for ask in asked_in(text, **more).asks]


def only(text: str) -> list[str]:
    return [item for item, _form in items(text)]


# -- lists ----------------------------------------------------------------------------------------------------------


def test_boxes_of_every_style_are_found_ticked_or_not_nested_or_not():
    text = """
- [ ] dash
* [x] star
+ [X] plus
  - [ ] nested below plus
    1. [ ] numbered below that
1. [ ] numbered
2) [x] with a parenthesis
- ☐ drawn
- ✅ a picture
- [] without a space
> - [ ] quoted
"""
    assert only(text) == [
        "dash", "star", "plus", "nested below plus", "numbered below that", "numbered", "with a parenthesis", "drawn",
        "a picture", "without a space", "quoted",
    ]  # fmt: skip
    assert {form for _item, form in items(text)} == {"box"}


def test_what_a_row_stands_below_is_its_section_headings_labels_and_parents():
    text = """
# The whole checklist

## Before 🚀

### Code:

**Backend (API):**

- [ ] all tests pass
  - [ ] those of the API too

## After

- [ ] it answers
"""
    assert [(ask.section, ask.item) for ask in asked_in(text).asks] == [
        (("Before", "Code", "Backend (API)"), "all tests pass"),
        (("Before", "Code", "Backend (API)", "all tests pass"), "those of the API too"),
        (("After",), "it answers"),
    ]


def test_two_headings_of_the_first_level_are_sections_and_none_at_all_is_fine():
    assert [ask.section for ask in asked_in("# One\n- [ ] a\n# Two\n- [ ] b\n").asks] == [("One",), ("Two",)]
    assert [ask.section for ask in asked_in("- [ ] a\n").asks] == [()]


def test_numbered_steps_count_and_a_number_that_only_heads_a_list_does_not():
    text = "1. **Database**\n   - [ ] is backed up\n2. Restart the workers\n3. Then:\n   1. look at the log\n"
    assert only(text) == ["is backed up", "Restart the workers", "look at the log"]


def test_plain_bullets_count_if_they_name_a_figure_or_ask_for_something():
    text = """
- **Table size:** alert if > 500MB
- Latency < 50 ms
- p95 at most 2s
- Verify that the queue is empty
- This is how we have always done it
- 99.9% of requests answered
"""
    found = asked_in(text)
    assert [ask.item for ask in found.asks] == [
        "Table size: alert if > 500MB", "Latency < 50 ms", "p95 at most 2s", "Verify that the queue is empty",
        "99.9% of requests answered",
    ]  # fmt: skip
    assert found.left_out == 1
    assert len(asked_in(text, every_item=True).asks) == 6


# -- code -----------------------------------------------------------------------------------------------------------


def test_each_command_is_a_row_with_what_its_comment_says():
    text = """
```bash
#!/bin/bash
set -e
cd /srv
# 1. Back up production
pg_dump -Fc \\
  --jobs 2 shop > shop.dump

# Step 2: Look at it
psql -c "SELECT count(*)
  FROM orders"
git revert HEAD  # the last one
for host in a b; do
  ssh $host uptime
done
cat <<'EOF' > note.txt
never "closed
EOF
echo done
```
"""
    assert only(text) == [
        "Back up production: pg_dump -Fc --jobs 2 shop > shop.dump",
        'Look at it: psql -c "SELECT count(*) FROM orders"',
        "Look at it: git revert HEAD # the last one",
        "Look at it: for host in a b; do ssh $host uptime done",
        "Look at it: cat <<'EOF' > note.txt never \"closed EOF",
    ]


def test_a_query_is_a_row_also_where_the_block_is_said_to_be_a_shell_s():
    text = """
```sql
-- are there any
SELECT *
  FROM orders  -- all of them
 WHERE id = 1;

DROP TABLE old;
```

```bash
# 3. The count
SELECT count(*) FROM orders;
-- WARNING: the last resort
DROP TABLE orders CASCADE;
./check.sh
```
"""
    assert items(text) == [
        ("are there any: SELECT * FROM orders WHERE id = 1;", "query"),
        ("DROP TABLE old;", "query"),
        ("The count: SELECT count(*) FROM orders;", "query"),
        ("WARNING: the last resort: DROP TABLE orders CASCADE;", "query"),
        ("WARNING: the last resort: ./check.sh", "command"),
    ]


def test_of_a_terminal_only_what_was_typed_counts():
    assert only('```console\n$ curl -s localhost/health\n{"ok": true}\n$ df -h\n/dev/sda1 90%\n```\n') == [
        "curl -s localhost/health",
        "df -h",
    ]


@pytest.mark.parametrize("block", ['```json\n{"a": 1}\n```', "```\nwelcome to the shop\n```", "```python\nx = 1\n```"])
def test_what_is_no_command_is_none(block):
    assert only(block) == []


def test_a_block_without_a_language_holds_commands_if_it_begins_like_some():
    assert only("```\ndocker compose up -d\n```\n\n    systemctl restart shop\n") == [
        "docker compose up -d",
        "systemctl restart shop",
    ]


def test_a_quote_that_never_closes_swallows_nothing():
    assert only('```sh\npsql -c "SELECT 1\ncurl localhost\ntail -f log\n```\n')[1:] == ["curl localhost", "tail -f log"]


# -- tables and signatures ------------------------------------------------------------------------------------------


def test_rows_of_a_table_count_if_they_hold_something_against_a_figure():
    text = """
| Metric | Threshold | Note |
|---|---|---|
| error rate | 5% | a \\| b |
| memory | none | |

| Who | Phone |
|---|---|
| Ann | on the wall |

| Task | Done |
|---|---|
| tell the team | [ ] |
"""
    found = asked_in(text)
    assert [ask.item for ask in found.asks] == [
        "Metric: error rate; Threshold: 5%; Note: a | b", "Metric: memory; Threshold: none", "Task: tell the team"
    ]  # fmt: skip
    assert found.left_out == 1


def test_signature_lines_and_tables_are_rows_for_a_person():
    text = """
**DBA:** ___________________  Date: ________

Approved by: Ann

- QA: ........................

| Role | Signature | Date |
|---|---|---|
| Lead |  |  |
| | | |

**Decision: GO / NO-GO:** ____

Prepared on [TO BE FILLED IN]
"""
    found = asked_in(text).asks
    assert [(ask.item, nature_of(ask)) for ask in found] == [
        ("DBA: … Date: …", Nature.PERSON),
        ("Approved by: Ann", Nature.PERSON),
        ("QA: …", Nature.PERSON),
        ("Signature of Role: Lead", Nature.PERSON),
        ("Decision: GO / NO-GO: …", Nature.PERSON),
        ("Prepared on [TO BE FILLED IN]", Nature.DOCUMENT),
    ]


# -- odd documents --------------------------------------------------------------------------------------------------


def test_byte_order_mark_windows_line_ends_and_front_matter_do_not_matter():
    text = "---\ntitle: x\n---\n# A\n\n## B\n\n- [ ] one\n  - [ ] two\n\n```sh\ncurl \\\n  localhost\n```\n"
    assert asked_in("\ufeff" + text.replace("\n", "\r\n")).asks == asked_in(text).asks
    assert only(text) == ["one", "two", "curl localhost"]


def test_comments_html_and_marks_are_no_part_of_an_item():
    text = (
        "<!--\n- [ ] not this\n-->\n\n- [ ] **Read** the [runbook](https://x) <b>now</b> <!-- or not --> `SELECT 1`\n"
        "- [ ] ~~kept~~ &amp; \\*so\\*\n\n<details><summary>x</summary>\n\n- [ ] hidden\n\n</details>\n"
    )
    assert only(text) == ["Read the runbook now `SELECT 1`", "~~kept~~ & *so*", "hidden"]


def test_letters_of_every_kind_stay_and_signs_that_cannot_be_seen_go():
    assert only("- [ ] Größe prüfen – 数据库 ✓\u200b\u00a0ok\n- [ ] \u202e\u200b\n- [ ]\n- [ ] ---\n") == [
        "Größe prüfen – 数据库 ✓ ok"
    ]


def test_an_item_of_any_length_is_cut():
    (item,) = only(f"- [ ] {'word ' * 1000}\n")
    assert len(item) == LONGEST


@pytest.mark.parametrize(
    "text", ["", "\n\n", "just prose", "- \n- \n", "| |\n|-|\n", "```bash\n```", "#\n##\n", "* * *"]
)
def test_a_document_that_asks_for_nothing_gives_nothing(text):
    assert asked_in(text).asks == []


def test_a_huge_and_a_crooked_document_are_read_to_their_end():
    assert len(asked_in("- [ ] look at it\n" * 3_000).asks) == 3_000
    deep = "".join(f"{'  ' * level}- [ ] level {level}\n" for level in range(200))
    assert 0 < len(asked_in(deep).asks) <= 200
    asked_in("[" * 5_000 + "*_`" * 5_000 + "<" * 5_000 + "|" * 5_000)
    assert len(asked_in("```bash\n" + 'psql -c "\n' * 2_000 + "```").asks) > 0


# -- ids ------------------------------------------------------------------------------------------------------------


def imported(text: str, known: tuple[Row, ...] = ()) -> tuple[Row, ...]:
    rows = merge(asked_in(text).asks, known, prefix_of(known, "SH"), DAY).rows
    # As it comes out of the file again.
    return read_checklist(write_checklist(rows)).rows


def ids(rows: tuple[Row, ...]) -> dict[str, str]:
    return {row.item: row.id for row in rows if not row.removed}


FIRST = "## Before\n- [ ] tests pass\n- [ ] lint passes\n## After\n- [ ] it answers\n"


def test_rows_that_did_not_change_keep_their_ids_wherever_they_go():
    before = imported(FIRST)
    assert list(ids(before).items()) == [("tests pass", "SH-001"), ("lint passes", "SH-002"), ("it answers", "SH-003")]
    assert imported(FIRST, before) == before
    moved = "# T\n\n## First\n- [x] It  *answers*.\n- [ ] new\n\n## Before\n- [ ] lint passes\n- [ ] tests pass\n"
    after = imported(moved, before)
    assert [(row.id, row.section) for row in after] == [
        ("SH-003", "First"), ("SH-004", "First"), ("SH-002", "Before"), ("SH-001", "Before"),
    ]  # fmt: skip


def test_an_id_is_never_used_again():
    before = imported(FIRST)
    without = imported(FIRST.replace("- [ ] it answers\n", ""), before)
    assert [(row.id, row.removed) for row in without] == [("SH-001", ""), ("SH-002", ""), ("SH-003", "2026-11-22")]
    other = imported(FIRST.replace("it answers", "it is fast"), without)
    assert ids(other)["it is fast"] == "SH-004"
    found = merge(asked_in(FIRST).asks, other, "SH", DAY)
    assert ids(found.rows)["it answers"] == "SH-003"
    assert (found.returned, found.removed, found.new) == (("SH-003",), ("SH-004",), ())


def test_the_same_words_twice_are_two_rows_each_of_its_section():
    twice = "## A\n- [ ] look\n- [ ] look\n## B\n- [ ] look\n"
    before = imported(twice)
    assert [row.id for row in before] == ["SH-001", "SH-002", "SH-003"]
    after = imported("## B\n- [ ] look\n## A\n- [ ] look\n", before)
    assert [(row.id, row.section, bool(row.removed)) for row in after] == [
        ("SH-003", "B", False), ("SH-001", "A", False), ("SH-002", "A", True),
    ]  # fmt: skip


def test_what_people_have_made_of_a_row_stays_and_so_do_rows_of_their_own():
    text = write_checklist(imported(FIRST)).replace("tests pass,check,check: command", "all 37 tests pass,metric,mine")
    rows = list(read_checklist(text).rows)
    rows.insert(1, Row("SH-010", "health", "Mine", "the moon is full", Nature.PERSON, "look up"))
    after = imported(FIRST + "- [ ] more\n", tuple(rows))
    assert [row.id for row in after] == ["SH-001", "SH-010", "SH-002", "SH-003", "SH-011"]
    assert (after[0].item, after[0].nature, after[0].how) == ("all 37 tests pass", Nature.METRIC, "mine")
    assert after[1] == rows[1]


def test_a_checklist_that_people_have_written_keeps_its_rows_and_its_prefix():
    known = (Row("GL-007", "health", "S", "It answers", Nature.CHECK, "http"),)
    after = imported("## Before\n- [ ] it answers\n- [ ] tests pass\n", known)
    assert [(row.id, row.section, row.how) for row in after] == [
        ("GL-007", "S", "http"), ("GL-008", "Before", "check: command"),
    ]  # fmt: skip


# -- guesses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "item", "form", "phase", "nature", "how"),
    [
        ("Pre-Deployment", "All tests pass", Form.BOX, "preflight", "check", "check: command"),
        ("Steps / Preparation", "pg_dump shop > shop.sql", Form.COMMAND, "preflight", "action", "step: take_backup"),
        ("Backup", "pg_restore --list shop.dump", Form.COMMAND, "backup", "action", "step: restore_database"),
        ("Migration", "psql shop < m/001.sql", Form.COMMAND, "migrate", "action", "step: migrate_production"),
        ("Migration", "alembic upgrade head", Form.COMMAND, "migrate", "action", "step: migrate_production"),
        ("Deploy", "git pull origin main", Form.COMMAND, "deploy", "action", "step: fetch"),
        ("Post-Deployment", "curl -s localhost/health", Form.COMMAND, "health", "check", "check: http"),
        ("Verification", "SELECT count(*) FROM orders;", Form.QUERY, "health", "check", "check: sql"),
        ("Rollback", "DROP TABLE orders;", Form.QUERY, "rollback", "action", "check: command"),
        ("Performance", "EXPLAIN SELECT 1;", Form.QUERY, "health", "check", "check: explain"),
        ("Performance", "History < 100ms", Form.BULLET, "health", "metric", "check: load"),
        ("Alerts", "Table size: alert if > 500MB", Form.BULLET, "monitor", "alert", "check: command"),
        ("Sign-Off", "DBA: …", Form.SIGNATURE, "signoff", "person", "signed: a role of sign_off"),
        ("Success Criteria", "Team trained", Form.BOX, "report", "person", "signed: a role of sign_off"),
        ("", "Port 8000 is free", Form.BOX, "preflight", "check", "check: port_free"),
        ("", "DATABASE_URL is set in .env", Form.BOX, "preflight", "check", "check: environment"),
        ("", "Restart the API", Form.STEP, "deploy", "action", "check: http"),
        ("Post-Launch Monitoring", "Gather user feedback", Form.BOX, "monitor", "person", "signed: a role of sign_off"),
        ("Documentation", "The runbook is written", Form.BOX, "report", "document", "check: command"),
    ],
)
def test_phase_nature_and_a_way_to_decide_it_are_guessed(section, item, form, phase, nature, how):
    ask = Ask(tuple(section.split(" / ")) if section else (), item, form)
    assert (phase_of(ask), nature_of(ask), how_of(ask, nature_of(ask))) == (phase, nature, how)


def test_only_kinds_and_steps_that_there_are_are_suggested():
    assert set(kinds_in(checks)) >= SUGGESTED_KINDS
    assert {mark.name for mark in MARKS} >= SUGGESTED_STEPS
