"""What holds of every kind of router, shown on real proxies under real requests."""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks import routers
from tasks.domain.errors import RolloutFailed, UserError
from tasks.domain.upstream import Upstream
from tasks.routers.embedded import Embedded
from tests.services import Clients, free_port
from tests.sites import WAYS, a_target, service

KINDS = sorted(info.name for info in pkgutil.iter_modules(routers.__path__))
FILE_KINDS = [kind for kind in KINDS if kind != "embedded"]
"""Those whose configuration others may spoil and that have to be reloaded."""


@pytest.fixture(params=KINDS)
def way(request, tmp_path, world):
    with WAYS[request.param](tmp_path, world) as found:
        yield found


@pytest.fixture
def target(tmp_path, world):
    return a_target(world, tmp_path)


def _at(slot: str, port: int) -> Upstream:
    return Upstream.one(slot, f"127.0.0.1:{port}")


def test_every_kind_of_router_is_tested():
    assert set(WAYS) == set(KINDS)


def test_twenty_switches_under_load_lose_no_request(way, target, record_testsuite_property):
    with service("v1") as (one, _), service("v2") as (two, _):
        assert way.router.current(target) is None
        way.router.switch(target, _at("blue", one))
        took = []
        with Clients(way.port, threads=6, resend=way.resend) as clients:
            for number in range(20):
                clients.until(100 * number)
                slot = _at("green", two) if number % 2 == 0 else _at("blue", one)
                begun = time.monotonic()
                way.router.switch(target, slot)
                took.append(time.monotonic() - begun)
                assert way.router.current(target) == slot
            clients.until(2000)
        record_testsuite_property(
            f"switches with {way.router.kind}",
            json.dumps({"requests": clients.total, "resent": clients.resent, "seconds": [round(t, 3) for t in took]}),
        )
        assert clients.lost == []
        assert clients.answers["v1"] > 100
        assert clients.answers["v2"] > 100
        assert clients.total >= 2000


