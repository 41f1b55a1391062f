from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest

from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.ledger import models
from tasks.reporting import deriving, error_plot, plots, rehearsal, scales, sections, thinning, watch_plot, words
from tasks.reporting.canvas import ON_WHITE, Canvas, Paint
from tasks.reporting.markdown import escaped, to_markdown
from tasks.reporting.values import (
    Comparison,
    Event,
    Limits,
    Lock,
    Period,
    ProbePoint,
    Probing,
    Rehearsed,
    ReleaseFacts,
    Signature,
    StepRun,
    Tone,
    Verdict,
    masked,
)

AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def _after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def _facts(**more: Any) -> ReleaseFacts:
    values: dict[str, Any] = {
        "id": "r",
        "system": "glad-labs",
        "version": "2",
        "previous": "1",
        "scope": "release",
        "state": "watching",
        "verdict": Verdict(Tone.PLAIN, "Live, under watch", ""),
        "started_by": "ana",
        "reason": "",
        "file": "release.yaml",
        "identity": None,
        "plan_hash": None,
        "created": AT,
        "live": AT,
        "ended": None,
        "gathered": _after(7200),
        "epochs": (1,),
    }
    return ReleaseFacts(**{**values, **more})


def _probe(seconds: float, outcome: str = "passed", **more: Any) -> models.Probe:
    values: dict[str, Any] = {"elapsed": 0.02, "control": None, "source": "guard", "check": "API answers"}
    return models.Probe(release_id="r", at=_after(seconds), outcome=outcome, **{**values, **more})


def _move(seconds: float, before: str, after: str) -> models.Move:
    return models.Move(release_id="r", at=_after(seconds), before=before, after=after, by="w", note="", epoch=1)


def _period(name: str, began: float, ended: float) -> Period:
    return Period(name, name, _after(began), _after(ended), ended - began, Outcome.PASSED, "then on")


def test_an_extreme_survives_thinning():
    values = [(float(i), 1.0) for i in range(5000)]
    values[2345] = (2345.0, 99.0)
    found = thinning.columns(values, 25.0)
    assert len(found) == 200
    assert max(column.high for column in found) == 99.0
    assert [column.middle for column in found] == [1.0] * 200


def test_marks_that_would_touch_become_one_and_none_is_lost():
    marks = [(float(i), i + 0.5) for i in (0, 1, 2, 50, 51, 300)]
    assert thinning.merged(marks, 1.0) == [(0.0, 2.5), (50.0, 51.5), (300.0, 300.5)]


def test_labels_close_to_one_another_go_to_rows_of_their_own():
    assert thinning.spread([0, 10, 20, 200], 100) == [0, 1, 2, 0]


def test_ticks_are_round_and_end_before_the_greatest_value():
    assert scales.nice(0.42) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert scales.decades(0.004, 12) == pytest.approx([0.01, 0.1, 1, 10])


def test_a_period_ends_with_the_next_move_and_the_last_one_lasts_until_now():
    moves = [_move(0, "", "planned"), _move(2, "planned", "preflight"), _move(12, "preflight", "backup")]
    periods = deriving.periods_of(moves, _after(60))
    assert [(p.name, p.seconds, p.outcome) for p in periods] == [
        ("preflight", 10.0, Outcome.PASSED),
        ("backup", 48.0, Outcome.UNKNOWN),
    ]


def test_a_phase_after_which_the_release_is_taken_back_has_failed():
    moves = [_move(0, "deploy", "health"), _move(9, "health", "rolling_back"), _move(12, "rolling_back", "rolled_back")]
    assert [(p.name, p.outcome) for p in deriving.periods_of(moves, _after(60))] == [
        ("health", Outcome.FAILED),
        ("rolling_back", Outcome.PASSED),
    ]


def test_a_stable_release_that_a_person_takes_back_keeps_its_stable_time():
    moves = [_move(0, "watching", "stable"), _move(9, "stable", "rolling_back")]
    assert [(p.name, p.outcome) for p in deriving.periods_of(moves, _after(10))] == [
        ("stable", Outcome.PASSED),
        ("rolling_back", Outcome.UNKNOWN),
    ]


def test_a_step_without_an_end_stays_started():
    start = models.Step(
        id=1, release_id="r", at=AT, phase="deploy", name="start", event="started", mutates=True, epoch=1
    )
    start.detail = {}
    (run,) = deriving.steps_of([start])
    assert (run.event, run.took) == ("started", None)


