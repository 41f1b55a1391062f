"""What the commands print with ``--json``, for the system that v1 serves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tasks.domain import errors
from tasks.domain.release import State
from tests.flows import SmallSystem
from tests.shapes import as_json
from tests.systems import without_prefect
from tests.waiting import end_active, waiting_for_go
from tests.watched import put_under_watch


def test_what_tells_of_a_system_is_json(shop: SmallSystem) -> None:
    shop.add_version("v2")
    assert as_json("plan", "shop", "v2")["serving"] == "v1"
    assert as_json("check", "shop", "v1")["outcome"] == "passed"
    assert as_json("logs", "shop")[0]["version"] == "v1"
    assert as_json("block", "shop", "v2", "--by", "ana", "--reason", "no")["blocked"] is True
    assert as_json("unblock", "shop", "v2", "--by", "ana", "--reason", "yes")["blocked"] is False
    assert as_json("doctor", "shop", code=(0, errors.ChecksFailed.exit_code, errors.Inconclusive.exit_code))


def test_what_acts_on_a_release_tells_how_it_stands_as_json(shop: SmallSystem, tmp_path: Path) -> None:
    shop.write({"sign_off": {"go": ["dba", "lead"]}})
    shop.add_version("v3")
    at = (shop.ledger.evidence.now() + timedelta(hours=30)).isoformat()
    by = ("--by", "ana", "--reason", "not today")
    with without_prefect():
        announced = as_json("release", "shop", "v3", "--at", at)
        assert announced["release"]["state"] == "planned"
        called_off = as_json("cancel", announced["release"]["id"], *by)
        assert "called off by ana: not today" in called_off["said"]
        assert called_off["release"]["state"] == "stopped"
        accepted = put_under_watch(shop, "v1", state=State.DEPLOY)
        shop.ledger.releases.seize(accepted, State.DEPLOY, State.NEEDS_PERSON, "the test")
        assert as_json("accept", accepted, *by)["release"]["state"] == "stable"
        assert as_json("phase", "preflight", "shop", "v1")["release"]["scope"] == "preflight"
        waiting = waiting_for_go(shop, "v1")
        assert as_json("status", waiting)["awaits"] == ["dba", "lead"]
        waived = as_json("waive", waiting, "lead", *by)
        assert waived["said"] == f"{waiting} still awaits dba"
        assert as_json("status", waiting)["awaits"] == ["dba"]
        signed = as_json("reject", waiting, "--role", "dba", "--by", "ana", "--reason", "not today")
        assert (signed["release"]["id"], signed["release"]["state"]) == (waiting, "stopped")
        stopped = put_under_watch(shop, "v1", state=State.BACKUP)
        said = as_json("stop", stopped, "--by", "ana", "--reason", "not today")
        assert said == {**said, "said": f"{stopped}: stopped by ana: not today"}
        assert said["release"]["ended"] is True
        backup = as_json("backup", "shop", "v1")
        assert [one["id"] for one in as_json("backups", "shop")] == [backup["id"]]
        assert [one["id"] for one in as_json("drill", "shop")["backups"]] == [backup["id"]]
        assert as_json("monitor") == {"looks": []}
    assert stopped in [one["id"] for one in as_json("history", "shop")]
    assert stopped in [one["id"] for one in as_json("status", "shop")["releases"]]
    assert as_json("watch", stopped, code=1)[-1]["state"] == "stopped"
    assert as_json("replay", stopped)["decisions"] == []
    assert as_json("report", stopped)["bundle"] is None
    made = as_json("report", stopped, str(tmp_path / "evidence.zip"), "--bundle")
    assert as_json("verify", made["bundle"])["sha256"] == made["sha256"]
    end_active(shop)
