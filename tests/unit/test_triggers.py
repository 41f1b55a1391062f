from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.domain.outcome import Outcome
from tasks.domain.traffic import Counted, Traffic
from tasks.domain.triggers import (
    Alarm,
    Corruption,
    Down,
    Errors,
    Finding,
    Probe,
    Slower,
    Trigger,
    burst_until_sure,
    judge,
    outages,
    reach,
    slower,
)

START = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
OF_LETTER = {"P": Outcome.PASSED, "F": Outcome.FAILED, "U": Outcome.UNKNOWN}


def probes(letters: str, interval: float = 30.0, control: Outcome | None = Outcome.PASSED) -> list[Probe]:
    """One probe per letter, one interval apart; a dot is a probe that was not made."""
    return [
        Probe(START + timedelta(seconds=i * interval), OF_LETTER[letter], 0.05, control, "API answers")
        for i, letter in enumerate(letters)
        if letter != "."
    ]


def at_end_of(letters: str, interval: float = 30.0, later: float = 0.0) -> datetime:
    return START + timedelta(seconds=(len(letters) - 1) * interval + later)


def down(letters: str, interval: float = 30.0, control: Outcome | None = Outcome.PASSED, later: float = 1.0) -> Finding:
    trigger = Down(for_=20 * interval)
    return judge(trigger, probes(letters, interval, control), at_end_of(letters, interval, later), interval)


def errors(letters: str, fifths: Sequence[tuple[int, int]] = ()) -> Finding:
    """Judge errors by probes, along with which clients' requests (failed, all) were counted each three minutes."""
    end = at_end_of(letters)
    counted = [
        Counted(end - timedelta(seconds=180 * back), 180.0, Traffic(asked, failed))
        for back, (failed, asked) in enumerate(reversed(fifths))
    ]
    along = [Probe(one.at, Outcome.UNKNOWN, clients=one) for one in counted]
    return judge(Errors(), [*probes(letters), *along], end, 30.0)


