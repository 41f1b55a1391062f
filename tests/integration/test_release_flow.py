"""Whole releases of a small system, phase by phase and end to end, while nothing is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks.acting import LOG
from tasks.checking import AT_ONCE
from tasks.domain.errors import ActiveRelease, Refused, RehearsalFailed, Unreachable
from tests.artifacts import artifacts
from tests.flows import BLUE_GREEN, GROW
from tests.services import free_port
from tests.systems import run


def test_each_phase_can_be_run_alone_and_has_its_own_record(small_system, caplog, monkeypatch):
    shop = small_system
    monkeypatch.setattr(LOG, "handlers", [caplog.handler])
    shop.add_version("v2", up={"1_grow": GROW})
    shop.phase("deploy", "v1", started_by="ann")
    assert (shop.latest().scope, shop.latest().state, shop.latest().started_by) == ("deploy", "done", "ann")
    assert shop.serving() == "v1"
    assert "deploy: fetch the code: done in" in caplog.text  # what the run's page shows in Prefect

    with shop.untouched():
        shop.phase("preflight", "v2")
        assert (shop.latest().scope, shop.latest().state) == ("preflight", "done")
        with pytest.raises(RehearsalFailed) as caught:
            shop.phase("migrate", "v2")
        assert "has not been rehearsed" in str(caught.value)
        assert "run the phases backup and rehearse" in caught.value.do
        assert (shop.latest().scope, shop.latest().state) == ("migrate", "stopped")
        location = Path(shop.phase("backup", "v2"))
        proven = shop.ledger.evidence.backup_of(shop.latest().id)
        assert (proven.location, proven.proof["tables"]["public.item"]["rows"]) == (str(location), 500)
        assert shop.phase("rehearse", "v2") == "keep"
        assert shop.latest().state == "done"

    shop.phase("migrate", "v2")
    row = shop.latest()
    assert (row.scope, row.state) == ("migrate", "done")
    assert row.mutation_started_at is not None
    assert shop.sql("SELECT colour FROM item LIMIT 1") == [{"colour": None}]
    assert shop.serving() == "v1"
    shop.phase("deploy", "v2")
    assert shop.latest().previous_version == "v1"
    assert shop.serving() == "v2"
    shop.phase("health", "v2")
    assert (shop.latest().scope, shop.latest().state) == ("health", "done")
    shop.stop_service()
    shop.phase("backup", "v2")  # is wanted most when nothing runs and nobody can be asked what served
    assert (shop.latest().scope, shop.latest().state, shop.latest().previous_version) == ("backup", "done", None)
    with pytest.raises(Unreachable):
        shop.phase("deploy", "v1")
    shop.no_scratch_is_left()


def test_releases_follow_each_other_behind_a_router_while_slack_cannot_be_reached(small_system, monkeypatch):
    shop = small_system
    shop.through_prefect = True
    monkeypatch.setenv("SHOP_SLACK", "xoxb-hidden-word")
    shop.write(
        {
            "router": {"kind": "embedded", "listen": shop.port},
            "rollout": {**BLUE_GREEN, "ports": [free_port(), free_port()], "keep_old": "10 min"},
            "database.scratch": {"place": "embedded"},
            "checks.review": [{"kind": "sql", "name": "notes can be read", "query": "SELECT 1", "equals": 1}],
            "watch": {"every": "1h", "for": "24h", "at": {"0s": ["notes can be read"]}},
            "notify": [
                {
                    "kind": "slack",
                    "token": "${env:SHOP_SLACK}",
                    "channel": "ops",
                    "base_url": f"http://127.0.0.1:{free_port()}/api/",
                }
            ],
        }
    )
    shop.add_version("v2", up={"1_grow": GROW})
    shop.add_version("v3", up={"1_grow": GROW, "2_grow": "ALTER TABLE note ADD COLUMN colour text;\n"})
    shop.phase("deploy", "v1")
    # From here on nothing changes the system without a signature.
    shop.write({"sign_off": {"go": ["dba"]}})

    with shop.untouched():
        shop.release("v2", reason="colours", started_by="ann")
    second = shop.latest().id
    assert shop.approve(second, "dba", "bob") == f"{second} is live and watched"
    assert shop.serving() == "v2"
    _is_watched_and_reported(shop, second)
    _is_shown_in_prefect(second)
    _the_monitor_stops_the_old_version_once(shop)

    # Nothing reached Slack, and nothing is lost: the messages are kept, and their tries are on record.
    messages = shop.sql_in_ledger("SELECT id, text FROM message WHERE release_id = %s", (second,))
    assert len(messages) > 5
    assert any("watching" in one["text"] for one in messages)
    tried = shop.sql_in_ledger("SELECT DISTINCT outcome FROM delivery")
    assert {one["outcome"] for one in tried} <= {"sending", "retry"}
    texts = str(shop.sql_in_ledger("SELECT text, blocks FROM message")) + str(
        shop.sql_in_ledger("SELECT * FROM delivery")
    )
    assert "hidden-word" not in texts
    assert os.environ["SHOP_DSN"] not in texts

    with pytest.raises(ActiveRelease) as caught:
        shop.release("v3")
    assert second in str(caught.value)
    assert shop.release("v3", supersede=True).endswith("awaits the signature of dba")
    third = shop.latest().id
    ended = shop.ledger.releases.get(second)
    assert (ended.state, ended.verdict) == ("superseded", "superseded")
    assert shop.serving() == "v2"
    with pytest.raises(Refused, match=f"{second} is superseded"):
        shop.rollback(reason="too early")
    shop.approve(third, "dba", "bob")
    assert shop.serving() == "v3"
    root = shop.home / "golive" / "systems" / "shop"
    assert (root / "current").readlink() == Path("releases/v3")

    assert shop.rollback(reason="too colourful", started_by="bob") == "v2"
    assert shop.serving() == "v2"
    assert shop.ledger.releases.get(third).state == "rolled_back"
    assert (root / "current").readlink() == Path("releases/v2")
    (archived,) = (root / "archive").iterdir()
    assert json.loads((archived / ".golive-archived.json").read_text())["reason"] == "too colourful"
    assert shop.sql("SELECT colour FROM note LIMIT 1") == [{"colour": None}], "v2 was proven on the new schema: kept"
    # The way back of an older release was proven from what then was in production.
    shop.sql_in_ledger("UPDATE release SET state = 'stable' WHERE id = %s", (second,))
    with pytest.raises(Refused, match=f"{third} .* has changed production since"):
        shop.rollback(reason="further back", release=second)
    shop.no_scratch_is_left()


def _is_watched_and_reported(shop, release):
    row = shop.latest()
    assert (row.state, row.previous_version) == ("watching", "v1")
    assert (row.watch_until - row.live_at).total_seconds() == 24 * 3600
    assert (shop.home / "golive" / "systems" / "shop" / "reports" / f"{release}.html").exists()
    looks = shop.ledger.evidence.looks(release, "monitor")
    assert [list(one.findings["checks"]) for one in looks] == [["notes can be read"]]


def _is_shown_in_prefect(release):
    """Hold that its UI has the plan of each run, the newest with what the code told, the way gone, and the report."""
    newest, *_others, first = artifacts(f"{release}-plan")
    assert first.data.startswith("# shop: v1 → v2")
    assert "only the phase preflight brings the code" in first.data
    assert "pending: migrations/1_grow_up.sql" in newest.data
    assert "only the phase preflight" not in newest.data
    assert os.environ["SHOP_DSN"] not in newest.data
    live, waited = artifacts(f"{release}-progress")
    assert (live.data, waited.data) == (100.0, 50.0)
    assert live.flow_run_id != waited.flow_run_id
    assert "# shop" in artifacts(release)[0].data
    (checks, *_before) = artifacts(f"{release}-checks")
    assert checks.type == "table"
    signed, *_others, asked = artifacts(f"{release}-signatures")
    for words in ("Awaits the signature of dba, until ", "| way back | keep", "| backup | ", f"`{release}-plan`"):
        assert words in asked.data, asked.data
    assert "**Nobody is missing**" in signed.data
    assert "| dba | bob | approve |" in signed.data
    passed = [one["Check"] for one in json.loads(checks.data) if one["Outcome"].startswith("✓ passed")]
    assert "items can be read" in passed


def _the_monitor_stops_the_old_version_once(shop):
    """Hold that it is kept up until the monitor's next look after its time."""
    from flows.monitor import monitor

    stopped = ("watch", "stop the old version", "done")
    assert stopped not in shop.steps()
    row = shop.latest()
    shop.sql_in_ledger("UPDATE release SET live_at = live_at - interval '11 minutes' WHERE id = %s", (row.id,))
    for _ in range(2):
        run(monitor())
        assert shop.steps().count(stopped) == 1
    found = next(one for one in shop.ledger.releases.steps(row.id) if (one.phase, one.name, one.event) == stopped)
    assert found.detail["stopped"] == "v1"
    assert (shop.latest().state, shop.latest().holder) == ("watching", "")
    assert shop.serving() == "v2"


def test_many_checks_share_tasks_and_no_more_than_sixteen_look_at_once(small_system):
    """One task for each of 90 would leave as many runs on Prefect's server; those of a task look one by one."""
    small_system.through_prefect = True
    at = small_system.home / "looking"
    at.mkdir()
    look = f"touch {at}/in-$$; ls {at} | grep -c in- >> {at}/seen; sleep 0.1; rm {at}/in-$$"
    many = [
        {"kind": "command", "name": f"look {number}", "argv": ["sh", "-c", look], "cwd": "{root}"}
        for number in range(90)
    ]
    small_system.write({"checks.preflight": many})
    small_system.phase("preflight", "v1")
    seen = [int(count) for count in (at / "seen").read_text().split()]
    assert len(seen) == 90
    assert 1 < max(seen) <= AT_ONCE
