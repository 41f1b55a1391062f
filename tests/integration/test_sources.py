"""Sources against real directories and real Git repositories."""

from __future__ import annotations

import json
import shutil
import threading
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from tasks.adapters.clock import SystemClock
from tasks.adapters.host import LocalHost
from tasks.adapters.secrets import SecretStore
from tasks.domain.errors import InvalidVersion, OutsideError, Refused, ReleaseFileError, Unreachable
from tasks.domain.ports import Command, World
from tasks.domain.target import Target
from tasks.sources import MARKER
from tasks.sources.directory import Directory
from tasks.sources.git import Git
from tests.parts import git, require_part


class RecordingHost(LocalHost):
    """The local machine; remembers the commands it ran, and can fail on demand."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def run(self, command):
        self.commands.append(command)
        return super().run(command)


class SteppingClock(SystemClock):
    """A clock that goes on by a minute with every look."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        self.time += timedelta(minutes=1)
        return self.time


@pytest.fixture
def progress() -> list[str]:
    return []


@pytest.fixture
def target(tmp_path, progress):
    none = cast("Any", None)
    secrets = SecretStore(
        {
            "TOKEN": "t0k3n/secret",
            "ADDRESS": "http://bot:t0k3n%2Fsecret@127.0.0.1:9/shop.git",
            "BUILDS": str(tmp_path / "builds"),
        }
    )
    world = World(
        SteppingClock(), none, RecordingHost(), none, none, none, secrets, none, none, none, none, none, progress.append
    )
    return Target(world, "shop", "1.0", root=tmp_path / "root")


def releases(target: Target) -> list[str]:
    return list(LocalHost().list(target.root / "releases"))


# ---- directory


@pytest.fixture
def builds(tmp_path):
    for version in ("1.0", "1.1"):
        code = tmp_path / "builds" / version
        (code / "app").mkdir(parents=True)
        (code / "app" / "main.py").write_text(f"print('{version}')\n")
        (code / "run").write_text("#!/bin/sh\n")
        (code / "run").chmod(0o755)
        (code / "entry").symlink_to("app/main.py")
        (code / "empty").mkdir()
    return tmp_path / "builds"


@pytest.fixture
def directory(builds):
    return Directory(path="${env:BUILDS}")


def test_a_directory_is_fetched_whole_with_its_marker(directory, target):
    fetched = directory.fetch(target, "1.0")
    assert fetched.directory == target.root / "releases" / "1.0"
    assert (fetched.directory / "entry").readlink() == Path("app/main.py")
    assert (fetched.directory / "run").stat().st_mode & 0o111
    assert (fetched.directory / "empty").is_dir()
    marker = json.loads((fetched.directory / MARKER).read_text())
    assert marker["version"] == "1.0"
    assert marker["identity"] == fetched.identity == directory.identify(target, "1.0")
    assert releases(target) == ["1.0"]


def test_fetching_again_copies_nothing(directory, target):
    first = directory.fetch(target, "1.0")
    (first.directory / "app" / "log").write_text("written by the running version")
    assert directory.fetch(target, "1.0") == first
    assert (first.directory / "app" / "log").exists()