def test_triggers_are_told_apart_by_kind_and_written_as_in_the_release_file():
    adapter: TypeAdapter[Trigger] = TypeAdapter(Trigger)
    assert adapter.validate_python({"kind": "down", "for": "10m"}) == Down(for_=600.0)
    assert adapter.validate_python({"kind": "errors", "above": "20%", "for": "15m"}) == Errors()
    assert adapter.validate_python({"kind": "slower", "than": "50%"}) == Slower()
    assert adapter.validate_python({"kind": "corruption"}) == Corruption()
    for wrong in ({"kind": "down", "fro": "10m"}, {"kind": "breach"}, {"kind": "errors", "above": "100%"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


class TestDown:
    def test_it_fires_only_after_more_than_the_limit(self):
        assert down("P" + "F" * 20).state is Alarm.SUSPICIOUS
        finding = down("P" + "F" * 21)
        assert finding.state is Alarm.FIRES
        assert "down for 10 min 1 s > 10 min, 21 of 21 probes made" in finding.seen

    def test_one_success_starts_the_reckoning_again(self):
        assert down("F" * 15 + "P" + "F" * 15).state is Alarm.SUSPICIOUS
        assert down("F" * 40 + "P").state is Alarm.QUIET

    def test_three_of_twenty_one_probes_may_be_missing_but_not_four(self):
        assert down("P" + "F.FFFFFFF.FFFFFFF.FFFF").state is Alarm.FIRES
        assert down("P" + "F.FFFF.FF.FFFFFFF.FFFF").state is Alarm.UNKNOWN

    def test_a_gap_in_the_probes_leaves_it_unknown(self):
        assert down("P" + "F" * 15 + "..." + "F" * 20).state is Alarm.UNKNOWN

    def test_a_failing_control_never_fires(self):
        for control in (Outcome.FAILED, Outcome.UNKNOWN):
            assert down("P" + "F" * 40, control=control).state is Alarm.UNKNOWN

    def test_errors_of_the_prober_are_no_failures_of_the_target(self):
        assert down("P" + "U" * 40).state is Alarm.UNKNOWN

    def test_nothing_seen_is_unknown(self):
        assert down("P", later=100.0).state is Alarm.UNKNOWN
        assert judge(Down(), [], START, 30.0).state is Alarm.UNKNOWN

    def test_the_same_rule_holds_when_a_day_is_watched_in_seconds(self):
        assert down("P" + "F" * 21, interval=0.05, later=0.01).state is Alarm.FIRES
        assert down("P" + "F" * 20, interval=0.05, later=0.01).state is Alarm.SUSPICIOUS


class TestErrors:
    def test_it_needs_ten_failures_of_thirty_at_both_ends_of_the_window(self):
        assert errors("PFP" * 10 + "P").state is Alarm.FIRES
        assert errors("PPFPP" * 6 + "F").state is Alarm.SUSPICIOUS
        assert errors("P" * 30).state is Alarm.QUIET

    def test_an_outage_that_has_only_begun_does_not_fire_however_complete(self):
        finding = errors("P" * 15 + "F" * 15)
        assert finding.state is Alarm.SUSPICIOUS
        assert "15 of 30" in finding.seen

    def test_errors_that_are_over_do_not_fire(self):
        assert errors("F" * 18 + "P" * 12).state is Alarm.SUSPICIOUS

    def test_two_restarts_at_the_ends_of_the_window_are_no_errors_that_went_on(self):
        finding = errors("F" * 8 + "P" * 15 + "F" * 7)
        assert finding.state is Alarm.SUSPICIOUS
        assert "15 probes in a row passed between" in finding.seen
        assert errors("FPF" * 3 + "P" * 11 + "FPF" * 3 + "F").state is Alarm.FIRES

    def test_two_outages_shorter_than_what_fires_are_no_errors_and_a_third_within_the_hour_is(self):
        twice = "F" * 7 + "P" * 8 + "F" * 13
        finding = errors("P" * 2 + twice)
        assert finding.state is Alarm.SUSPICIOUS
        assert "20 of 20 failures in 2 outages of 13 probes at most" in finding.seen
        beside = errors("F" + "P" * 31 + "F" + "P" * 3 + twice)
        assert "20 of 22 failures in 2 outages of 13 probes at most" in beside.seen
        assert errors("F" * 5 + "P" * 30 + twice + "F" * 2).state is Alarm.FIRES
        # A service that answers now and then is not down in pieces.
        assert errors("FFFPFFFFFPFFFFPFFFFFPFFFFFPFFFF").state is Alarm.FIRES

    def test_a_restart_amid_a_few_errors_is_no_proof_that_they_are_above_the_limit(self):
        before, amid = "P" * 60 + "F" + "P" * 27 + "F" + "P" * 17 + "F" + "P" * 22, "FPPFFFFFFPPPFPPPPFPPPPPFPFPPF"
        finding = errors(before + amid)
        assert finding.state is Alarm.SUSPICIOUS
        assert "6 in a row in one outage, and beside it " in finding.seen
        assert errors("P" * 90 + "FPPFFFFFFPFPFFPFPFPFPPFPFPPFPF").state is Alarm.FIRES

    def test_failures_in_pairs_all_along_are_errors_and_no_outages(self):
        window = probes("FFPPPP" * 30, interval=5.0)
        assert judge(Errors(), window, at_end_of("FFPPPP" * 30, 5.0), 5.0).state is Alarm.FIRES

    def test_a_window_above_the_limit_is_no_proof_where_errors_have_kept_to_it_for_longer(self):
        above, within = "FPP" * 10, "FPPPPPPPPP" * 9
        finding = errors(within + above)
        assert finding.state is Alarm.SUSPICIOUS
        assert "19 of 120 (15.8%) since they began" in finding.seen
        assert errors(within + "P" * 30 + above).state is Alarm.FIRES, "these are others"
        assert errors(within + above * 4).state is Alarm.FIRES
        assert errors("F" * 20 + within + above).state is Alarm.SUSPICIOUS, "what is older than that does not count"

    def test_too_few_probes_are_unknown(self):
        assert errors("F" * 29).state is Alarm.UNKNOWN
        assert errors("F" * 20 + "....." + "F" * 5 + "." * 8 + "F" * 5).state is Alarm.UNKNOWN

    def test_a_lost_probe_does_not_blind_it(self):
        assert errors("FFP." * 5 + "FFP" * 7).state is Alarm.FIRES

    def test_enough_requests_of_clients_are_preferred_to_probes(self):
        finding = errors("P" * 30, [(60, 200)] * 5)
        assert finding.state is Alarm.FIRES
        assert "errors 300 of 1000 requests (30.0%)" in finding.seen
        assert errors("F" * 30, [(0, 200)] * 5).state is Alarm.QUIET
        assert errors("F" * 30, [(0, 10)] * 5).state is Alarm.FIRES
        assert errors("P" * 30, [(90, 200)] * 4 + [(0, 200)]).state is Alarm.SUSPICIOUS

    def test_requests_counted_in_too_little_of_the_window_leave_it_to_the_probes(self):
        assert errors("P" * 30, [(90, 200)] * 3).state is Alarm.QUIET
        assert errors("P" * 30, [(90, 200)] * 4).state is Alarm.SUSPICIOUS  # in the first fifth nothing was counted

    def test_what_clients_met_at_both_ends_of_the_window_did_not_go_on_through_it(self):
        finding = errors("P" * 30, [(190, 200), (60, 200), (2, 200), (60, 200), (190, 200)])
        assert finding.state is Alarm.SUSPICIOUS
        assert "for a fifth of the time they ceased" in finding.seen

    def test_a_window_above_the_limit_by_chance_is_held_against_all_requests_since_errors_began(self):
        long = [(38, 200)] * 15
        finding = errors("P" * 150, [*long, *[(46, 200)] * 5])
        assert finding.state is Alarm.SUSPICIOUS
        assert "since they began" in finding.seen
        assert errors("P" * 150, [*[(0, 200)] * 15, *[(46, 200)] * 5]).state is Alarm.FIRES


BASELINE = [0.1 + 0.0001 * i for i in range(240)]


class TestSlower:
    def test_once_is_suspicious_and_twice_running_fires(self):
        burst = [0.25] * 30
        first = slower(Slower(), burst, BASELINE)
        second = slower(Slower(), burst, BASELINE, first)
        assert (first.state, second.state) == (Alarm.SUSPICIOUS, Alarm.FIRES)
        assert "median 250 ms > 1.5 × 112 ms before" in first.seen
        quiet = slower(Slower(), BASELINE[:30], BASELINE, second)
        assert quiet.state is Alarm.QUIET
        assert slower(Slower(), burst, BASELINE, quiet).state is Alarm.SUSPICIOUS

    def test_a_fast_service_may_vary_below_the_floor(self):
        within = slower(Slower(), [0.010] * 30, [0.002] * 240)
        assert within.state is Alarm.QUIET
        assert "median 10 ms > 1.5 × 2 ms before" in within.seen
        assert "grown by 8 ms, which is within the floor of 50 ms" in within.seen
        assert slower(Slower(floor=0.0), [0.010] * 30, [0.002] * 240).state is Alarm.SUSPICIOUS

    def test_too_little_data_is_unknown(self):
        assert slower(Slower(), [0.25] * 30, BASELINE[:239]).state is Alarm.UNKNOWN
        assert slower(Slower(), [0.25] * 23, BASELINE).state is Alarm.UNKNOWN

    def test_timeouts_are_errors_and_no_latency(self):
        hung = [Probe(START, Outcome.FAILED, 10.0)] * 30
        assert judge(Slower(), hung, START, 30.0, baseline=BASELINE).state is Alarm.UNKNOWN


@pytest.mark.parametrize(("factor", "size"), [(1.0, 30), (1.35, 240), (3.0, 30)])
def test_a_burst_grows_while_it_is_open_whether_it_is_slower(factor, size):
    draw = random.Random(5)
    made = burst_until_sure(
        Slower(), BASELINE, 30, lambda count: [factor * draw.lognormvariate(-2.1, 0.4) for _ in range(count)]
    )
    assert len(made) == size


def test_a_burst_that_hardly_answers_does_not_grow():
    assert burst_until_sure(Slower(), BASELINE, 30, lambda _: [0.17] * 10) == [0.17] * 10


@pytest.mark.parametrize(
    ("letters", "states"),
    [
        ("P" + "F" * 22 + "P", [Alarm.FIRES]),
        ("P" + "F" * 10 + "....." + "F" * 10 + "P", [Alarm.UNKNOWN]),  # the prober was away in its midst
        ("P" + "F" * 10 + "U" * 15 + "P", [Alarm.UNKNOWN]),
        ("P" + "F" * 30, [Alarm.FIRES]),
        ("P" + "F" * 19 + "P" + "F" * 19 + "P", []),
        ("P" + "F" + "." * 30 + "P", []),
    ],
)
def test_an_outage_is_found_afterwards_though_nothing_fired_then(letters, states):
    found = outages(Down(), probes(letters), 30.0)
    assert [one.state for one in found] == states


def integrity(letters: str, source: str = "checksums") -> list[Probe]:
    return [Probe(START + timedelta(hours=i), OF_LETTER[letter], source=source) for i, letter in enumerate(letters)]


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        (integrity("PPFF"), Alarm.FIRES),
        (integrity("PPFUF"), Alarm.FIRES),
        (integrity("PPF"), Alarm.SUSPICIOUS),
        (integrity("FPF") + integrity("F", "orphans"), Alarm.SUSPICIOUS),
        (integrity("FFP"), Alarm.QUIET),
        (integrity("UU"), Alarm.UNKNOWN),
        ([], Alarm.UNKNOWN),
    ],
)
def test_corruption_is_confirmed_by_the_same_check_twice_running(looks, state):
    assert judge(Corruption(), looks, START + timedelta(days=1), 30.0).state is state


