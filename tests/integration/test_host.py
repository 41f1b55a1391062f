"""A machine, golive's own and one over SSH, with real processes and files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import process
from tasks.adapters.host import LocalHost
from tasks.domain.errors import AccessDenied, CommandFailed, OutsideError, TimedOut, ToolMissing
from tasks.domain.ports import Command, Host
from tests.sshd import Sshd, an_sshd

as_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="root is not bound by permission bits")


only_here = pytest.mark.parametrize("host", ["local"], indirect=True)


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with an_sshd() as server:
        yield server


@pytest.fixture(scope="module")
def over_ssh(sshd: Sshd) -> Iterator[Host]:
    host = sshd.host()
    yield host
    host.close()


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest) -> Host:
    machine: Host = LocalHost() if request.param == "local" else request.getfixturevalue("over_ssh")
    return machine


def python(code: str, *arguments: str, **more: Any) -> Command:
    return Command((sys.executable, "-c", code, *arguments), **more)


def is_alive(pid: int) -> bool:
    """A process that has ended but was not yet waited for by its parent counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_output_exit_code_and_duration_come_back(host):
    done = host.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", ok_exit=(0, 3)))
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert 0 < done.took < 30


def test_the_command_reads_what_it_is_given(host):
    given = b"x" * 3_000_000
    done = host.run(python("import sys; print(len(sys.stdin.buffer.read()))", stdin=given))
    assert done.stdout == "3000000\n"


def test_a_command_that_does_not_read_its_input_is_fine(host):
    assert host.run(Command(("true",), stdin=b"x" * 3_000_000)).exit_code == 0


def test_without_input_the_command_sees_an_empty_one(host):
    assert host.run(Command(("cat",), timeout=10)).stdout == ""


def test_input_and_output_larger_than_a_pipe_do_not_block_each_other(host):
    given = b"line\n" * 400_000
    assert host.run(Command(("cat",), stdin=given, timeout=30)).stdout == given.decode()


def test_a_failure_says_which_command_how_it_ended_and_its_last_words(host):
    with pytest.raises(CommandFailed) as caught:
        host.run(python("import sys\nfor n in range(40): print('line', n, file=sys.stderr)\nsys.exit(7)"))
    text = str(caught.value)
    assert "exit code 7" in text
    assert "line 39" in text
    assert "line 24\n" not in text
    assert sys.executable in caught.value.where


def test_a_failure_without_error_output_shows_the_ordinary_output(host):
    with pytest.raises(CommandFailed, match="the reason"):
        host.run(python("print('the reason'); raise SystemExit(1)"))


def test_a_signal_is_named(host):
    with pytest.raises(CommandFailed, match="SIGKILL"):
        host.run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))


def test_secret_values_and_passwords_are_masked_in_a_failure(host):
    command = python(
        "import os, sys; sys.exit('cannot log in with ' + os.environ['TOKEN'])",
        "postgresql://app:hunter2@db/x",
        "--token=tok-12345",
        secret_env={"TOKEN": "tok-12345"},
    )
    with pytest.raises(CommandFailed) as caught:
        host.run(command)
    assert "tok-12345" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "cannot log in with •••" in str(caught.value)


def test_a_missing_program_is_told_apart_from_a_missing_directory(host, tmp_path):
    with pytest.raises(ToolMissing, match="no-such-program-here"):
        host.run(Command(("no-such-program-here",)))
    with pytest.raises(CommandFailed, match="cannot be entered"):
        host.run(Command(("true",), cwd=tmp_path / "absent"))


def test_a_text_that_is_no_argument_is_refused(host):
    with pytest.raises(CommandFailed, match="could not be started"):
        host.run(Command(("echo", "a\0b")))


@only_here
def test_the_environment_is_limited_to_what_is_named(host, monkeypatch):
    monkeypatch.setenv("UNRELATED_SECRET", "value")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    monkeypatch.setenv("TZ", "Europe/Paris")
    done = host.run(Command(("env",), env={"ADDED": "1"}, secret_env={"HIDDEN": "2222"}))
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"PATH", "TZ", "ADDED", "HIDDEN"} <= names
    assert not {"UNRELATED_SECRET", "SSH_AUTH_SOCK"} & names


def test_no_shell_reads_the_arguments(host):
    assert host.run(Command(("echo", "$(id); `id` && *"))).stdout == "$(id); `id` && *\n"


