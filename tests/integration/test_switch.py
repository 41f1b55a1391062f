"""A partial rollback: a switch of a running system is turned off and on, also after it was broken off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.looking import switches_of
from flows.switch import switch
from tasks.domain.errors import (
    ActiveRelease,
    ChecksFailed,
    CommandFailed,
    NotFound,
    Refused,
    ReleaseFileError,
    UserError,
)
from tasks.domain.release import State
from tasks.spec import loading
from tests.flows import SmallSystem, wait_until
from tests.systems import run
from tests.watched import end_watch, kill_wait, put_under_watch


@pytest.fixture
def code(shop: SmallSystem) -> Path:
    """The code of the version that serves, with a provider that can be renamed away."""
    directory = shop.home / "golive" / "systems" / "shop" / "releases" / "v1"
    (directory / "providers").mkdir(exist_ok=True)
    for path in (directory / "providers").iterdir():
        path.unlink()
    (directory / "providers" / "bad.py").write_text("print('bad')\n")
    return directory


def declare(shop: SmallSystem, **fields: Any) -> None:
    """Declare the one switch of the system."""
    named = {"name": "bad", "check": "items can be read", **fields}
    shop.write({"switches": [named]})


RENAME = {"from": "providers/bad.py", "to": "providers/bad.py.off"}


def turn(to: Any, name: str = "bad") -> str:
    return str(run(switch("shop", name, "it answers nonsense", to, "ana")))


def names(code: Path) -> list[str]:
    return sorted(path.name for path in (code / "providers").iterdir())


def states(shop: SmallSystem) -> list[tuple[str, str]]:
    return [(one["switch"], one["state"]) for one in switches_of(shop.ledger, "shop")]


def test_a_provider_is_switched_off_and_on_again_while_a_release_is_under_watch(shop, code):
    note = ["sh", "-c", 'echo "$WORD" >> "$0"', str(shop.home / "said")]
    declare(shop, rename=RENAME, off=[note], on=[note], environment={"WORD": "restarted"})
    watched = put_under_watch(shop, "v1")
    try:
        said = turn("off")
        assert said.startswith("bad of shop v1 is off; items can be read: status 200")
        assert names(code) == ["bad.py.off"]
        row = shop.latest()
        assert (row.scope, row.state, row.version) == ("switch", State.DONE, "v1")
        assert (row.started_by, row.reason) == ("ana", "disable bad: it answers nonsense")
        assert shop.steps() == [("switch", "disable bad", "started"), ("switch", "disable bad", "done")]
        told = [one.text for one in shop.ledger.outbox.messages(row.id)]
        assert any("done" in text for text in told)
        assert states(shop) == [("bad", "off")]
        shown = CliRunner().invoke(app, ["status", "shop"]).stdout
        assert "shop: bad is off in v1 since" in shown
        assert "disable bad: it answers nonsense" in shown
        turn("off")
        assert names(code) == ["bad.py.off"]
        turn("on")
        assert (names(code), states(shop)) == (["bad.py"], [])
        assert (shop.home / "said").read_text() == "restarted\n" * 3
        from tasks.rollback import release_to_roll_back

        assert release_to_roll_back("shop", "").id == watched, "a switch was taken for a release"
    finally:
        end_watch(shop, watched)


def test_what_cannot_be_switched_is_told_and_the_next_try_mends_it(shop, code):
    declare(shop, rename=RENAME, off=[["test", "-e", str(shop.home / "ready")]], on=[["true"]])
    with pytest.raises(CommandFailed, match="golive disable shop bad once more"):
        turn("off")
    assert states(shop) == [("bad", "unclear")]
    assert "unclear state" in CliRunner().invoke(app, ["status"]).stdout
    (shop.home / "ready").touch()
    turn("off")
    assert states(shop) == [("bad", "off")]
    (code / "providers" / "bad.py").write_text("written meanwhile")
    with pytest.raises(Refused, match=r"both providers/bad\.py\.off and providers/bad\.py are there"):
        turn("on")
    assert names(code) == ["bad.py", "bad.py.off"]
    (code / "providers" / "bad.py").unlink()
    turn("on")
    with pytest.raises(NotFound, match="one of bad"):
        turn("off", "bat")
    declare(shop, rename=RENAME | {"from": "providers/no.py", "to": "providers/no.off"})
    with pytest.raises(Refused, match="neither"):
        turn("off")
    with pytest.raises(UserError, match="no reason"):
        run(switch("shop", "bad", "  ", "off"))


STOPPED = {"kind": "sql", "name": "the data are there", "query": "SELECT count(*) FROM item", "at_least": 1}


def declare_service(shop: SmallSystem, *then: list[str]) -> None:
    """Declare a switch that stops the whole service, and starts it again."""
    control = ["{python}", "-m", "supervisor.supervisorctl", "-c", "{root}/supervisor/supervisord.conf"]
    shop.write({"checks.health": [STOPPED]})
    declare(shop, check=STOPPED["name"], off=[[*control, "stop", "all"], *then], on=[[*control, "start", "all"]])


def test_a_switch_that_stops_the_whole_service_starts_it_again_though_nothing_serves(shop):
    declare_service(shop)
    assert turn("off").startswith("bad of shop v1 is off")
    try:
        assert (shop.serving(), states(shop)) == ("nothing", [("bad", "off")])
    finally:
        assert turn("on").startswith("bad of shop v1 is on")
    wait_until(lambda: shop.serving() == "v1")
    assert states(shop) == []
    assert (shop.latest().version, shop.latest().state) == ("v1", State.DONE)
    with pytest.raises(Refused, match="one that was switched off"):
        while_it_is_down(shop, lambda: turn("on"))


def test_a_switch_that_broke_off_once_the_service_was_stopped_is_turned_on_again_too(shop):
    declare_service(shop, ["false"])
    with pytest.raises(CommandFailed):
        turn("off")
    assert (shop.serving(), states(shop)) == ("nothing", [("bad", "unclear")])
    turn("on")
    wait_until(lambda: shop.serving() == "v1")
    assert states(shop) == []


def while_it_is_down(shop: SmallSystem, act: Callable[[], object]) -> None:
    """Do something while the service is down by itself, and start that again."""
    control = [sys.executable, "-m", "supervisor.supervisorctl", "-c"]
    control.append(str(shop.home / "golive" / "systems" / "shop" / "supervisor" / "supervisord.conf"))
    subprocess.run([*control, "stop", "all"], check=True, capture_output=True, timeout=60)
    try:
        act()
    finally:
        subprocess.run([*control, "start", "all"], check=True, capture_output=True, timeout=60)
        wait_until(lambda: shop.serving() == "v1")


def test_a_check_that_does_not_pass_fails_the_switch(shop, code):
    declare(shop, rename=RENAME, check="it says no")
    shop.write({"checks.health": [{"kind": "http", "name": "it says no", "url": "{base_url}/items", "status": 418}]})
    with pytest.raises(ChecksFailed, match="it says no"):
        turn("off")
    assert shop.latest().state == State.STOPPED
    shop.write({"checks.health": [{"kind": "http", "name": "it says no", "url": "{base_url}/items"}]})
    turn("on")
    assert names(code) == ["bad.py"]


def test_nothing_is_switched_while_a_release_changes_production(shop, code):
    declare(shop, rename=RENAME)
    release = put_under_watch(shop, "v1", state=State.MIGRATE)
    try:
        with pytest.raises(ActiveRelease, match="is migrate"):
            turn("off")
        assert names(code) == ["bad.py"]
    finally:
        shop.sql_in_ledger("UPDATE release SET state = 'stable' WHERE id = %s RETURNING id", (release,))


DRIVER = """
import asyncio
from flows.switch import switch
asyncio.run(switch("shop", "bad", "for a test", "off", "ben"))
"""


def test_a_switch_whose_process_was_killed_is_refused_to_others_while_it_lives_and_mended_by_the_next(shop, code):
    flag = shop.home / "goes on"
    wait = f"touch {shop.home}/begun; n=0; while [ ! -e '{flag}' ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done"
    declare(shop, rename=RENAME, off=[["sh", "-c", wait]], on=[["true"]])
    with (shop.home / "switch.out").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", DRIVER], env=dict(os.environ), stdout=log, stderr=log)
    try:
        wait_until(lambda: (shop.home / "begun").exists() or process.poll() is not None, 60)
        assert process.poll() is None, (shop.home / "switch.out").read_text()[-3000:]
        killed = shop.latest().id
        with pytest.raises(Refused, match="is driven by"):
            turn("on")
    finally:
        kill_wait(process)
        flag.touch()
    assert (names(code), states(shop)) == (["bad.py.off"], [("bad", "unclear")])
    turn("off")
    assert states(shop) == [("bad", "off")]
    assert shop.ledger.releases.get(killed).state == State.STOPPED
    turn("on")
    assert names(code) == ["bad.py"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"off": [["true"]]}, "each undoes the other"),
        ({}, "switches nothing"),
        ({"rename": RENAME, "check": "no such check"}, "names the check 'no such check'"),
        ({"rename": {"from": "../a", "to": "b"}}, "not a path within the release"),
        ({"rename": {"from": "a", "to": "a"}}, "expected two"),
        ({"off": [["x", "${env:A}"]], "on": [["x"]]}, "process list"),
    ],
)
def test_a_switch_that_cannot_be_undone_or_checked_is_refused_with_its_place(fields, says):
    file = {
        "system": "shop",
        "base_url": "http://127.0.0.1:1",
        "database": {"dsn": "${env:A}"},
        "source": {"kind": "directory", "path": "/x"},
        "platform": {"kind": "supervisor", "processes": {"web": {"command": ["x"]}}},
        "rollout": {"kind": "recreate", "port": 1},
        "migration": {"kind": "none"},
        "checks": {"compatibility": [{"kind": "http", "name": "up", "url": "{base_url}/"}]},
        "switches": [{"name": "bad", "check": "up", **fields}],
    }
    with pytest.raises(ReleaseFileError, match=says) as caught:
        loading.parse(json.dumps(file), "release.yaml")
    assert "switches.0" in caught.value.seen
