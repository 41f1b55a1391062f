from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.domain.errors import NotFound
from tasks.domain.outcome import Outcome
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening
from tasks.reporting.facts import gather
from tasks.reporting.html import write_html
from tasks.reporting.markdown import to_markdown
from tasks.reporting.values import Tone
from tests.recorded import SECRET, mask, rolled_back_release, stable_release


@pytest.fixture
def stable(database, ledger):
    return stable_release(database, ledger)


@pytest.fixture
def rolled_back(database, ledger):
    return rolled_back_release(database, ledger)


@pytest.fixture
def empty(ledger):
    """The id of a release of which nothing is on record but that it was planned."""
    opening = Opening(
        "bare-20261122-0205-aaaa", "bare", "1.0", "release", True, "ana", "", "release.yaml", "system: bare"
    )
    return ledger.releases.open(opening).id


class _Page(HTMLParser):
    """What a reader of the page gets: its text, and all that it would load."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "col"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "action", "srcset"} and not (value or "").startswith("#"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def _written(ledger: Ledger, release_id: str, directory: Path) -> Path:
    path = directory / "report.html"
    write_html(gather(ledger, release_id), path, mask)
    return path


def test_a_release_that_went_well_is_told_on_its_first_screen(ledger, stable, tmp_path):
    path = _written(ledger, stable, tmp_path)
    text = _Page(path.read_text()).text
    first = text[: text.index("Not measured (")]
    for part in (
        "glad-labs 2.3.1 → 2.4.0",
        "Live and stable",
        "Started 2026-11-22 02:05:11 UTC by ana",
        "the customers' export",
        "go / no-go 21 min",
        "Downtime 3 min",
        "8 of 2 800",
        "rehearsed in 8.4 s",
        "5 tables, 3 336 621 rows, 431.2 MB, manifest sha256 c0ffee17ab",
        "Migration 4.6 s rehearsed in 3.9 s",
        "Longest lock 574 ms, limit 5.0 s SHARE ROW EXCLUSIVE on public.customers (production)",
        "ben (technical_lead), chidi (dba)",
        "Epoch 1 of the ledger",
    ):
        assert part in first, part
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_report_loads_nothing_and_is_well_formed(ledger, stable, tmp_path):
    text = _written(ledger, stable, tmp_path).read_text()
    page = _Page(text)
    assert not page.open
    assert not page.loads
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.isdisjoint({"script", "img", "link", "iframe", "object", "use"})
    assert "http://" not in text
    assert "https://" not in text
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) == 4
    assert all(len(plot.encode()) < 40_000 for plot in plots)
    assert all('role="img"' in plot and "aria-label" in plot for plot in plots)


def test_no_secret_reaches_the_report(ledger, stable, tmp_path):
    text = _written(ledger, stable, tmp_path).read_text()
    assert SECRET not in text
    assert "golive:•••@db" in text


def test_texts_from_outside_are_escaped(ledger, rolled_back, tmp_path):
    text = _written(ledger, rolled_back, tmp_path).read_text()
    page = _Page(text)
    assert "script" not in page.tags
    assert '<script>alert("x")</script>' in page.text
    assert "<!channel>" in page.text


def test_a_rollback_is_told_with_its_trigger_and_both_times_of_the_way_back(ledger, rolled_back, tmp_path):
    facts = gather(ledger, rolled_back)
    assert facts.verdict.tone is Tone.BAD
    assert facts.epochs == (1, 2)
    assert [event.label for event in facts.events] == ["live", "trigger", "rollback", "rolled back"]
    assert [(outage.probes, outage.seconds) for outage in facts.probing.outages] == [(22, 660.0)]
    assert facts.way_back is not None
    assert facts.way_back.rehearsed == 8.4
    assert facts.way_back.taken == pytest.approx(10.8)
    assert [step.event for step in facts.steps if step.phase == "rollback"] == ["done", "done", "failed", "started"]
    text = _Page(_written(ledger, rolled_back, tmp_path).read_text()).text
    assert "Rolled back down for 10 min 30 s > 10 min" in text
    assert "no end on record" in text
    assert "down: fires: down for 10 min 30 s" in text


def test_what_went_wrong_and_what_to_look_at_stand_on_the_first_screen(ledger, rolled_back, stable, tmp_path):
    text = _Page(_written(ledger, rolled_back, tmp_path).read_text()).text
    first = text[: text.index("Not measured (")]
    assert "answers (health) : status 503 == 200" in first
    assert "→ journalctl -u glad-labs@green" in first
    assert "stop slot green (rollback)" in first
    short = to_markdown(gather(ledger, rolled_back))
    assert "status 503 == 200" in short[: short.index("| Took |")]
    assert "→ journalctl -u glad-labs@green" in short
    fine = _Page(_written(ledger, stable, tmp_path).read_text())
    assert "search answers" not in fine.text[: fine.text.index("Not measured (")], "it passed when it was last made"


def test_a_release_without_data_says_so_in_every_section(ledger, empty, tmp_path):
    facts = gather(ledger, empty)
    page = _Page(_written(ledger, empty, tmp_path).read_text())
    for part in (
        "Planned, not begun",
        "No phase has begun.",
        "No check was made.",
        "No lock was measured:",
        "No baseline of latencies is on record",
        "The guard made no probe:",
        "No judgement is on record.",
        "No proven backup of this release is on record.",
        "No rehearsal is on record.",
        "No step was begun.",
        "Nobody signed.",
        "No message was written.",
        "Downtime no data",
        "Way back no data",
    ):
        assert part in page.text, part
    assert "svg" not in page.tags
    assert facts.periods == ()
    assert "No rehearsal is on record, and so no proven way back." in facts.not_measured


def test_looks_that_came_out_the_same_are_told_once_and_failures_stay(ledger, stable):
    facts = gather(ledger, stable)
    search = [(c.outcome, c.times) for c in facts.checks if c.phase == "watch" and c.name == "search answers"]
    assert search == [(Outcome.PASSED, 5), (Outcome.FAILED, 1), (Outcome.PASSED, 18)]
    assert [(look.outcome, look.times) for look in facts.looks] == [("passed", 5), ("failed", 1), ("passed", 18)]


def test_a_gap_in_the_probes_is_named_among_what_was_not_measured(ledger, stable):
    facts = gather(ledger, stable)
    assert len(facts.probing.gaps) == 1
    assert any(one.startswith("No probe for 40 min 30 s from 2026-11-22") for one in facts.not_measured)
    assert "“replication” (watch) came to no result 24 times." in facts.not_measured


def test_the_markdown_holds_verdict_phases_trouble_and_way_back(ledger, rolled_back):
    text = to_markdown(gather(ledger, rolled_back))
    assert text.startswith("# glad-labs 2.3.1 → 2.4.0\n\n**✕ Rolled back**: down for 10 min 30 s &gt; 10 min")
    assert "| ✓ backup | 1\u00a0min\u00a049\u00a0s |" in text, "a figure is not parted from its unit"
    assert "| ✕ failed | health | &lt;script&gt;" in text
    assert "| ? unknown | preflight | certificate is valid | no answer within 5 s |" in text
    assert "its schema part rehearsed in 8.4 s, taken in 10.8 s" in text
    assert "golive report glad-labs-20261122-0205-m2x8" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    for line in tables:
        assert len(re.findall(r"(?<!\\)\|", line)) in {4, 5, 6}, line


def test_the_markdown_of_a_release_without_data_says_that_there_is_none(ledger, empty):
    text = to_markdown(gather(ledger, empty))
    assert "No phase has begun." in text
    assert "No check was made." in text
    assert "| Way back | no data |" in text


def test_a_release_that_is_not_on_record_is_not_found(ledger):
    with pytest.raises(NotFound):
        gather(ledger, "nobody")
