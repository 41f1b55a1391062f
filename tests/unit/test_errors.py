"""The error tree: as it is drawn, with its exit codes, and what each error says."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from tasks.domain import errors
from tasks.domain.errors import GoliveError, ServerTrouble, SqlFailed

ALL = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GoliveError)),
    key=lambda kind: kind.__name__,
)
TREE = (errors.__doc__ or "").split("\n\n", 1)[1]
DRAWN = re.findall(r"^([│├└─ ]*)([A-Z]\w+) *(\d+)? *(\(retry\))?", TREE, re.MULTILINE)


def test_every_error_is_drawn_and_every_drawn_error_exists():
    assert sorted(name for _, name, _, _ in DRAWN) == [kind.__name__ for kind in ALL]


@pytest.mark.parametrize(("indent", "name", "code", "retry"), DRAWN, ids=[row[1] for row in DRAWN])
def test_an_error_is_what_the_drawing_says(indent, name, code, retry):
    kind = getattr(errors, name)
    if code:
        assert kind.exit_code == int(code)
    else:
        assert len(indent) > 4, "a family has an exit code of its own"
    assert kind.retryable is bool(retry)


def test_each_family_stands_under_its_parent():
    family = ""
    for indent, name, _code, _retry in DRAWN:
        kind = getattr(errors, name)
        if len(indent) <= 4:
            family = name
        else:
            assert kind.__bases__ == (getattr(errors, family),)
            assert kind.exit_code == getattr(errors, family).exit_code


def test_each_family_has_an_exit_code_of_its_own():
    codes = [kind.exit_code for kind in ALL if kind.__bases__ in {(GoliveError,), (Exception,)}]
    assert len(codes) == len(set(codes))
    assert 0 not in codes


@pytest.mark.parametrize("kind", ALL)
def test_an_error_gives_place_seen_expected_and_what_to_do(kind):
    error = kind("it is red", expected="green", where="file:3", do="paint it")
    assert str(error) == "file:3: it is red; expected green; → paint it"
    assert str(kind("it is red")) == "it is red"
    assert error.id == kind.__name__
    assert (kind.__doc__ or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_pickling_and_copying(kind):
    error = kind("it is red", expected="green", where="file:3", do="paint it")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.seen, again.do, again.args) == (str(error), error.seen, error.do, error.args)


def test_what_only_some_errors_know_survives_too():
    assert pickle.loads(pickle.dumps(SqlFailed("no", sqlstate="42P01"))).sqlstate == "42P01"
    assert pickle.loads(pickle.dumps(ServerTrouble("busy", retry_after=3.5))).retry_after == 3.5
