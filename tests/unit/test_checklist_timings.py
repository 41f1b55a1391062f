"""Rows of a checklist that ask how long phases take, decided by when these began and ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.domain.errors import ReleaseFileError
from tasks.domain.filling import Standing
from tasks.domain.outcome import Outcome
from tasks.reporting.checklist import filled_in
from tasks.reporting.values import Period, ReleaseFacts, Tone, Verdict
from tasks.spec import loading

AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
CHECKLIST = "id,phase,section,item,nature,how\nSH-001,migrate,s,takes five minutes,metric,clock\n"


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def facts(*periods: tuple[str, float, float | None], now: float = 7200, scope: str = "release") -> ReleaseFacts:
    """Return a release whose phases began and ended after so many seconds."""
    return ReleaseFacts(
        id="r", system="shop", version="2", previous="1", scope=scope, state="watching", started_by="ana", reason="",
        verdict=Verdict(Tone.PLAIN, "under way", ""), file="release.yaml", identity=None, plan_hash=None, created=AT,
        live=None, ended=None, gathered=after(now), epochs=(1,),
        periods=tuple(
            Period(name, name, after(began), None if ended is None else after(ended), 0.0, Outcome.PASSED, "")
            for name, began, ended in periods
        ),
    )  # fmt: skip


def file(**timing: Any) -> str:
    return json.dumps(
        {
            "system": "shop",
            "base_url": "http://127.0.0.1:1",
            "database": {"dsn": "${env:A}"},
            "source": {"kind": "directory", "path": "/x"},
            "platform": {"kind": "supervisor", "processes": {"web": {"command": ["x"]}}},
            "rollout": {"kind": "recreate", "port": 1},
            "migration": {"kind": "none"},
            "checks": {"compatibility": [{"kind": "http", "name": "up", "url": "{base_url}/"}]},
            "checklist": {"timings": [{"rows": ["SH-001"], "at_most": "5 min", **timing}]},
        }
    )


WHOLE = (("migrate", 0, 290), ("deploy", 290, 310), ("health", 310, 400), ("watching", 400, None))


@pytest.mark.parametrize(
    ("timing", "periods", "standing", "seen"),
    [
        ({"since": "migrate"}, WHOLE, Standing.PASSED, "4 min 50 s ≤ 5 min"),
        ({"since": "migrate"}, [("migrate", 0, 301)], Standing.FAILED, "5 min 1 s ≤ 5 min"),
        ({"since": "migrate", "until": "deploy"}, WHOLE, Standing.FAILED, "5 min 10 s ≤ 5 min"),
        ({"since": "migrate", "until": "deploy", "at": "beginning"}, WHOLE, Standing.PASSED, "4 min 50 s ≤ 5 min"),
        ({"since": "migrate", "until": "health", "at": "beginning"}, WHOLE, Standing.FAILED, "5 min 10 s"),
        ({"since": "watch"}, WHOLE, Standing.FAILED, "≤ 5 min"),  # it lasts for longer already
        ({"since": "watch", "at_most": "24h"}, WHOLE, Standing.NOT_REACHED, "under way"),
        ({"since": "migrate", "until": "watch", "at_most": "24h"}, WHOLE[:2], Standing.NOT_REACHED, "not reached"),
        ({"since": "migrate"}, [], Standing.NOT_REACHED, "not reached"),
        ({"since": "rollback"}, WHOLE, Standing.NOT_REACHED, "no rollback was called for"),
        ({"since": "rollback"}, [*WHOLE, ("rolling_back", 500, 560)], Standing.PASSED, "1 min ≤ 5 min"),
    ],
)
def test_a_row_is_ticked_if_its_phases_took_no_longer_than_it_allows(timing, periods, standing, seen):
    (row,) = filled_in(facts(*periods), loading.parse(file(**timing), "release.yaml"), CHECKLIST)
    assert row.standing is standing
    assert seen in row.entries[0].found.seen


def test_a_phase_that_is_run_alone_counts_too():
    alone = facts(("running", 0, 20), scope="migrate")
    (row,) = filled_in(alone, loading.parse(file(since="migrate"), "release.yaml"), CHECKLIST)
    assert (row.standing, row.entries[0].who) == (Standing.PASSED, "timing migrate takes ≤ 5 min")


@pytest.mark.parametrize("until", [{}, {"until": "migrate"}])
def test_a_time_from_a_beginning_to_itself_is_refused(until):
    with pytest.raises(ReleaseFileError, match="its own beginning is no time"):
        loading.parse(file(since="migrate", at="beginning", **until), "release.yaml")