def test_two_failures_in_a_row_are_no_outage_and_three_are():
    two = [_probe(30 * i, "failed" if i in {3, 4} else "passed") for i in range(10)]
    three = [_probe(30 * i, "failed" if i in {3, 4, 5} else "passed") for i in range(10)]
    assert deriving.probing_of(two, AT, _after(280)).outages == ()
    (outage,) = deriving.probing_of(three, AT, _after(280)).outages
    assert (outage.probes, outage.lasted, outage.ended) == (3, "1 min 30 s ± 30.0 s", _after(180))


def test_a_second_look_is_no_probe_and_tells_more_closely_how_long_an_outage_was():
    rows = [_probe(30 * i, "failed" if i in {3, 4, 5} else "passed") for i in range(10)]
    rows += [_probe(30 * i + after, "failed", source="again") for i in (3, 4, 5) for after in (10, 20)]
    probing = deriving.probing_of(sorted(rows, key=lambda row: row.at), AT, _after(280))
    assert (probing.counted, probing.failed, probing.interval) == (10, 3, 30.0)
    assert [(outage.seconds, outage.off) for outage in probing.outages] == [(100.0, 20.0)]


def test_a_failure_beside_a_failing_control_does_not_count_against_the_service():
    probing = deriving.probing_of([_probe(0), _probe(30, "failed", control="failed")], AT, _after(40))
    assert (probing.failed, probing.unknown, probing.counted) == (0, 1, 1)


def test_time_without_probes_is_a_gap_at_the_end_too():
    probing = deriving.probing_of([_probe(30 * i) for i in range(10)], AT, _after(3600))
    assert probing.interval == 30.0
    assert probing.gaps == ((_after(270), _after(3600)),)


def test_probes_of_two_checks_at_once_do_not_halve_the_interval():
    rows = [probe for i in range(10) for probe in (_probe(30 * i), _probe(30 * i + 1, check="search"))]
    assert deriving.probing_of(rows, AT, _after(280)).interval == 30.0


def test_overlapping_outages_of_two_checks_count_once_as_downtime():
    rows = [_probe(30 * i, "failed" if 2 <= i < 6 else "passed") for i in range(10)]
    rows += [_probe(30 * i, "failed" if 4 <= i < 8 else "passed", check="search") for i in range(10)]
    probing = deriving.probing_of(sorted(rows, key=lambda row: row.at), AT, _after(280))
    assert [outage.seconds for outage in probing.outages] == [120.0, 120.0]
    assert probing.downtime == 180.0


def test_a_lock_of_a_strange_form_is_left_out():
    held = [{"relation": "a", "mode": "m", "held": 1}, {"relation": "a", "mode": "m", "held": 2}, {"held": "x"}, 7]
    assert deriving.locks_of(held, "rehearsal") == (Lock("a", "m", 2.0, "rehearsal"),)
    assert deriving.locks_of("nonsense", "rehearsal") == ()


def test_without_a_newer_look_the_probes_are_held_against_the_baseline():
    probing = deriving.probing_of([_probe(30 * i) for i in range(3)], AT, _after(70))
    (found,) = deriving.comparisons_of({"API answers": {"latencies": [0.01, 0.02]}}, [], probing)
    assert (found.now, found.source) == ((0.02, 0.02, 0.02), "last 3 probes that passed")


def test_masking_reaches_every_text_however_deep():
    facts = _facts(
        reason="hunter2",
        signatures=(Signature(AT, "go", "dba", "hunter2", "approve", "", ""),),
        verdict=Verdict(Tone.BAD, "x", "by hunter2"),
    )
    found = masked(facts, lambda text: text.replace("hunter2", "•••"))
    assert "hunter2" not in repr(found)
    assert found.verdict.tone is Tone.BAD
    deep = masked({"hunter2": [{"a": ("hunter2", 1, None, True)}]}, lambda text: text.replace("hunter2", "•••"))
    assert deep == {"•••": [{"a": ("•••", 1, None, True)}]}