def test_a_program_beside_golives_python_is_found_without_path(host, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    name = Path(sys.executable).name
    assert host.which(name) is not None
    own = Path(sys.executable).parent / "ruff"
    assert not own.exists() or host.which("ruff") == own
    assert host.which("no-such-program-here") is None


def test_what_takes_too_long_is_killed_with_its_grandchildren(host, tmp_path):
    noted = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        " signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "print('under way', flush=True)\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(TimedOut, match="under way") as caught:
        host.run(python(code, str(noted), timeout=2.0))
    assert "within 2.0 s" in str(caught.value)
    assert gone(int(noted.read_text()))


def test_a_command_that_ignores_sigterm_is_killed(host, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.3)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(TimedOut, match="deaf"):
        host.run(python(code, timeout=1.0))
    assert time.monotonic() - start < 10


def test_a_command_that_ends_on_sigterm_may_clean_up(host, tmp_path):
    code = (
        "import signal, sys, time\n"
        "def end(*_): open(sys.argv[1], 'w').write('clean'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); time.sleep(60)\n"
    )
    with pytest.raises(TimedOut):
        host.run(python(code, str(tmp_path / "end"), timeout=1.0))
    assert (tmp_path / "end").read_text() == "clean"


def test_a_daemon_that_keeps_the_output_open_does_not_hold_golive(host):
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True).pid)\n"
    )
    start = time.monotonic()
    done = host.run(python(code, timeout=30))
    daemon = int(done.stdout)
    try:
        assert is_alive(daemon)
        assert time.monotonic() - start < 15
    finally:
        os.kill(daemon, signal.SIGKILL)


@only_here
def test_an_interrupted_golive_leaves_no_command_behind(host, tmp_path, monkeypatch):
    started = tmp_path / "pid"

    def interrupt(self, deadline, real=process._Talk.until, once=[]):  # noqa: B006
        if not once:
            once.append(True)
            while not started.exists() or not started.read_text():
                time.sleep(0.02)
            raise KeyboardInterrupt
        return real(self, deadline)

    monkeypatch.setattr(process._Talk, "until", interrupt)
    with pytest.raises(KeyboardInterrupt):
        host.run(
            python("import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)", str(started))
        )
    assert gone(int(started.read_text()))


def test_of_much_output_the_beginning_and_the_end_are_kept(host, monkeypatch):
    monkeypatch.setattr(process, "HEAD", 1000)
    monkeypatch.setattr(process, "TAIL", 200_000)
    code = "import sys; sys.stdout.write('first' + 'x' * 5_000_000 + 'last')"
    out = host.run(python(code)).stdout
    assert out.startswith("first")
    assert out.endswith("last")
    assert "bytes left out" in out
    assert len(out) < 400_000


def test_no_file_descriptor_is_left_open(host):
    host.run(Command(("true",), stdin=b"x"))
    before = len(LocalHost().list(Path("/proc/self/fd")))
    for _ in range(10):
        host.run(Command(("echo", "x"), stdin=b"x"))
    time.sleep(0.1)
    assert len(LocalHost().list(Path("/proc/self/fd"))) <= before


def test_commands_of_several_threads_do_not_disturb_each_other(host):
    answers = {}

    def ask(n: int) -> None:
        answers[n] = host.run(Command(("echo", str(n)), timeout=30)).stdout

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"{n}\n" for n in range(16)}


def test_a_written_file_is_private_and_so_are_its_new_directories(host, tmp_path):
    path = tmp_path / "a" / "b" / "file"
    host.write(path, "één\r\n")
    assert host.read(path) == "één\r\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}