TICKS = 2880  # a day of probes every 30 s


def first_fire(failed: np.ndarray, interval: float = 30.0) -> dict[str, int]:
    """The tick at which each trigger first fires; judged where a probe failed, for none begins to fire elsewhere."""
    found: dict[str, int] = {}
    for trigger in (Down(), Errors()):
        back = int(reach(trigger, interval) / interval) + 1
        for tick in np.flatnonzero(failed):
            window = [
                Probe(START + timedelta(seconds=i * interval), Outcome.FAILED if failed[i] else Outcome.PASSED, 0.05)
                for i in range(max(0, int(tick) - back), int(tick) + 1)
            ]
            now = START + timedelta(seconds=int(tick) * interval + 1)
            if judge(trigger, window, now, interval).state is Alarm.FIRES:
                found[trigger.kind] = int(tick)
                break
    return found


def test_no_healthy_day_of_three_hundred_is_rolled_back():
    draw = np.random.default_rng(7)
    for _ in range(300):
        failed = draw.random(TICKS) < 0.003
        for begin in (100, 1500):  # in each half of the day an outage of up to nine minutes
            blip = begin + int(draw.integers(0, 1200))
            failed[blip : blip + draw.integers(1, 19)] = True
        assert first_fire(failed) == {}


def test_every_outage_of_more_than_ten_minutes_is_found_within_a_minute_after_them():
    draw = np.random.default_rng(8)
    for _ in range(100):
        failed = draw.random(TICKS) < 0.002
        begin = int(draw.integers(100, TICKS - 100))
        failed[begin : begin + 40] = True
        failed[begin - 3 : begin] = False
        assert begin + 20 <= first_fire(failed)["down"] <= begin + 22


