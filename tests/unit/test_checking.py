"""Making checks: all at once, each within its time, what breaks is unknown, and no secret is shown."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from pydantic import PrivateAttr, ValidationError

from tasks import checking, checks
from tasks.adapters.secrets import SecretStore
from tasks.checking import AT_ONCE, measure, measure_all, require
from tasks.checks import Check
from tasks.domain.errors import AccessDenied, ChecksFailed, Inconclusive, Unreachable
from tasks.domain.outcome import Measurement, Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.everywhere import recorded
from tasks.health import conclude
from tasks.spec.kinds import kinds_in

SECRET = 'pä"ss\\wört-42'


class Fake(Check):
    """Looks as the test tells it to."""

    kind: str = "fake"
    _look: Callable[[], Reading] = PrivateAttr()
    _looks: int = PrivateAttr(default=0)

    def look(self, target: Target) -> Reading:  # noqa: ARG002 - the contract's
        self._looks += 1
        return self._look()


def check(look: Callable[[], Reading], name: str = "it", **fields: Any) -> Fake:
    made = Fake.model_validate({"name": name, **fields})
    made._look = look
    return made


def raising(error: BaseException) -> Callable[[], Reading]:
    def look() -> Reading:
        raise error

    return look


def slow(seconds: float, then: Callable[[], Reading] = lambda: passed("well")) -> Callable[[], Reading]:
    def look() -> Reading:
        time.sleep(seconds)
        return then()

    return look


@pytest.fixture
def target(world: World) -> Target:
    secrets = SecretStore({"TOKEN": SECRET, "DSN": "postgresql://shop:hunter2@db/shop"})
    secrets.resolve("${env:TOKEN} ${env:DSN}")
    return Target(replace(world, secrets=secrets), "shop", "v2")


@pytest.fixture
def closing() -> Iterator[threading.Event]:
    """Set at the end, so that looks that hang come back."""
    event = threading.Event()
    yield event
    event.set()


def test_what_was_seen_is_measured_with_its_check(target):
    look = check(lambda: passed("all well", value=3.0, unit="ms"), covers=("A-1",), advisory=True, help="look there")
    seen = measure(look, target)
    assert (seen.check, seen.kind, seen.outcome, seen.reading.value) == ("it", "fake", Outcome.PASSED, 3.0)
    assert (seen.covers, seen.advisory, seen.help) == (("A-1",), True, "look there")
    assert 0 <= seen.took < 5
    assert abs((datetime.now(UTC) - seen.at).total_seconds()) < 5


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("by zero"), KeyError("x"), AccessDenied("no right"), OSError(5, "I/O")]
)
def test_a_look_that_breaks_is_unknown_and_not_repeated(error, target):
    look = check(raising(error))
    seen = measure(look, target)
    assert seen.outcome is Outcome.UNKNOWN
    assert type(error).__name__ in seen.reading.seen
    assert look._looks == 1


def test_a_look_that_could_not_be_made_is_repeated_while_that_can_help(target):
    answers = iter([raising(Unreachable("no route")), raising(Unreachable("no route")), lambda: passed("well")])
    look = check(lambda: next(answers)())
    assert measure(look, target).outcome is Outcome.PASSED
    assert look._looks == 3
    look = check(raising(Unreachable("no route")))
    assert measure(look, target).reading.seen == "Unreachable: no route"
    assert look._looks == 3


def test_a_look_is_not_repeated_once_half_its_time_is_gone(target):
    look = check(slow(0.1, raising(Unreachable("no route"))), timeout="150ms")
    assert measure(look, target).outcome is Outcome.UNKNOWN
    assert look._looks == 1


def test_a_failure_of_the_target_is_not_repeated(target):
    look = check(lambda: failed("status 500"))
    assert measure(look, target).outcome is Outcome.FAILED
    assert look._looks == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda: failed(f"sent {SECRET}", detail={"deep": [{"sent": f"Bearer {SECRET}", SECRET: 1}]}),
        raising(Unreachable(f"cannot reach with {SECRET}")),
        raising(ValueError(SECRET)),
    ],
    ids=["reading", "known error", "unknown error"],
)
def test_no_secret_is_shown(look, target):
    seen = measure(check(look), target)
    shown = json.dumps([seen.reading.seen, dict(seen.reading.detail)], ensure_ascii=False)
    assert "•••" in shown
    assert "wört-42" not in shown
    assert "wört-42" not in json.loads(json.dumps(shown))


def test_no_password_is_shown_even_if_golive_never_knew_it(target):
    detail = {
        "dsn": "postgresql://u:geheim@h/d",
        "text": 'password = "geheim" and more',
        "body": '{"password": "geheim", "user": "u"}',
        "password": "geheim",
        "rows": [{"Password": "geheim", "n": 1}],
    }
    reading = measure(check(lambda: passed("password=geheim", detail=detail)), target).reading
    assert reading.outcome is Outcome.PASSED
    assert "geheim" not in reading.seen + json.dumps(dict(reading.detail))
    assert reading.detail["rows"] == [{"Password": "•••", "n": 1}]


def test_evidence_that_is_not_json_is_shown_as_text_or_makes_the_look_unknown(target):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert measure(check(lambda: passed("well", detail={"at": at})), target).reading.detail == {"at": str(at)}
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    assert measure(check(lambda: passed("well", detail=loop)), target).outcome is Outcome.UNKNOWN


def test_what_was_seen_is_kept_short(target):
    assert len(measure(check(lambda: passed("x" * 100_000)), target).reading.seen) == 2000


def test_checks_look_at_the_same_time_and_come_back_in_their_order(target):
    everyone = threading.Barrier(AT_ONCE)

    def look(number: int) -> Reading:
        everyone.wait(10)  # breaks unless all of them look at once
        return passed(f"number {number}")

    seen = measure_all([check(partial(look, n), f"check {n}") for n in range(AT_ONCE)], target)
    assert [one.reading.seen for one in seen] == [f"number {n}" for n in range(AT_ONCE)]


def test_sixteen_slow_checks_take_hardly_longer_than_one(target):
    began = time.monotonic()
    seen = measure_all([check(slow(0.3), f"{n}") for n in range(16)], target)
    assert {one.outcome for one in seen} == {Outcome.PASSED}
    assert time.monotonic() - began < 2.4, "half of what one after the other would take"


def test_more_checks_than_look_at_once_wait_their_turn(target):
    looks = [check(slow(0.05), f"{n}", timeout="1s") for n in range(3 * AT_ONCE)]
    assert {one.outcome for one in measure_all(looks, target)} == {Outcome.PASSED}


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_look_at_once_than_may_and_each_has_its_own_time(target, most):
    lock, now, highest = threading.Lock(), 0, 0

    def look() -> Reading:
        nonlocal now, highest
        with lock:
            now += 1
            highest = max(highest, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return passed("well")

    looks = [check(look, f"{n}", timeout="5s") for n in range(10)]
    assert {one.outcome for one in measure_all(looks, target, at_once=most)} == {Outcome.PASSED}
    assert highest <= most


def test_the_flows_that_start_looks_as_tasks_start_no_more_of_them_at_once_either():
    from flows.health import health
    from flows.preflight import preflight

    for flow in (preflight, health):
        runner: Any = flow.task_runner
        assert runner._max_workers == AT_ONCE


class Lonely(Fake):
    alone: ClassVar[bool] = True


def test_a_check_that_looks_alone_looks_when_no_other_does(target):
    looking = threading.Semaphore(AT_ONCE)

    def sees_others() -> Reading:
        others = AT_ONCE - 1 - looking._value
        return passed("alone") if not others else failed(f"beside {others}")

    def look(then: Callable[[], Reading]) -> Reading:
        with looking:
            time.sleep(0.05)
            return then()

    lonely = [Lonely.model_validate({"name": f"alone {n}"}) for n in range(2)]
    for one in lonely:
        one._look = partial(look, sees_others)
    others = [check(partial(look, lambda: passed("well")), f"check {n}") for n in range(3)]
    seen = measure_all([others[0], lonely[0], others[1], lonely[1], others[2]], target)
    assert [one.reading.seen for one in seen] == ["well", "alone", "well", "alone", "well"]
    assert [one.check for one in seen] == ["check 0", "alone 0", "check 1", "alone 1", "check 2"]


def test_a_check_that_does_not_come_back_is_left_behind_as_unknown(target, closing, monkeypatch):
    monkeypatch.setattr(checking, "GRACE", 0.1)
    hangs = check(lambda: passed(str(closing.wait(60))), "hangs", timeout="200ms", covers=("A-1",))
    seen = measure_all([hangs, check(lambda: passed("well"), "answers")], target)
    assert [one.outcome for one in seen] == [Outcome.UNKNOWN, Outcome.PASSED]
    assert seen[0].reading.seen == "no answer within 0.2 s"
    assert seen[0].covers == ("A-1",)


def test_several_that_do_not_come_back_are_waited_for_together(target, closing, monkeypatch):
    monkeypatch.setattr(checking, "GRACE", 0.1)
    hanging = [check(lambda: passed(str(closing.wait(60))), f"{n}", timeout="900ms") for n in range(8)]
    began = time.monotonic()
    assert {one.outcome for one in measure_all(hanging, target)} == {Outcome.UNKNOWN}
    assert time.monotonic() - began < 4, "one after the other it would take 8 s"


def test_no_checks_see_nothing(target):
    assert measure_all([], target) == []


def seen(reading: Reading, name: str = "it", **more: Any) -> Measurement:
    return Measurement(name, "fake", reading, datetime(2026, 11, 22, tzinfo=UTC), 0.1, **more)


PASSED, FAILED, UNKNOWN = passed("well"), failed("status 500 ≠ 200"), unknown("no route")


@pytest.mark.parametrize(
    "of",
    [
        [],
        [seen(PASSED)],
        [seen(PASSED), seen(FAILED, advisory=True), seen(UNKNOWN, advisory=True)],
        [seen(FAILED, advisory=True)],
        [seen(UNKNOWN, advisory=True)],
    ],
)
def test_passed_checks_and_advisory_ones_let_a_phase_go_on(of):
    require(of, "health")


@pytest.mark.parametrize("of", [[], [seen(PASSED, advisory=True)], [seen(FAILED, advisory=True)]])
def test_where_a_check_is_needed_nothing_that_decides_is_never_a_success(of):
    with pytest.raises(Inconclusive, match="expected at least one check that is not advisory") as caught:
        require(of, "health", needed=True)
    assert caught.value.exit_code == 5
    with pytest.raises(Inconclusive):
        conclude.fn(cast("Any", None), of, "health")
    conclude.fn(cast("Any", None), of, "preflight")


def test_one_check_that_decides_is_enough_where_one_is_needed():
    require([seen(PASSED), seen(FAILED, advisory=True)], "health", needed=True)
    with pytest.raises(ChecksFailed):
        require([seen(FAILED)], "health", needed=True)


def test_a_failure_comes_before_what_is_unknown():
    # What helps with several of them is said once.
    both = [seen(FAILED, "b", help="Read the log."), seen(FAILED, "d", help="Read the log.")]
    with pytest.raises(ChecksFailed) as caught:
        require([seen(UNKNOWN, "a"), *both, seen(PASSED, "c")], "health")
    told = "b: status 500 ≠ 200; d: status 500 ≠ 200; → Read the log."
    assert str(caught.value) == f"health: 2 of 4 checks failed: {told}"
    assert caught.value.exit_code == 4


def test_what_is_unknown_is_never_a_success():
    with pytest.raises(Inconclusive, match="1 of 2 checks unknown: a: no route") as caught:
        require([seen(UNKNOWN, "a"), seen(PASSED, "b")], "health")
    assert caught.value.exit_code == 5


def test_an_advisory_failure_is_not_named_as_the_reason():
    with pytest.raises(ChecksFailed) as caught:
        require([seen(FAILED, "decides"), seen(FAILED, "advises", advisory=True)], "health")
    assert "decides" in str(caught.value)
    assert "advises" not in str(caught.value)


def test_many_failures_are_counted_and_the_first_five_named():
    with pytest.raises(ChecksFailed, match=r"7 of 7 checks failed: 0: .*; 4: .* and 2 more"):
        require([seen(FAILED, str(n)) for n in range(7)], "health")


class Room(Fake):
    """Looks at a machine, which is told apart by where it keeps the releases."""

    of_machine: ClassVar[bool] = True
    _seen: dict[str, Callable[[], Reading]] = PrivateAttr()

    def look(self, target: Target) -> Reading:
        """Return what that machine is to show, and what it recorded before."""
        reading = self._seen[target.root.name]()
        return replace(reading, detail={"before": target.baseline.get("it", {}).get("at", "")})

    def record(self, target: Target) -> dict[str, Any]:
        return {"at": target.root.name}


def on_hosts(target: Target, *names: str) -> Target:
    return target.at(hosts={name: target.at(root=Path("/nowhere") / name) for name in names})


def room(**seen: Callable[[], Reading]) -> Room:
    made = Room.model_validate({"name": "it"})
    made._seen = seen
    return made


def test_one_reading_tells_of_all_hosts_and_names_those_that_did_not_pass(target):
    there = on_hosts(target, "app1", "app2", "app3")
    fine, full = lambda: passed("5 GB free", value=5.0, limit=2.0), lambda: failed("1 GB free", value=1.0, limit=2.0)
    seen = measure(room(app1=fine, app2=full, app3=raising(AccessDenied("no key"))), there).reading
    assert seen.outcome is Outcome.FAILED
    assert seen.seen == "app2: 1 GB free: failed; app3: AccessDenied: no key: unknown"
    assert (seen.value, seen.limit) == (1.0, 2.0)
    seen = measure(room(app1=fine, app2=fine, app3=fine), there).reading
    assert (seen.outcome, seen.seen) == (
        Outcome.PASSED,
        "app1: 5 GB free; app2: 5 GB free; app3: 5 GB free",
    )


def test_what_a_check_records_is_kept_and_given_back_for_each_host(target):
    there = on_hosts(target, "app1", "app2")
    check = room(app1=lambda: passed("here"), app2=lambda: passed("here"))
    before = recorded(check, check.record, there)
    assert before == {"hosts": {"app1": {"at": "app1"}, "app2": {"at": "app2"}}}
    seen = measure(check, there.at(baseline={"it": before, "another": {"latencies": [1]}})).reading
    assert seen.detail["hosts"] == {"app1": {"before": "app1"}, "app2": {"before": "app2"}}


def test_hosts_are_looked_at_at_the_same_time(target):
    both = threading.Barrier(2)

    def meets() -> Reading:
        both.wait(10)
        return passed("the other looks too")

    assert measure(room(app1=meets, app2=meets), on_hosts(target, "app1", "app2")).outcome is Outcome.PASSED


def test_what_is_asked_for_is_asked_once_and_from_golives_own_machine_unless_it_is_told(target):
    there, look = on_hosts(target, "app1", "app2"), check(lambda: passed("well"))
    assert measure(look, there).reading.seen == "well"
    assert look._looks == 1
    told = check(lambda: passed("well"), on="hosts")
    assert measure(told, there).reading.seen == "app1: well; app2: well"
    assert measure(told, target).reading.seen == "well"  # it has no hosts


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("environment", {"variables": ["A"]}),
        ("tcp", {"addresses": ["127.0.0.1:1"]}),
        ("index_usage", {}),
    ],
)
def test_what_cannot_be_seen_from_a_host_is_refused_there(kind, fields):
    with pytest.raises(ValidationError, match=r"on: hosts needs|the same for all hosts"):
        kinds_in(checks)[kind].model_validate({"kind": kind, "name": "it", "on": "hosts", **fields})