def test_the_identity_changes_with_content_name_mode_and_link_and_with_nothing_else(directory, target, builds):
    code = builds / "1.0"
    seen = [directory.identify(target, "1.0")]
    assert directory.identify(target, "1.1") not in seen
    for change in (
        lambda: (code / "app" / "main.py").write_text("x"),
        lambda: (code / "run").chmod(0o644),
        lambda: (code / "run").rename(code / "walk"),
        lambda: ((code / "entry").unlink(), (code / "entry").symlink_to("walk")),
        lambda: (code / "empty").rmdir(),
    ):
        change()
        assert directory.identify(target, "1.0") not in seen
        seen.append(directory.identify(target, "1.0"))
    (code / "app" / "__pycache__").mkdir()
    (code / ".git").mkdir()
    (code / ".venv" / "bin").mkdir(parents=True)
    (code / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (code / "walk").touch()
    assert directory.identify(target, "1.0") == seen[-1]
    fetched = directory.fetch(target, "1.0").directory
    assert not {".git", ".venv"} & set(LocalHost().list(fetched))
    assert LocalHost().list(fetched / "app") == ["main.py"]


def test_a_version_name_with_other_content_is_refused(directory, target, builds):
    first = directory.fetch(target, "1.0")
    (builds / "1.0" / "app" / "main.py").write_text("changed")
    with pytest.raises(Refused, match="a version to mean one thing"):
        directory.fetch(target, "1.0")
    assert (first.directory / "app" / "main.py").read_text() == "print('1.0')\n"


def test_a_directory_that_golive_did_not_fetch_is_never_overwritten(directory, target):
    (target.root / "releases" / "1.0").mkdir(parents=True)
    with pytest.raises(Refused, match="in the way"):
        directory.fetch(target, "1.0")


def test_a_version_that_is_not_there_names_its_neighbours(directory, target):
    with pytest.raises(InvalidVersion, match=r"1\.0, 1\.1|1\.1, 1\.0"):
        directory.identify(target, "1.2")


def test_a_missing_directory_of_versions_is_named(target, tmp_path):
    with pytest.raises(ReleaseFileError, match="absent"):
        Directory(path=str(tmp_path / "absent")).identify(target, "1.0")


@pytest.mark.parametrize("version", ["../1.0", "a/b", "-rf", "", "1.0\n", "..", "${env:TOKEN}"])
@pytest.mark.parametrize("act", ["identify", "fetch"])
def test_an_unsafe_version_reaches_neither_disk_nor_command(directory, target, version, act):
    for source in (directory, Git(repository="/nowhere")):
        with pytest.raises(InvalidVersion):
            getattr(source, act)(target, version)
    assert target.world.host.commands == []
    assert not target.root.exists()


@pytest.mark.parametrize("leads", ["/etc/passwd", "../../1.1/run", "sub/../../../x", "loop"])
def test_a_link_that_leaves_the_code_is_refused(directory, target, builds, leads):
    (builds / "1.0" / "sub").symlink_to("app")
    (builds / "1.0" / "loop").symlink_to(leads)
    with pytest.raises(Refused, match="leads out"):
        directory.fetch(target, "1.0")
    assert releases(target) == []


def test_a_copy_that_breaks_off_leaves_no_release(directory, target, monkeypatch):
    copied: list[str] = []

    def copy(src, dst, **more):
        if copied:
            raise OSError(28, "No space left on device", src)
        copied.append(dst)
        return real(src, dst, **more)

    real = shutil.copy2
    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, copy, False, False))
    with pytest.raises(OutsideError, match="No space left"):
        directory.fetch(target, "1.0")
    assert len(copied) == 1
    assert releases(target) == []
    monkeypatch.undo()
    directory.fetch(target, "1.0")
    assert releases(target) == ["1.0"]


def test_code_that_changes_while_it_is_copied_is_not_released(directory, target, builds, monkeypatch):
    real = LocalHost.send_tree

    def send_tree(self, source, to, leave_out=()):
        if source == builds / "1.0":
            (source / "app" / "late.py").write_text("just now")
        real(self, source, to, leave_out)

    monkeypatch.setattr(LocalHost, "send_tree", send_tree)
    with pytest.raises(OutsideError, match="changed while it was copied"):
        directory.fetch(target, "1.0")
    assert releases(target) == []


# ---- keeping


def test_the_oldest_releases_go_and_those_in_use_stay(builds, target):
    source = Directory(path=str(builds), keep=2)
    versions = ["9", "2", "7", "1.0", "1.1"]
    for version in versions[:3]:
        shutil.copytree(builds / "1.0", builds / version, symlinks=True)
    for version in versions:
        source.fetch(target, version)
    (target.root / "releases" / "by-hand").mkdir()
    (target.root / "releases" / ".3.partial").mkdir()
    assert source.prune(target, ["9", "1.1"]) == ["2", "7", "1.0"]
    assert releases(target) == ["1.1", "9", "by-hand"]
    assert source.prune(target, ["9", "1.1"]) == []


def test_pruning_before_any_release_is_fine(builds, target):
    assert Directory(path=str(builds)).prune(target, []) == []


# ---- git

needs_git = pytest.mark.usefixtures("git_itself")


@pytest.fixture
def git_itself():
    return require_part("git")


def commit(repository: Path, text: str) -> str:
    (repository / "app.py").write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", text)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, git_itself):
    path = tmp_path / "upstream"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "backend" / "bin").mkdir(parents=True)
    (path / "backend" / "bin" / "start").write_text("#!/bin/sh\n")
    (path / "backend" / "bin" / "start").chmod(0o755)
    (path / "backend" / "link").symlink_to("bin/start")
    (path / ".gitattributes").write_text("docs export-ignore\n*.txt export-subst\n")
    (path / "docs").mkdir()
    (path / "docs" / "a.txt").write_text("$Format:%H$\n")
    commit(path, "one")
    git(path, "tag", "v1.0")
    return path