def test_after_a_switch_new_requests_reach_the_new_upstream_only(way, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        way.router.switch(target, _at("blue", one))
        way.router.switch(target, _at("green", two))
        ask = target.world.http.request
        seen = {ask("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body for _ in range(20)}
        assert seen == {b"v2"}


def test_a_request_under_way_is_finished_by_the_old_upstream(way, target):
    with service("v1") as (one, _), service("v2") as (two, _), ThreadPoolExecutor(1) as pool:
        way.router.switch(target, _at("blue", one))
        slow = pool.submit(target.world.http.request, "GET", f"http://127.0.0.1:{way.port}/slow", fresh=True)
        time.sleep(0.3)
        way.router.switch(target, _at("green", two))
        assert slow.result().body == b"v1"


def test_switching_to_where_it_points_changes_nothing(way, target):
    with service("v1") as (one, _):
        way.router.switch(target, _at("blue", one))
        way.router.switch(target, _at("blue", one))
        assert way.router.current(target) == _at("blue", one)


def test_an_upstream_that_does_not_answer_gets_no_requests(way, target):
    with service("v1") as (one, _):
        way.router.switch(target, _at("blue", one))
        with pytest.raises(RolloutFailed, match="nothing answers"):
            way.router.switch(target, _at("green", free_port()))
        assert way.router.current(target) == _at("blue", one)
        assert target.world.http.request("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body == b"v1"


@pytest.mark.parametrize("way", FILE_KINDS, indirect=True)
def test_a_configuration_that_is_refused_leaves_the_former_state_in_force(way, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        way.router.switch(target, _at("blue", one))
        text = way.router.file.read_text()
        way.break_it()
        for _ in range(2):  # the second try, too, must remember the state that was good
            with pytest.raises(RolloutFailed, match="refused"):
                way.router.switch(target, _at("green", two))
        assert way.router.file.read_text() == text
        assert way.router.current(target) == _at("blue", one)
        assert target.world.http.request("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body == b"v1"


@pytest.mark.parametrize("way", FILE_KINDS, indirect=True)
def test_a_reload_that_has_no_effect_is_noticed_and_undone(way, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        way.router.switch(target, _at("blue", one))
        deaf = way.router.model_copy(update={"reload": ("true",), "within": 0.5})
        with pytest.raises(RolloutFailed, match="not in force"):
            deaf.switch(target, _at("green", two))
        assert way.router.current(target) == _at("blue", one)
        # A second failure on the version in force must not bring back the one before it.
        silent = deaf.model_copy(update={"status_port": free_port()})
        with pytest.raises(RolloutFailed):
            silent.switch(target, _at("blue", one))
        assert f"127.0.0.1:{one}" in way.router.file.read_text()
        way.router.switch(target, _at("blue", one))
        assert way.router.current(target) == _at("blue", one)


@pytest.mark.parametrize("text", ["127.0.0.1:80; } evil {", "x\n:1", "127.0.0.1", "{env.HOME}:1"])
def test_an_address_cannot_carry_configuration(text):
    with pytest.raises(UserError):
        Upstream.one("blue", text)


def test_the_embedded_router_comes_back_after_it_was_killed(tmp_path, target):
    with WAYS["embedded"](tmp_path, target.world) as way, service("v1") as (one, _):
        way.router.switch(target, _at("blue", one))
        os.kill(int((tmp_path / "router" / "caddy.pid").read_text()), signal.SIGKILL)
        time.sleep(0.3)
        way.router.switch(target, _at("blue", one))
        assert target.world.http.request("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body == b"v1"


def test_the_embedded_router_holds_requests_while_its_upstream_restarts(tmp_path, target):
    with WAYS["embedded"](tmp_path, target.world) as way:
        with service("v1") as (one, _):
            way.router.switch(target, _at("main", one))
        with ExitStack() as stack:
            clients = Clients(way.port)
            stack.callback(clients.__exit__)
            clients.__enter__()
            time.sleep(0.5)
            with service("v2", one):
                clients.until(200)
                stack.close()
        assert clients.answers["v2"] >= 200
        assert clients.lost == []


def test_the_embedded_router_refuses_a_port_that_something_else_listens_on(tmp_path, target):
    with service("v1") as (one, _), service("foreign") as (taken, _):
        with pytest.raises(RolloutFailed, match=f"port {taken} is taken"):
            Embedded(listen=taken).switch(target, _at("blue", one))
        assert not (tmp_path / "router" / "caddy.pid").exists()


def test_the_embedded_router_takes_a_changed_setting_without_losing_a_request_that_it_accepted(tmp_path, target):
    with WAYS["embedded"](tmp_path, target.world) as way, service("v1") as (one, _), ThreadPoolExecutor(1) as pool:
        way.router.switch(target, _at("blue", one))
        with Clients(way.port, resend=True) as clients:
            clients.until(100)
            slow = pool.submit(target.world.http.request, "GET", f"http://127.0.0.1:{way.port}/slow", fresh=True)
            time.sleep(0.3)
            way.router.model_copy(update={"hold": 2.0}).switch(target, _at("blue", one))
            clients.until(300)
        assert '"2s"' in (tmp_path / "router" / "caddy.json").read_text()
        assert slow.result().body == b"v1"
        # Caddy opens a second listening socket by SO_REUSEPORT and closes the first; what had been connected to that
        # one and was not accepted yet is reset by the kernel. Nothing else may go wrong, and no answer is a bad one.
        assert [one for one in clients.lost if not one.startswith("ConnectionResetError")] == []
        assert len(clients.lost) <= len(clients.threads)


def test_the_embedded_router_keeps_its_files_to_its_owner(tmp_path, target):
    with WAYS["embedded"](tmp_path, target.world) as way, service("v1") as (one, _):
        way.router.switch(target, _at("blue", one))
        home = tmp_path / "router"
        assert Path(home).stat().st_mode & 0o077 == 0
        assert (home / "caddy.json").stat().st_mode & 0o077 == 0
        assert (home / "admin.sock").stat().st_mode & 0o077 == 0