def test_errors_above_the_limit_are_found_and_those_below_are_not():
    draw = np.random.default_rng(9)
    found = dict.fromkeys((0.10, 0.40), 0)
    for rate in found:
        for _ in range(60):
            failed = np.zeros(240, dtype=bool)
            failed[100:220] = draw.random(120) < rate  # an hour
            found[rate] += "errors" in first_fire(failed)
    assert found[0.10] <= 1
    assert found[0.40] >= 57


def test_slowdowns_are_found_and_the_noise_of_the_hours_is_not():
    draw = np.random.default_rng(10)
    trigger = Slower(floor=0.02)

    def burst(factor: float, size: int = 30) -> list[float]:
        hour = draw.lognormal(0, 0.15)
        return [float(v) for v in draw.lognormal(np.log(0.1 * hour * factor), 0.5, size)]

    def fires_within(looks: int, factor: float) -> bool:
        baseline = [value for _ in range(8) for value in burst(1.0)]
        previous = None
        for _ in range(looks):
            previous = slower(trigger, burst(factor), baseline, previous)
            if previous.state is Alarm.FIRES:
                return True
        return False

    assert not any(fires_within(24, 1.0) for _ in range(40))
    assert sum(fires_within(2, 3.0) for _ in range(40)) >= 38
    assert sum(fires_within(24, 2.0) for _ in range(40)) >= 38


def test_judging_does_not_depend_on_the_order_of_the_probes():
    window = probes("PFP" * 10 + "P")
    shuffled = random.Random(3).sample(window, len(window))
    now = at_end_of("PFP" * 10 + "P")
    assert judge(Errors(), shuffled, now, 30.0) == judge(Errors(), window, now, 30.0)