@pytest.fixture
def source(repository):
    return Git(repository=str(repository), timeout="30s")


@needs_git
def test_a_tag_a_branch_and_a_commit_are_found(source, target, repository):
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "--annotate", "v1.0-signed", "--message", "x")
    second = commit(repository, "two")
    assert source.identify(target, "v1.0") == first
    assert source.identify(target, "v1.0-signed") == first
    assert source.identify(target, "main") == second
    assert source.identify(target, first[:10]) == first
    assert source.identify(target, second) == second


@needs_git
def test_changes_that_no_commit_holds_are_not_silently_left_out(source, target, repository):
    first, second = git(repository, "rev-parse", "HEAD"), commit(repository, "two")
    (repository / "notes.txt").write_text("nobody has added it")
    (repository / "app.py").write_text("three")
    for version in ("main", second):
        with pytest.raises(Refused, match=r"1 changed and not committed: app\.py"):
            source.identify(target, version)
    assert source.identify(target, "v1.0") == first  # of which the working tree says nothing
    git(repository, "add", "app.py")
    with pytest.raises(Refused, match=r"app\.py"):
        source.identify(target, "main")
    git(repository, "stash", "--quiet")
    assert source.identify(target, "main") == second


@needs_git
def test_a_tag_comes_before_a_branch_of_the_same_name(source, target, repository):
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "branch", "v1.0")
    git(repository, "checkout", "--quiet", "refs/heads/v1.0")
    git(repository, "switch", "--quiet", "v1.0")
    commit(repository, "on the branch")
    assert source.identify(target, "v1.0") == first


@needs_git
def test_the_whole_tree_of_a_commit_is_exported_as_it_is(source, target, repository):
    fetched = source.fetch(target, "v1.0")
    assert fetched.identity == git(repository, "rev-parse", "v1.0")
    assert (fetched.directory / "app.py").read_text() == "one"
    assert (fetched.directory / "docs" / "a.txt").read_text() == "$Format:%H$\n"
    assert (fetched.directory / "backend" / "bin" / "start").stat().st_mode & 0o111
    assert (fetched.directory / "backend" / "link").is_symlink()
    assert not (fetched.directory / ".git").exists()
    assert json.loads((fetched.directory / MARKER).read_text())["identity"] == fetched.identity
    assert releases(target) == ["v1.0"]


@needs_git
def test_a_subdirectory_is_released_alone(repository, target):
    fetched = Git(repository=str(repository), subdirectory="backend").fetch(target, "v1.0")
    assert LocalHost().list(fetched.directory) == [MARKER, "bin", "link"]


@needs_git
def test_a_subdirectory_that_is_not_there_leaves_no_release(repository, target):
    with pytest.raises(InvalidVersion, match="no directory frontend"):
        Git(repository=str(repository), subdirectory="frontend").fetch(target, "v1.0")
    assert releases(target) == []


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../b", "-x/..", "a:b", ".git"])
def test_a_subdirectory_stays_inside_the_repository(path):
    with pytest.raises(ValidationError):
        Git(repository="/srv/x.git", subdirectory=path)


@pytest.mark.parametrize("address", ["--upload-pack=touch x", "-x", "a b", ""])
def test_a_repository_cannot_pass_for_an_option(address):
    with pytest.raises(ValidationError):
        Git(repository=address)


@needs_git
def test_an_unknown_version_names_the_nearest_tags(source, target, repository):
    git(repository, "tag", "v1.10")
    with pytest.raises(InvalidVersion, match=r"v1\.1"):
        source.identify(target, "v1.1")
    for version in ("HEAD", "deadbeef", "v1.0-0-gabcdef1"):
        with pytest.raises(InvalidVersion, match="there is no version"):
            source.identify(target, version)


@needs_git
def test_new_and_removed_tags_are_seen(source, target, repository):
    source.identify(target, "v1.0")
    git(repository, "tag", "--delete", "v1.0")
    second = commit(repository, "two")
    git(repository, "tag", "v2.0")
    assert source.identify(target, "v2.0") == second
    with pytest.raises(InvalidVersion):
        source.identify(target, "v1.0")


@needs_git
def test_a_tag_that_was_moved_is_refused_once_it_was_fetched(source, target, repository):
    first = source.fetch(target, "v1.0")
    second = commit(repository, "two")
    git(repository, "tag", "--force", "v1.0")
    with pytest.raises(Refused, match=second):
        source.fetch(target, "v1.0")
    assert (first.directory / "app.py").read_text() == "one"


