"""A system on another machine, from its first deployment to a rollback, with a real sshd between."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.adapters.http import HttpxHttp
from tasks.adapters.ssh import SshHost
from tasks.domain.errors import DiskTooSmall, Refused, RolloutFailed, Unreachable
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.everywhere import everywhere
from tasks.platforms import Instance, Running
from tasks.platforms._process import Process
from tasks.platforms.supervisor import Supervisor
from tasks.sources.git import Git
from tests.flows import GROW, SmallSystem, wait_until
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
    system: SmallSystem = small_system
    system.write({"hosts": [machine(sshd, there)], "database.scratch": {"place": "embedded"}})
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
    # What would not be possible is refused before anything begins.
    system.add_version("v3")
    system.write({"hosts": [machine(sshd, there, free="1000 TiB")]})
    with system.untouched(), pytest.raises(DiskTooSmall, match="host app1"):
        system.release("v3")
    ended = system.latest().id
    system.write({"hosts": [machine(sshd, there, at=f"ssh://127.0.0.1:{free_port()}")]})
    with system.untouched(), pytest.raises(Unreachable, match="host app1"):
        system.release("v3")
    assert system.latest().id == ended  # nothing was opened
    system.write({"hosts": [machine(sshd, there)]})