def test_locks_that_could_not_be_seen_are_no_data_and_not_none():
    ran = {"applied": ["1"], "took": 1.0, "locks": [], "notes": ["no session of the tool was seen"]}
    for detail, seen in ((ran, "no data"), (ran | {"notes": []}, "none")):
        step = StepRun("migrate", "migrate production", "done", AT, 1.0, mutates=True, epoch=1, detail=detail)
        rehearsed = Rehearsed(AT, "f", 1.0, {"upgrade": detail})
        hold_up = rehearsal.takes(_facts(rehearsal=rehearsed, steps=(step,), migration=1.0)).rows[1]
        assert [cell.text for cell in (hold_up[1], hold_up[3])] == [seen, seen]


def test_the_longest_lock_is_production_s_before_rehearsal_s():
    facts = _facts(locks=(Lock("a", "m", 9.0, "rehearsal"), Lock("b", "m", 1.0, "production")))
    assert facts.longest_lock == Lock("b", "m", 1.0, "production")


def test_evidence_without_a_value_is_told_as_no_data():
    assert words.told({"a": None, "b": math.nan, "c": [1, 2], "d": True, "port": 8081}) == (
        "a: no data; b: no data; c: 1, 2; d: yes; port: 8081"
    )
    assert words.told(list(range(300))) == "300 values"


def test_findings_are_told_in_both_forms_in_which_they_are_recorded():
    listed = {"findings": [{"kind": "down", "state": "quiet", "seen": "up"}], "checks": {"API": "passed"}}
    assert words.findings_of(listed) == (("down", "quiet: up"), ("checks", "API: passed"))
    assert words.findings_of({"down": {"state": "fires", "seen": "11 min"}}) == (("down", "fires: 11 min"),)


def test_a_stop_before_and_after_production_was_touched_are_told_apart():
    before = words.verdict_of(State.STOPPED, None, "no signature", touched=False)
    after = words.verdict_of(State.STOPPED, None, "", touched=True)
    assert before == Verdict(Tone.WARN, "Stopped before production was touched", "no signature")
    assert after == Verdict(Tone.BAD, "Stopped", "")


def test_a_phase_of_a_day_is_drawn_shortened_so_that_seconds_can_be_seen():
    names = ("preflight", "backup", "migrate", "deploy", "health")
    short = [_period(name, 10 * i, 10 * i + 10) for i, name in enumerate(names)]
    assert plots.shortened(short) == {}
    assert plots.shortened([*short, _period("watch", 50, 86450)]) == {5: pytest.approx(15.0)}


def test_a_text_in_a_plot_is_no_formula_and_no_markup():
    canvas = Canvas(200, 40)
    canvas.text(5, 20, "$\\frac{1}{2}$ <b>&\nx")
    svg = canvas.svg("test", 'a "title" <i>')
    assert "$\\frac{1}{2}$ &lt;b&gt;&amp; x" in svg
    assert 'aria-label="a &#34;title&#34; &lt;i&gt;"' in svg


def test_the_colours_of_a_plot_come_from_the_page():
    canvas = Canvas(200, 40)
    for number, paint in enumerate(Paint):
        canvas.line([(0, number), (10, number)], paint)
        canvas.text(0, number, "x", paint)
        canvas.boxes([(0, number, 3, 3)], paint, edge=Paint.INK, hatched=number % 2 == 0)
    svg = canvas.svg("test", "all")
    assert "#0" not in svg
    assert all(paint.css in svg for paint in Paint)


def test_a_day_of_failures_fits_a_plot_and_is_wholly_marked():
    points = tuple(ProbePoint(_after(30 * i), "API", Outcome.FAILED, None) for i in range(2880))
    svg = watch_plot.watch(_facts(probing=Probing(points, failed=2880, interval=30.0), events=(Event(AT, "live"),)))
    assert len(svg.encode()) < 40_000
    assert "no answer has a latency" in svg


def test_a_day_of_probes_each_second_fits_a_plot():
    elapsed = [0.01 * (1 + (i * 7919) % 97) for i in range(86400)]
    points = tuple(ProbePoint(_after(i), "API", Outcome.PASSED, elapsed[i]) for i in range(86400))
    assert len(watch_plot.watch(_facts(probing=Probing(points, interval=1.0))).encode()) < 40_000


def test_latencies_far_apart_are_drawn_on_a_logarithmic_scale():
    points = tuple(ProbePoint(_after(30 * i), "API", Outcome.PASSED, 9.0 if i == 5 else 0.012) for i in range(50))
    svg = watch_plot.watch(_facts(probing=Probing(points, interval=30.0)))
    assert ">100 ms<" in svg
    assert ">1.0 s<" in svg


