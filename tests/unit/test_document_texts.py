from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from tasks.checks.cron import longest_gap
from tasks.domain.log_lines import CREDENTIALS, moment_of, signature, since
from tasks.domain.markdown import dates_in, parse
from tasks.domain.placeholder import is_placeholder, left_in

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Lead: [FILL IN]",
        "Date: [To be filled in]",
        "TODO: more",
        "key=changeme",
        "Name: ______",
        "<your-fernet-key>",
        "x {{ name }}",
    ],
)
def test_what_was_left_to_be_filled_in_is_found(text):
    assert left_in(f"first line\n{text}")[0][0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "# Methods\n\n___\n\ntext",
        "[Name](https://example.org/name)",
        "- [ ] a box",
        "todos are listed",
        "snake____case",
        "a[0] = 1",
        "the method",
    ],
)
def test_what_only_looks_like_a_placeholder_is_none(text):
    assert left_in(text) == []


@pytest.mark.parametrize(
    "value", ["changeme", "CHANGE_ME", "<your-key>", "your-secret-key", "xxx", "please-change-me", "secret", "todo"]
)
def test_a_value_that_stands_for_a_real_one_is_known(value):
    assert is_placeholder(value)


@pytest.mark.parametrize(
    "value",
    ["false", "json", "8000", "postgresql://u:p@h/d", "Zk3-x", "production", "https://api.example.org", "mykey.pem"],
)
def test_a_real_value_is_no_placeholder(value):
    assert not is_placeholder(value)


def test_a_document_is_read_by_its_structure():
    found = parse(
        "# Run `it`\n\nTop\n===\n\n```python\n# no heading\nimport x\n```\n\n"
        "| Role | Who |\n|---|---|\n| **Technical Lead** | Ada |\n\n- **Last Updated**: January 15, 2024\n[a](b.md#c)\n"
    )
    assert found.headings == ("Run it", "Top")
    assert found.code == (("python", "# no heading\nimport x\n"),)
    assert found.labels["technical lead"] == "Ada"
    assert dates_in(found.labels["last updated"]) == [date(2024, 1, 15)]
    assert found.links == ("b.md#c",)
    assert found.anchors == {"run-it", "top"}
    assert dates_in("2025-01-10, Dec 3 2025, 3. March 2026 and 03/04/2026, 2025-13-01") == [
        date(2025, 1, 10), date(2025, 12, 3), date(2026, 3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("2026-03-01T10:00:00Z INFO x", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("[2026-03-01 10:00:00,250] x", datetime(2026, 3, 1, 10, 0, 0, 250000, tzinfo=UTC)),
        ("api-1 | 2026-03-01 12:00:00+02:00 x", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ('{"level": "info", "ts": 1772359200}', datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ('{"timestamp": "2026-03-01T10:00:00.5Z"}', datetime(2026, 3, 1, 10, 0, 0, 500000, tzinfo=UTC)),
        ('1.2.3.4 - - [01/Mar/2026:10:00:00 +0000] "GET /"', datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("Mar  1 10:00:00 host app: x", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("Dec 31 23:00:00 host app: x", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        ("  File app.py, line 3", None),
    ],
)
def test_the_time_of_a_line_is_read_in_the_usual_forms(line, moment):
    assert moment_of(line, UTC, NOW) == moment


def test_lines_without_a_time_belong_to_the_one_before():
    lines = ["2026-03-01T09:00:00Z a", "  trace", "2026-03-01T11:00:00Z b", "  trace"]
    assert [line for line, _ in since(lines, datetime(2026, 3, 1, 10, tzinfo=UTC), UTC, NOW)] == lines[2:]


def test_numbers_ids_and_quoted_values_do_not_make_another_message():
    one = signature('ERROR task 17 of "ada" at 0x7f 9b2f3c1e-aaaa-bbbb-cccc-1234567890ab')
    assert one == signature('ERROR task 4 of "bob" at 0x1 00000000-aaaa-bbbb-cccc-1234567890ab')
    assert one != signature("ERROR other")


@pytest.mark.parametrize(
    ("line", "shows"),
    [
        ("login password=Zk3x9qq", True),
        ("postgresql://u:Zk3x@h/d", True),
        ("Authorization: Bearer abcdefghijklmnop0", True),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.sig", True),
        ("password=*** token=•••", False),
        ("postgresql://u@h/d, password: null", False),
        ("the password was changed", False),
    ],
)
def test_a_line_that_shows_a_secret_is_known(line, shows):
    assert bool(re.search(CREDENTIALS, line)) is shows


def test_the_longest_time_between_two_runs_of_a_schedule_counts():
    assert longest_gap("0 2 * * *", NOW) == 86400
    assert longest_gap("0 8-18 * * 1-5", NOW) == 62 * 3600
    assert longest_gap("@hourly", NOW) == 3600
    assert longest_gap("@reboot", NOW) is None