@needs_git
def test_an_unreachable_repository_is_named_but_holds_no_way_back(source, target, repository, progress):
    before = source.fetch(target, "v1.0")
    repository.rename(repository.with_name("moved"))
    assert source.fetch(target, "v1.0") == before
    assert "fetched before" in progress[-1]
    for act in (source.fetch, source.identify):
        with pytest.raises(Unreachable, match="upstream"):
            act(target, "main")
    assert releases(target) == ["v1.0"]


@needs_git
@pytest.mark.parametrize(("left", "text"), [("packed-refs.lock", ""), ("config", "[garbage"), ("packed-refs", "\0\0")])
def test_a_mirror_that_a_killed_fetch_left_broken_is_made_anew(source, target, repository, progress, left, text):
    source.identify(target, "v1.0")
    (target.root / "mirror.git" / left).write_text(text)
    git(repository, "tag", "--delete", "v1.0")
    commit(repository, "two")
    git(repository, "tag", "v2.0")
    source.fetch(target, "v2.0")
    assert any("made anew" in line for line in progress)


@needs_git
def test_hooks_and_filters_do_not_run(source, target, repository, tmp_path, monkeypatch):
    home, hooks = tmp_path / "home", tmp_path / "hooks"
    home.mkdir()
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\nhooksPath = {hooks}\nautocrlf = true\n[filter "x"]\nsmudge = touch {tmp_path}/ran\n'
    )
    (repository / ".gitattributes").write_text("app.py filter=x\n")
    commit(repository, "a\nb\n")
    monkeypatch.setenv("HOME", str(home))
    fetched = source.fetch(target, "main")
    assert (fetched.directory / "app.py").read_bytes() == b"a\nb\n"
    assert not (tmp_path / "ran").exists()


@needs_git
def test_a_link_in_the_repository_that_leaves_it_is_refused(source, target, repository):
    (repository / "shadow").symlink_to("/etc/shadow")
    commit(repository, "two")
    with pytest.raises(Refused, match="leads out"):
        source.fetch(target, "main")
    assert releases(target) == []


@needs_git
@pytest.mark.parametrize("address", ["http://bot:${env:TOKEN}@127.0.0.1:9/shop.git", "${env:ADDRESS}"])
def test_a_password_in_the_address_is_on_no_command_line_and_in_no_file(target, address):
    source = Git(repository=address, timeout="30s")
    with pytest.raises(Unreachable) as caught:
        source.identify(target, "v1.0")
    ran = target.world.host.commands
    shown = " ".join(word for command in ran for word in (*command.argv, *command.env.values())) + str(caught.value)
    assert "t0k3n" not in shown
    login = b64encode(b"bot:t0k3n/secret").decode()
    assert {v for command in ran for v in command.secret_env.values()} == {f"Authorization: Basic {login}"}
    assert "t0k3n" not in (target.root / "mirror.git" / "config").read_text()


@needs_git
def test_a_repository_behind_a_password_is_read(repository, target, tmp_path):
    git(repository, "clone", "--quiet", "--mirror", ".", str(tmp_path / "web" / "shop.git"))
    git(tmp_path / "web" / "shop.git", "update-server-info")

    class Guarded(SimpleHTTPRequestHandler):
        def log_message(self, *_): ...

        def do_GET(self):
            if self.headers["Authorization"] != "Basic " + b64encode(b"bot:t0k3n/secret").decode():
                self.send_error(401)
            else:
                super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=tmp_path / "web"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"127.0.0.1:{server.server_port}/shop.git"
    try:
        fetched = Git(repository=f"http://bot:${{env:TOKEN}}@{address}").fetch(target, "v1.0")
        with pytest.raises(Unreachable, match="cannot be read"):
            Git(repository=f"http://bot:wrong@{address}").identify(target, "v1.0")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (fetched.directory / "app.py").read_text() == "one"
    assert "t0k3n" not in (fetched.directory / MARKER).read_text()


@needs_git
def test_an_interrupted_export_leaves_no_release(source, target, monkeypatch):
    real = LocalHost.run

    def run(self, command):
        if "checkout-index" in command.argv:
            real(self, command)
            raise KeyboardInterrupt
        return real(self, command)

    monkeypatch.setattr(LocalHost, "run", run)
    with pytest.raises(KeyboardInterrupt):
        source.fetch(target, "v1.0")
    assert releases(target) == []
    monkeypatch.undo()
    assert source.fetch(target, "v1.0").directory.is_dir()


@needs_git
def test_a_relative_root_works(source, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fetched = source.fetch(replace(target, root=Path("root")), "v1.0")
    assert fetched.directory == tmp_path / "root" / "releases" / "v1.0"