def test_one_probe_alone_can_be_drawn():
    points = (ProbePoint(AT, "API", Outcome.PASSED, 0.02),)
    assert "<svg" in watch_plot.watch(_facts(probing=Probing(points)))


def test_errors_are_counted_over_the_window_of_the_trigger_and_not_where_there_are_too_few_probes():
    failed = {20, 21, 22}
    points = [
        ProbePoint(_after(30 * i), "API", Outcome.FAILED if i in failed else Outcome.PASSED, 0.1) for i in range(60)
    ]
    points[40] = ProbePoint(_after(30 * 40), "API", Outcome.UNKNOWN, None)
    found = dict(error_plot.shares(points, 300.0))
    assert min(found) == _after(30 * 9)
    assert _after(30 * 40) not in found
    assert found[_after(30 * 19)] == 0
    assert found[_after(30 * 22)] == pytest.approx(3 / 11)
    assert found[_after(30 * 33)] == 0


def test_the_watch_is_drawn_against_its_baseline_and_limits():
    points = tuple(ProbePoint(_after(30 * i), "API", Outcome.PASSED, 0.02) for i in range(60))
    facts = _facts(probing=Probing(points, interval=30.0), limits=Limits(0.02, 0.07, 0.2, 900.0))
    svg = watch_plot.watch(facts)
    for said in (">before 20 ms<", ">limit 70 ms<", ">limit 20%<", "limit 70 ms, at most 20% errors"):
        assert said in svg
    far = watch_plot.watch(replace(facts, limits=Limits(0.02, 9.0)))
    assert ">limit 9.0 s<" not in far
    assert "limit 9.0 s" in far, "what lies far above the plot is told beside it"


def test_a_drawing_stands_by_itself_as_png_in_the_colours_of_the_page():
    points = tuple(ProbePoint(_after(30 * i), "API", Outcome.PASSED, 0.02) for i in range(60))
    facts = _facts(
        probing=Probing(points, gaps=((_after(60), _after(600)),), interval=30.0), events=(Event(AT, "live"),)
    )
    first, again = (one.canvas.png("a title") for _ in range(2) if (one := watch_plot.watch_drawing(facts)) is not None)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == again
    css = files("tasks.reporting").joinpath("report.css").read_text()
    light = dict(re.findall(r"--(\w+): (#\w+);", css[: css.index("@media")]))
    assert {paint.name.lower(): colour for paint, colour in ON_WHITE.items()} == light


def test_a_lock_over_its_limit_is_said_in_words():
    svg = plots.locks(_facts(locks=(Lock("orders", "ACCESS EXCLUSIVE", 7.0, "production"),), lock_limit=5.0))
    assert "7.0 s production, over the limit" in svg
    assert "limit 5.0 s" in svg


def test_a_check_with_a_baseline_alone_is_drawn_with_no_data_for_now():
    svg = plots.comparison(_facts(comparisons=(Comparison("API", (0.01, 0.02), (), ""),)))
    assert ">no data<" in svg


def test_latencies_of_zero_can_be_drawn():
    assert "<svg" in plots.comparison(_facts(comparisons=(Comparison("API", (0.0, 0.0), (0.0,), ""),)))
    assert "<svg" in plots.locks(_facts(locks=(Lock("orders", "SHARE", 0.0, "rehearsal"),)))


def test_markdown_parts_no_figure_from_its_unit_and_says_apart_where_to_look():
    told = to_markdown(_facts(periods=(_period("preflight", 0, 66),)))
    assert "1\u00a0min\u00a06\u00a0s" in told
    assert "## Where to look\n\n- Whole report:" in told


def test_evidence_is_told_in_the_unit_that_its_name_says():
    said = {
        "free": 60_911_329_280,
        "keep_seconds": 0.5,
        "server_version": 180004,
        "rows": 600,
        "at": "2026-11-23T05:58:26Z",
    }
    assert sections.evidence(said) == (
        "free: 60.9 GB", "keep: 500 ms", "server version: 18.4", "rows: 600", "at: 2026-11-23 05:58:26 UTC"
    )  # fmt: skip


def test_markdown_shows_what_comes_from_outside_as_it_is():
    assert escaped("a|b\n`c` *d* [e](f) <g> \\") == "a\\|b \\`c\\` \\*d\\* \\[e\\](f) &lt;g&gt; \\\\"
