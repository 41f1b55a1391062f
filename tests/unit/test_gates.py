"""How a gate stands by the signatures on record."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tasks.domain.errors import ReleaseFileError
from tasks.domain.gates import Standing, of_stage, standing, state_of
from tasks.domain.messages import About
from tasks.domain.release import State
from tasks.domain.requests import Request, changed_note, over_note, reminder_note, request_note
from tasks.spec.loading import parse
from tests.notes import Signed
from tests.unit.test_release_file import ROOT, SMALL

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
Given = partial(Signed, at=NOW)


def of(*given: Signed, wanted: dict[str, int] | None = None, now: datetime = NOW) -> Standing:
    return standing(wanted or {"dba": 2, "lead": 1}, given, "plan", now, DAY)


def test_nobody_has_signed_at_first() -> None:
    one = of()
    assert (one.missing, one.passed) == ({"dba": 2, "lead": 1}, False)
    assert one.awaits == ["2 of 2 signatures of dba", "the signature of lead"]


def test_a_gate_is_passed_by_as_many_different_people_as_it_asks_for() -> None:
    assert of(Given("dba", "ann"), Given("dba", "bob"), Given("lead", "ann")).passed


@pytest.mark.parametrize("again", ["ann", " Ann ", "ANN"])
def test_one_person_counts_once_for_a_role(again: str) -> None:
    assert of(Given("dba", "ann"), Given("dba", again), Given("lead", "eve")).missing == {"dba": 1}


def test_a_signature_for_something_else_does_not_count() -> None:
    assert of(Given("lead", "eve", plan_hash="another")).missing == {"dba": 2, "lead": 1}


def test_a_signature_expires_and_a_no_with_it() -> None:
    given = [Given("lead", "eve"), Given("dba", "ann", "reject")]
    assert of(*given, now=NOW + DAY).rejected is given[1]
    late = of(*given, now=NOW + DAY + timedelta(seconds=1))
    assert (late.rejected, late.missing) == (None, {"dba": 2, "lead": 1})


def test_one_no_is_enough_whoever_else_has_signed() -> None:
    one = of(Given("dba", "ann"), Given("dba", "bob"), Given("lead", "eve"), Given("lead", "sam", "reject", "no rest"))
    assert not one.passed
    assert one.refusal == "sam (lead) said no: no rest"


def test_a_role_that_is_waived_lacks_nobody() -> None:
    assert of(Given("dba", "boss", "waive", "both are ill"), Given("lead", "eve")).passed


def test_a_signature_in_a_role_that_is_not_asked_counts_for_nothing() -> None:
    assert of(Given("janitor", "joe")).signed == ()


def test_a_gate_is_open_in_one_state() -> None:
    assert [state_of(gate) for gate in ("go", "live", "stable", of_stage(0))] == [
        State.AWAITING_GO,
        State.WATCHING,
        State.WATCHING,
        State.STABLE,
    ]


# -- the release file -------------------------------------------------------------------------------------------------


def test_a_role_may_be_a_name_or_ask_for_several_people() -> None:
    text = "sign_off: {go: [lead, {role: dba, count: 2}], live: [ops]}\nwatch: {then: [{sign_off: [owner]}]}\n"
    file = parse(SMALL + text)
    assert file.gates() == ["go", "live", "stage-1"]
    assert [dict(file.signers(gate)) for gate in file.gates()] == [{"lead": 1, "dba": 2}, {"ops": 1}, {"owner": 1}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sign_off: {go: [{role: dba, count: 0}]}", r"sign_off.go.0.count: 0: .*greater than or equal to 1"),
        ("sign_off: {go: [{rolle: dba}]}", r"sign_off.go.0.rolle: unknown key; did you mean role\?"),
        ("sign_off: {go: [{role: dba, count: 2}], people: {dba: [ann]}}", r"2 signatures of 'dba', and people names 1"),
        ("sign_off: {go: [dba], people: {dbas: [ann]}}", r"sign_off.people.dbas: 'dbas' signs nothing; .*: dba"),
    ],
)
def test_who_cannot_sign_is_refused_in_the_file(text: str, said: str) -> None:
    with pytest.raises(ReleaseFileError, match=said):
        parse(f"{SMALL}{text}\n")


# -- what people are shown --------------------------------------------------------------------------------------------


def a_request(gate: str, stands: Standing) -> Request:
    about = About("r-1", "shop", "v2", "ann", runbook="https://wiki/x")
    return Request(about, gate, "0123456789abcdef", NOW, stands, [("way back", "keep")])


@pytest.mark.parametrize("gate", ["go", "live", "stable", "watch", "stage-1"])
def test_a_request_has_the_buttons_that_fit_its_gate(gate: str) -> None:
    note = request_note(a_request(gate, of()), "the-nonce")
    (row,) = [part for part in note.blocks["parts"] if part["type"] == "buttons"]
    acts = [one["act"].removeprefix("golive_") for one in row["buttons"]]
    assert ("approve" in acts, "roll_back" in acts) == (gate != "watch", gate != "go")
    assert {one["value"] for one in row["buttons"]} == {"the-nonce"}
    assert note.blocks["nonce"] == "the-nonce"


def test_a_request_that_is_over_says_who_signed_and_has_no_buttons() -> None:
    stands = of(Given("dba", "ann"), Given("dba", "boss", "waive", "ill"))
    changed = changed_note(a_request("go", stands), "n")
    assert "dba: signed by ann, dba: waived by boss; awaits the signature of lead" in changed.text
    over = over_note(a_request("go", stands), "n", "is signed")
    assert "buttons" not in [part["type"] for part in over.blocks["parts"]]
    assert "ann" in str(over.blocks)
    assert "still awaits the signature of lead" in reminder_note(a_request("go", stands), "4 h").text


def test_what_the_how_to_shows_is_a_release_file() -> None:
    text = (ROOT / "docs/how-to/sign-and-slack.md").read_text(encoding="utf-8")
    shown = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "display_information" not in block]
    assert len(shown) == 4
    assert parse(SMALL + shown[0]).gates() == ["go", "live", "stable", "stage-1"]
    assert [one.has_buttons for one in parse(SMALL + shown[1]).notify] == [True]
    assert [one.last_resort for one in parse(SMALL + shown[2]).notify] == [False, False, True]
    traffic = SMALL.partition("checks:\n")[0] + shown[3] + SMALL.partition("checks:\n")[2]
    assert parse(traffic).window.traffic == "requests per second"
