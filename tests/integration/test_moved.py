"""What moved most, on a server of the system's packages, which counts statements."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import moving
from tasks.alerting import alert_of
from tasks.checks.http import Http
from tasks.domain.ports import World
from tasks.ledger.ledger import Ledger
from tasks.ledger.record import WORKLOAD
from tasks.ledger.releases import Opening
from tasks.reporting import gather, to_markdown
from tasks.reporting.html import render
from tests.observed import counting_server

CHECKS = [
    Http.model_validate({"name": "API", "url": "http://127.0.0.1:1/", "help": "ask the platform team"}),
    Http.model_validate({"name": "search", "url": "http://127.0.0.1:1/"}),
]
SETUP = """
CREATE TABLE jobs (id integer PRIMARY KEY, owner integer, note text);
INSERT INTO jobs SELECT i, i % 5000, repeat('n', 40) FROM generate_series(1, 60000) i;
CREATE INDEX jobs_owner ON jobs (owner);
ANALYZE jobs;
"""


@pytest.fixture(scope="module")
def counting() -> Iterator[str]:
    with counting_server() as dsn:
        yield dsn


@pytest.fixture
def ctx(world: World, counting: str, ledger: Ledger) -> Iterator[Any]:
    opening = Opening("shop-1", "shop", "2", "release", True, "ana", "", "release.yaml", "system: shop")
    release = ledger.releases.open(opening)
    with world.databases.session(counting) as session:
        session.script(SETUP)
        session.execute("SELECT pg_stat_statements_reset()")
    yield SimpleNamespace(
        world=world,
        ledger=ledger,
        release=ledger.releases.get(release.id),
        target=lambda: SimpleNamespace(dsn=counting),
        file=SimpleNamespace(
            runbook="",
            rollback=SimpleNamespace(when=()),
            checks=SimpleNamespace(every=lambda: [("watch", one) for one in CHECKS]),
        ),
    )
    with world.databases.session(counting) as session:
        session.script("DROP TABLE jobs")


def use(ctx: Any, times: int) -> None:
    with ctx.world.databases.session(ctx.target().dsn) as session:
        for number in range(times):
            session.query("SELECT note FROM jobs WHERE owner = %s LIMIT 1", (-number,))
            session.query("SELECT %s::int + 1", (number,))


def test_the_query_and_the_table_behind_a_lost_index_are_named_in_alert_and_report(ctx: Any) -> None:
    use(ctx, 60)
    moving.count_before(ctx)
    use(ctx, 40)
    moving.count_now(ctx)
    with ctx.world.databases.session(ctx.target().dsn) as session:
        session.script("DROP INDEX jobs_owner; SELECT 'a-secret-word' AS never_shown")
    use(ctx, 40)
    moving.count_now(ctx)
    lines = moving.moved_most(ctx)
    (line,) = [one for one in lines if "«SELECT note FROM jobs WHERE owner = $1 LIMIT $2»" in one]
    assert line.startswith("query ")
    assert "× slower (mean " in line

    what = {"slower fires": "slower", "API failed": "503", "search unknown": "no answer"}
    alert_of(ctx, "the watch has failed", what, ctx.ledger.evidence.now(), "look again", None, counted="")
    told = ctx.ledger.outbox.messages("shop-1")[-1]
    assert f"; moved most: {lines[0][:40]}" in told.text
    assert "moved most: query" in str(told.blocks)
    assert "→ API: ask the platform team" in str(told.blocks)
    assert "→ search: read what the instances wrote" in str(told.blocks), "the advice of its kind"
    facts = gather(ctx.ledger, "shop-1")
    for text in (to_markdown(facts), render(facts)):
        assert "Moved most" in text
        assert "SELECT note FROM jobs" in text
    assert "a-secret-word" not in str(facts)
    assert facts.looks == (), "a count is no judgement"

    moving.tell_moved(ctx)
    assert "moved most" in ctx.ledger.outbox.messages("shop-1")[-1].text


def test_after_a_reset_and_without_the_extension_it_says_why_and_guesses_nothing(ctx: Any, database: str) -> None:
    use(ctx, 30)
    moving.count_before(ctx)
    with ctx.world.databases.session(ctx.target().dsn) as session:
        session.execute("SELECT pg_stat_statements_reset()")
        session.execute("DROP INDEX jobs_owner")
    use(ctx, 30)
    moving.count_now(ctx)
    facts = gather(ctx.ledger, "shop-1")
    assert not [one for one in facts.moved if one.of == "query"]
    assert "Which statements moved is not known: the statistics were reset." in facts.not_measured

    ctx.target = lambda: SimpleNamespace(dsn=database)
    moving.count_before(ctx)
    moving.count_now(ctx)
    facts = gather(ctx.ledger, "shop-1")
    assert any("pg_stat_statements is not" in one for one in facts.not_measured)
    ctx.target = lambda: SimpleNamespace(dsn="postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    moving.count_now(ctx)
    looks = ctx.ledger.evidence.looks("shop-1", WORKLOAD)
    assert "why" in looks[-1].findings["tables"]
    moving.tell_moved(ctx)