def test_writing_replaces_content_and_mode_whatever_the_umask(host, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    before = os.umask(0o077)
    try:
        host.write(path, "new", mode=0o755)
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o755
    assert host.list(tmp_path) == ["file"]


@only_here
def test_a_write_that_fails_leaves_the_old_file_and_no_other(host, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutsideError, match="No space left"):
        host.write(path, "new")
    assert path.read_text() == "old"
    assert host.list(tmp_path) == ["file"]


def test_what_is_not_there_reads_as_nothing(host, tmp_path):
    assert host.read(tmp_path / "absent") is None
    assert host.list(tmp_path / "absent") == []
    assert not host.exists(tmp_path / "absent")
    host.remove_tree(tmp_path / "absent" / "deeper")
    assert host.disk_free(tmp_path / "absent" / "deeper") > 0


@as_ordinary_user
def test_a_missing_right_is_named(host, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(AccessDenied, match="Permission denied"):
        host.write(tmp_path / "file", "x")


def tree(directory: Path) -> Path:
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "start").write_text("#!/bin/sh\n")
    (directory / "bin" / "start").chmod(0o755)
    (directory / "empty").mkdir()
    (directory / "latest").symlink_to("bin/start")
    (directory / "dangling").symlink_to("nowhere")
    for n in range(20):
        (directory / f"file-{n:02}").write_text(str(n))
    return directory


def test_a_copied_tree_keeps_links_modes_and_empty_directories(host, tmp_path):
    target = tmp_path / "releases" / "1"
    host.copy_tree(tree(tmp_path / "source"), target)
    assert (target / "latest").readlink() == Path("bin/start")
    assert (target / "dangling").is_symlink()
    assert (target / "bin" / "start").stat().st_mode & 0o777 == 0o755
    assert (target / "empty").is_dir()
    assert host.list(target.parent) == ["1"]


def test_a_copy_replaces_the_target_whole(host, tmp_path):
    target = tmp_path / "releases" / "1"
    (target / "stale").mkdir(parents=True)
    host.copy_tree(tree(tmp_path / "source"), target)
    assert not (target / "stale").exists()
    assert host.list(target.parent) == ["1"]


@only_here
@pytest.mark.parametrize("there_before", [False, True])
def test_a_copy_that_fails_in_the_middle_leaves_the_target_as_it_was(host, tmp_path, monkeypatch, there_before):
    source, target = tree(tmp_path / "source"), tmp_path / "releases" / "1"
    if there_before:
        target.mkdir(parents=True)
        (target / "old").write_text("old")
    copied: list[str] = []

    def copy(src, dst, **more):
        if len(copied) == 7:
            raise OSError(5, "Input/output error", src)
        copied.append(dst)
        return real(src, dst, **more)

    real = shutil.copy2
    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, copy, False, False))
    with pytest.raises(OutsideError, match="Input/output error"):
        host.copy_tree(source, target)
    assert len(copied) == 7
    assert host.list(target.parent) == (["1"] if there_before else [])
    assert host.list(target) == (["old"] if there_before else [])


@only_here
def test_a_copy_killed_in_the_middle_leaves_the_target_absent(host, tmp_path):
    source = tree(tmp_path / "source")
    target = tmp_path / "releases" / "1"
    code = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\nfrom tasks.adapters.host import LocalHost\n"
        "real, done = os.utime, []\n"
        "def utime(*a, **k):\n"
        "    done.append(1)\n"
        "    if len(done) == 9: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*a, **k)\n"
        "os.utime = utime\n"
        "LocalHost().copy_tree(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    with pytest.raises(CommandFailed, match="SIGKILL"):
        host.run(python(code, str(source), str(target), cwd=root, env={"PYTHONPATH": str(root)}))
    assert not target.exists()
    (left,) = host.list(target.parent)
    assert left.startswith(".1.")
    assert left.endswith(".partial")


def test_a_source_that_is_not_there_is_named(host, tmp_path):
    with pytest.raises(OutsideError, match="absent"):
        host.copy_tree(tmp_path / "absent", tmp_path / "target")
    assert host.list(tmp_path) == []


def test_removing_a_tree_does_not_follow_links_and_takes_locked_directories(host, tmp_path):
    outside, victim = tmp_path / "outside", tmp_path / "victim"
    outside.mkdir()
    (outside / "file").write_text("stays")
    victim.mkdir()
    (victim / "locked").mkdir()
    (victim / "locked" / "file").write_text("x")
    (victim / "out").symlink_to(outside)
    (victim / "locked").chmod(0o500)
    host.remove_tree(victim)
    assert host.list(tmp_path) == ["outside"]
    assert (outside / "file").exists()


def test_a_link_is_replaced_in_one_step(host, tmp_path):
    current = tmp_path / "current"
    host.link(current, tmp_path / "1")
    host.link(current, tmp_path / "2")
    assert current.readlink() == tmp_path / "2"
    assert host.exists(current)
    assert host.list(tmp_path) == ["current"]


def test_a_link_never_replaces_a_directory(host, tmp_path):
    (tmp_path / "current").mkdir()
    with pytest.raises(OutsideError):
        host.link(tmp_path / "current", tmp_path / "2")
    assert host.list(tmp_path) == ["current"]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_with_a_listener_is_not_free(host, address):
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        assert not host.port_is_free(port)
    assert host.port_is_free(port)


def test_a_port_whose_last_connection_lingers_is_free(host):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # closed by the server first: TIME_WAIT stays on its port
            client.recv(1)
    assert host.port_is_free(port)
