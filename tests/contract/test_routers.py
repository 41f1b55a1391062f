"""What holds of every kind of router, shown on real proxies under real requests."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tasks import routers
from tasks.domain.errors import ReleaseFileError, RolloutFailed, Unreachable, UserError
from tasks.domain.ports import Host, Http
from tasks.domain.traffic import Traffic, grown
from tasks.domain.upstream import Member, Upstream
from tasks.routers import FileRouter
from tasks.routers.embedded import Embedded
from tasks.spec.kinds import kinds_in
from tests.services import Clients, free_port
from tests.sites import ALL_WAYS, WAYS, a_target, service

KINDS = sorted(kinds_in(routers))
FILE_KINDS = [kind for kind in KINDS if issubclass(kinds_in(routers)[kind], FileRouter)]
"""Those whose configuration others may spoil and that have to be reloaded."""


@pytest.fixture(params=sorted(ALL_WAYS))
def way(request, tmp_path, world):
    with ALL_WAYS[request.param](tmp_path, world) as found:
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
            json.dumps(
                {
                    "requests": clients.total,
                    "resent": clients.resent,
                    "closed": len(clients.lost),
                    "seconds": [round(t, 3) for t in took],
                }
            ),
        )
        assert way.unfit(clients, 20) == []
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


def test_members_share_the_requests_by_weight_and_the_others_take_those_of_one_that_is_down(way, target):
    with service("v1") as (one, first), service("v2") as (two, _):
        for share, rest in ((50, 50), (3, 1)):  # halves are what a canary ends with
            shared = Upstream((Member("blue", f"127.0.0.1:{one}", share), Member("green", f"127.0.0.1:{two}", rest)))
            way.router.switch(target, shared)
            assert way.router.current(target) == shared
        if way.router.kind == "command":
            return  # the test's own script knows the first member only
        ask = target.world.http.request
        seen = Counter(ask("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body for _ in range(80))
        assert 15 <= seen[b"v2"] <= 25, seen
        if way.router.kind == "caddy":
            return  # whether it tries another member is for its owner to set, by load_balancing.try_duration
        first.kill()
        first.wait()
        assert {ask("GET", f"http://127.0.0.1:{way.port}/", fresh=True).body for _ in range(8)} == {b"v2"}


def test_a_router_tells_what_the_requests_came_to_at_each_member_or_that_it_does_not_count(way, target):
    if not way.router.counts:
        assert way.router.counted(target) is None
        return
    ask = target.world.http.request
    with service("v1") as (one, _), service("v2", FAULT="errors") as (two, _):
        way.router.switch(
            target, Upstream((Member("blue", f"127.0.0.1:{one}", 3), Member("green", f"127.0.0.1:{two}", 1)))
        )
        way.router.count(target, 20)
        for _ in range(20):
            ask("GET", f"http://127.0.0.1:{way.port}/work", fresh=True)
        time.sleep(0.2)
        told = way.router.counted(target)
        assert told is not None
        assert sum(one.asked for one in told.values()) == 20
        assert told["blue"].failed == 0
        assert told["green"].failed == told["green"].asked > 0
        assert told["blue"].asked > told["green"].asked


def test_a_router_tells_by_counters_that_only_grow_what_all_requests_came_to(way, target):
    if not way.router.counts:
        assert way.router.tally(target) is None
        return
    ask = target.world.http.request
    with service("v1") as (one, _), service("v2", FAULT="errors") as (two, _):
        way.router.switch(target, _at("blue", one))
        before = way.router.tally(target)
        assert way.router.tally(target) == before
        for _ in range(20):
            ask("GET", f"http://127.0.0.1:{way.port}/work", fresh=True)
        good = way.router.tally(target)
        assert grown(before, good) == Traffic(20, 0)
        way.router.switch(target, _at("green", two))
        switched = way.router.tally(target)
        for _ in range(10):
            ask("GET", f"http://127.0.0.1:{way.port}/work", fresh=True)
        more = grown(switched, way.router.tally(target))
        assert more.asked == 10
        assert more.failed > 0


def test_a_router_holds_requests_back_until_it_is_told_to_go_on_or_says_that_it_cannot(way, target):
    if not way.router.holds:
        with pytest.raises(ReleaseFileError, match="cannot hold"):
            way.router.pause(target, 5)
        return
    with service("v1") as (one, _), service("v2") as (two, _):
        way.router.pause(target, 5)
        way.router.switch(target, _at("blue", one))
        with Clients(way.port, threads=6) as clients:
            clients.until(50)
            way.router.pause(target, 20)
            time.sleep(0.3)
            held = clients.total
            time.sleep(0.5)
            assert clients.total == held
            way.router.switch(target, _at("green", two))
            time.sleep(0.2)
            assert clients.total == held
            told = way.router.resume(target)
            assert way.router.resume(target) is None
            clients.until(held + 100)
        assert (told.requests, 1.0 <= told.seconds <= told.longest + 0.3) == (6, True), told
        assert clients.lost == []
        assert clients.answers["v2"] >= 100


def test_requests_that_nobody_lets_go_on_are_sent_on_by_the_router_itself(tmp_path, target):
    with WAYS["embedded"](tmp_path, target.world) as way, service("v1") as (one, _):
        router = way.router.model_copy(update={"longest_pause": 2.0})
        router.switch(target, _at("blue", one))
        with pytest.raises(ReleaseFileError, match="pause of 3 s"):
            router.pause(target, 3)
        router.pause(target, 2)
        with Clients(way.port) as clients:
            clients.until(200)
        assert clients.lost == []
        assert set(clients.answers) == {"v1"}


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


@pytest.mark.parametrize("way", FILE_KINDS, indirect=True)
def test_a_router_that_does_not_run_is_told_and_its_file_left_as_it_was(way, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        way.router.switch(target, _at("blue", one))
        text = way.router.file.read_text()
        way.end()
        with pytest.raises(Unreachable):
            way.router.current(target)
        with pytest.raises(RolloutFailed, match="the former file is back, but"):
            way.router.switch(target, _at("green", two))
        assert way.router.file.read_text() == text


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


@pytest.fixture
def by_api(tmp_path, world):
    with ALL_WAYS["caddy without tickets"](tmp_path, world) as found:
        yield found


class Meddling:
    """Caddy's admin API while somebody else changes the same handler: before golive's change, or after it."""

    def __init__(self, http: Http, *, before: int = 0, after: int = 0) -> None:
        self._http, self.before, self.after = http, before, after

    def request(self, method, url, **given):
        if method != "PATCH":
            return self._http.request(method, url, **given)
        if self.before:
            self.before -= 1
            self._meddle(url)
        answer = self._http.request(method, url, **given)
        if self.after:
            self.after -= 1
            self._meddle(url, upstreams=[{"dial": "127.0.0.1:9"}])
        return answer

    def _meddle(self, url: str, **fields: object) -> None:
        now = json.loads(self._http.request("GET", url, fresh=True).body)
        changed = now | {"flush_interval": self.before} | fields
        assert self._http.request("PATCH", url, json=changed, fresh=True).status == 200


class Elsewhere:
    """A machine on which no link is made, as where Caddy sees other files than golive, or may not read them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def link(self, path: Path, target: Path) -> None:
        """Make none."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._host, name)


def _handler(way, target):
    answer = target.world.http.request("GET", f"{way.router.admin}/id/shop", fresh=True)
    return json.loads(answer.body)


def test_what_somebody_else_changes_in_caddy_meanwhile_is_kept_and_the_switch_comes_after_it(by_api, target):
    with service("v1") as (one, _):
        at = target.at(world=replace(target.world, http=Meddling(target.world.http, before=2)))
        by_api.router.switch(at, _at("blue", one))
        assert by_api.router.current(target) == _at("blue", one)
        assert "flush_interval" in _handler(by_api, target)
        at = target.at(world=replace(target.world, http=Meddling(target.world.http, before=9)))
        with pytest.raises(RolloutFailed, match="somebody else changed"):
            by_api.router.switch(at, _at("green", one))
        assert by_api.router.current(target) == _at("blue", one)


def test_a_change_of_caddy_that_is_not_there_when_read_back_is_undone(by_api, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        by_api.router.switch(target, _at("blue", one))
        before = _handler(by_api, target)
        at = target.at(world=replace(target.world, http=Meddling(target.world.http, after=1)))
        with pytest.raises(RolloutFailed, match="the former handler is back"):
            by_api.router.switch(at, _at("green", two))
        assert _handler(by_api, target) == before


def test_caddy_shares_requests_by_weight_and_gets_its_own_policy_back(by_api, target):
    with service("v1") as (one, _), service("v2") as (two, _):
        address = "127.0.0.1:{}".format
        both = Upstream((Member("blue", address(one), 4), Member("green", address(two), 1)))
        by_api.router.switch(target, both)
        assert by_api.router.current(target) == both
        ask = target.world.http.request
        seen = [ask("GET", f"http://127.0.0.1:{by_api.port}/", fresh=True).body for _ in range(50)]
        assert seen.count(b"v2") == 10
        by_api.router.switch(target, _at("green", two))
        assert _handler(by_api, target)["load_balancing"] == {"selection_policy": {"policy": "least_conn"}}


def test_caddy_is_changed_once_to_read_tickets_and_says_when_it_cannot_read_them(tmp_path, target):
    with WAYS["caddy"](tmp_path, target.world) as way, service("v1") as (one, _), service("v2") as (two, _):
        before = _handler(way, target)
        with pytest.raises(RolloutFailed, match="Caddy reads nothing there") as caught:
            way.router.switch(
                target.at(world=replace(target.world, host=Elsewhere(target.world.host))), _at("blue", one)
            )
        assert "its account can read" in caught.value.expected
        assert _handler(way, target) == before
        way.router.switch(target, _at("blue", one))
        once = _handler(way, target)
        way.router.switch(target, _at("green", two))
        assert _handler(way, target) == once
        (tmp_path / "router" / "tickets" / "shop" / "current").unlink()
        assert way.router.current(target) is None
        way.router.switch(target, _at("blue", one))
        assert way.router.current(target) == _at("blue", one)
        with pytest.raises(RolloutFailed, match="give the router the tickets that it had"):
            way.router.model_copy(update={"tickets": None}).current(target)
        way.router.model_copy(update={"tickets": None}).switch(target, _at("green", two))
        assert _handler(way, target)["load_balancing"] == before["load_balancing"]


def test_a_caddy_without_the_handler_or_without_an_answer_is_told_as_such(by_api, target):
    with pytest.raises(RolloutFailed, match="unknown object ID"):
        by_api.router.model_copy(update={"id": "nobody"}).current(target)
    with pytest.raises(Unreachable):
        by_api.router.model_copy(update={"admin": f"http://127.0.0.1:{free_port()}"}).current(target)


def test_a_command_that_fails_or_changes_nothing_leaves_the_former_upstream_in_force(tmp_path, target):
    with WAYS["command"](tmp_path, target.world) as way, service("v1") as (one, _), service("v2") as (two, _):
        way.router.switch(target, _at("blue", one))
        for words, says in ((("false",), "exit code 1"), (("true",), "not in force after 0.5 s")):
            deaf = way.router.model_copy(update={"set": words, "within": 0.5})
            with pytest.raises(RolloutFailed, match=says):
                deaf.switch(target, _at("green", two))
            assert way.router.current(target) == _at("blue", one)
        odd = way.router.model_copy(update={"get": ("echo", "all is well")})
        with pytest.raises(RolloutFailed, match="'all is well'"):
            odd.current(target)
