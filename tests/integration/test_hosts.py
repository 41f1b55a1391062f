"""A system on another machine, from its first deployment to a rollback, with a real sshd between."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tasks import checks
from tasks.adapters.http import HttpxHttp
from tasks.adapters.ssh import SshHost
from tasks.checking import measure, measure_all
from tasks.checks import Check
from tasks.domain.errors import ChecksFailed, DiskTooSmall, Refused, RolloutFailed, Unreachable
from tasks.domain.outcome import Outcome
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.everywhere import everywhere, recorded
from tasks.platforms import Instance, Running
from tasks.platforms._process import Process
from tasks.platforms.supervisor import Supervisor
from tasks.preview import preview
from tasks.sources.git import Git
from tasks.spec.kinds import kinds_in
from tests.flows import GROW, SmallSystem, wait_until
from tests.platforms import STANDS
from tests.services import free_port
from tests.sshd import Sshd


@pytest.fixture
def app1(sshd: Sshd) -> Iterator[SshHost]:
    host = sshd.host()
    yield host
    host.close()


def test_supervisor_keeps_processes_on_another_machine(world, app1, tmp_path):
    there = replace(world, host=app1, http=HttpxHttp(app1))
    port = free_port()
    target = Target(
        there, "shop", "1.0", port=port, root=tmp_path / "root", release_dir=tmp_path, python=sys.executable
    )
    serve = ("{python}", "-m", "http.server", "--bind", "127.0.0.1", "{port}")
    platform = Supervisor(processes={"web": Process(command=serve, environment={"TOKEN": "t'k"})})
    instance = Instance("blue", "1.0", tmp_path, port, "")
    try:
        platform.start(target, instance)
        status = platform.status(target, "blue")
        assert (status.running, status.version, status.port) == (Running.UP, "1.0", port)
        wait_until(lambda: not app1.port_is_free(port))
        assert there.http.request("GET", f"http://127.0.0.1:{port}/").status == 200
        platform.stop(target, "blue")
        assert platform.status(target, "blue").running is Running.DOWN
        broken = Supervisor(processes={"web": Process(command=("{python}", "-c", "exit('no way')"))})
        with pytest.raises(RolloutFailed, match="no way"):
            broken.start(target, instance)
    finally:
        platform.close(target)


@pytest.mark.parametrize("kind", sorted(set(STANDS) - {"supervisor"}))
def test_every_other_platform_works_on_another_machine_too(kind, request, world, sshd, app1, tmp_path):
    there = replace(world, host=app1, http=HttpxHttp(app1))
    with STANDS[kind](tmp_path, there, request.getfixturevalue) as stand:
        try:
            platform, port = stand.start()
            assert platform.status(stand.target, "blue").running is Running.UP
            assert platform.status(stand.target, "blue").version == "v1"
            assert stand.web(port)
            assert any("version v1 starts" in line for line in platform.log(stand.target, "blue"))
            with pytest.raises(RolloutFailed, match="cannot start: bad password"):
                stand.start("green", FAULT="exit")
            platform.stop(stand.target, "blue")
            assert platform.status(stand.target, "blue").running is Running.DOWN
            assert stand.web(port) == []
        finally:
            stand.end()
    assert sshd.logins() == 1


def test_git_makes_its_mirror_there_and_a_link_that_leaves_is_seen_there(world, app1, tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    (repository / "app.py").write_text("print(1)\n")
    (repository / "inside").symlink_to("app.py")

    def commit(tag: str) -> None:
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", tag], ["tag", tag]):
            world.host.run(Command((*git, *words)))

    commit("1.0")
    (repository / "outside").symlink_to("/etc/passwd")
    commit("1.1")
    target = Target(replace(world, host=app1), "shop", "1.0", root=tmp_path / "root")
    source = Git(repository=str(repository))
    fetched = source.fetch(target, "1.0")
    assert (fetched.directory / "inside").readlink() == Path("app.py")
    assert (tmp_path / "root" / "mirror.git").is_dir()
    assert source.identify(replace(target, world=world), "1.0") == fetched.identity
    with pytest.raises(Refused, match="leads out"):
        source.fetch(target, "1.1")
    assert app1.list(tmp_path / "root" / "releases") == ["1.0"]


def test_an_act_ends_on_all_machines_and_its_error_names_those_that_failed(world, sshd, app1, tmp_path):
    gone, full = (sshd.host(name, port=free_port()) for name in ("app2", "app3"))
    hosts = {host.name: host for host in (app1, gone, full)}
    targets = {"": Target(world, "shop", "1", root=tmp_path / "own")}
    targets |= {
        name: Target(replace(world, host=host), "shop", "1", root=tmp_path / name) for name, host in hosts.items()
    }
    with pytest.raises(Unreachable, match="host app2") as caught:
        everywhere(targets, lambda one: one.world.host.write(one.root / "file", "x"))
    assert "host app3" in caught.value.__notes__[0]
    assert caught.value.retryable
    assert [(tmp_path / name / "file").exists() for name in ("own", "app1")] == [True, True]
    with pytest.raises(Refused, match="no") as refused:
        everywhere({"app1": targets["app1"]}, lambda _one: (_ for _ in ()).throw(Refused("no", where="somewhere")))
    assert refused.value.where == "host app1, somewhere"


def test_a_check_looks_at_every_machine_and_names_the_one_that_fails(world, sshd, app1, tmp_path):
    app2 = sshd.host("app2")
    own = Target(world, "shop", "1.0", root=tmp_path / "own")
    hosts = {host.name: own.at(world=replace(world, host=host), root=tmp_path / host.name) for host in (app1, app2)}
    target = own.at(hosts=hosts)
    for name in ("app1", "app2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").write_text("begun\n")
    (tmp_path / "app1" / ".env").write_text("TOKEN=long enough\n")
    (tmp_path / "app2" / ".env").write_text("TOKEN=short\n")

    def made(kind: str, **fields: object) -> Check:
        return cast("Check", kinds_in(checks)[kind].model_validate({"kind": kind, "name": kind, **fields}))

    variables = made("environment", file="{root}/.env", variables=["TOKEN"], min_length=8)
    log = made("log", files=["{root}/log"])
    before = recorded(log, log.record, target)  # type: ignore[attr-defined]
    (tmp_path / "app1" / "log").write_text("begun\nall is well\n")
    (tmp_path / "app2" / "log").write_text("begun\nERROR: it is not\n")
    everything = [variables, log, made("disk", free="1kB"), made("memory", total="1kB"), made("clock_skew", dsn=None)]
    seen = measure_all(everything, target.at(baseline={"log": before}))
    assert [one.outcome.value for one in seen] == ["failed", "failed", "passed", "passed", "passed"], seen
    assert seen[0].reading.seen == "app2: TOKEN has 5 characters ≥ 8: failed"
    assert seen[1].reading.seen.startswith("app2: errors 1 lines")
    assert [found["lines"] for found in seen[1].reading.detail["hosts"].values()] == [1, 1]
    (tmp_path / "app2" / ".env").write_text("TOKEN=long enough\n")
    assert measure(variables, target).outcome is Outcome.PASSED
    away = own.at(world=replace(world, host=sshd.host("app2", port=free_port())), root=tmp_path / "app2")
    seen_away = measure(variables, target.at(hosts={**hosts, "app2": away})).reading
    assert seen_away.outcome is Outcome.UNKNOWN
    assert seen_away.seen.startswith("app2: Unreachable: host app2")
    # Nor does a connection that nobody can ask for count as one that is refused, as it should be.
    closed = made("tcp", addresses=[f"127.0.0.1:{free_port()}"], open=False, seen_from="host")
    assert measure(closed, target).outcome is Outcome.PASSED
    assert measure(closed, target.at(hosts={**hosts, "app2": away})).outcome is Outcome.UNKNOWN
    app2.close()


def machine(sshd: Sshd, root: Path, name: str = "app1", **more: object) -> dict[str, object]:
    return {
        "name": name,
        "at": f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}",
        "identity": str(sshd.login.identity),
        "known_hosts": str(sshd.login.known_hosts),
        "root": str(root),
        "python": sys.executable,
        **more,
    }


def test_a_system_on_another_machine_is_released_and_rolled_back(sshd, small_system, open_directory):
    there = open_directory / "app1"
    there.mkdir()
    system: SmallSystem = small_system
    on_it = {"kind": "file", "files": ["{root}/only-on-app1"]}
    (there / "only-on-app1").write_text("x")
    system.write(
        {
            "hosts": [machine(sshd, there)],
            "database.scratch": {"place": "embedded"},
            "checks.preflight": [
                {**on_it, "name": "it is there before"},
                {"kind": "file", "name": "its code is there", "files": ["service.py"]},
            ],
            "checks.health": [{**on_it, "name": "it is there after"}],
        }
    )
    system.phase("deploy", "v1")
    assert system.serving() == "v1"
    assert sorted(os.listdir(there / "releases")) == ["v1"]  # noqa: PTH208
    assert not (open_directory / "golive" / "systems" / "shop" / "supervisor").exists()
    system.add_version("v2", up={"1_grow": GROW})
    system.release("v2")
    assert system.serving() == "v2"
    rows = system.ledger.releases.steps(system.latest().id)
    fetched = next(one for one in rows if one.name == "fetch the code" and one.event == "done")
    assert fetched.detail["hosts"] == {"app1": str(there / "releases" / "v2")}
    looked = next(one for one in rows if one.name == "check the hosts" and one.event == "done")
    assert looked.detail["app1"] > 0
    assert sshd.logins() == 1
    assert system.rollback(reason="to see it go back") == "v1"
    assert system.serving() == "v1"
    # A check looks there, not beside golive. What would not be possible is refused before anything begins.
    system.add_version("v3")
    before = sorted((there / "releases").iterdir())
    with system.in_environment():
        previewed = preview("shop", "v3")
    assert previewed.outcome is Outcome.PASSED
    assert "its code is there" in [one.measurement.check for one in previewed.seen if one.version == "v3"]
    assert sorted((there / "releases").iterdir()) == before
    (there / "only-on-app1").unlink()
    with system.untouched(), pytest.raises(ChecksFailed, match=r"app1: .*only-on-app1"):
        system.release("v3")
    (there / "only-on-app1").write_text("x")
    system.write({"hosts": [machine(sshd, there, free="1000 TiB")]})
    with system.untouched(), pytest.raises(DiskTooSmall, match="host app1"):
        system.release("v3")
    ended = system.latest().id
    system.write({"hosts": [machine(sshd, there, at=f"ssh://127.0.0.1:{free_port()}")]})
    with system.untouched(), pytest.raises(Unreachable, match="host app1"):
        system.release("v3")
    assert system.latest().id == ended  # nothing was opened
    system.write({"hosts": [machine(sshd, there)]})
