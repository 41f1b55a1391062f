"""What is special about a machine over SSH: getting in, staying in, what is seen from outside, and its ports."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters import process
from tasks.adapters.http import HttpxHttp
from tasks.adapters.ssh import SshHost
from tasks.domain.errors import AccessDenied, CommandFailed, ConnectionLost, OutsideError, ToolMissing, Unreachable
from tasks.domain.ports import Command
from tests.flows import wait_until
from tests.integration.test_host import gone, is_alive
from tests.services import free_port
from tests.sshd import Sshd


@pytest.fixture
def host(sshd: Sshd) -> Iterator[SshHost]:
    host = sshd.host()
    yield host
    host.close()


def test_all_commands_share_one_connection_which_comes_back_when_it_was_lost(sshd, host):
    threads = [threading.Thread(target=host.run, args=(Command(("true",)),)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sshd.logins() == 1
    sshd.stop()
    sshd.start()
    assert host.run(Command(("echo", "again"))).stdout == "again\n"
    assert sshd.logins() == 2
    # A connection that was closed in order leaves no socket behind; neither does that reach the caller.
    host.close()
    assert host.read(Path("/nowhere")) is None
    assert sshd.logins() == 3


def test_who_is_not_let_in_is_told_why(sshd, tmp_path):
    stranger = tmp_path / "stranger"
    process.run(Command(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger))), os.environ)
    with pytest.raises(AccessDenied, match="the key was refused") as refused:
        sshd.host(identity=stranger).run(Command(("true",)))
    assert "host app1" in refused.value.where
    assert "authorized_keys" in refused.value.do
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    with pytest.raises(AccessDenied, match="the host key is not known"):
        sshd.host(known_hosts=nobody).run(Command(("true",)))
    sshd.stop()
    with pytest.raises(Unreachable, match="refused") as away:
        sshd.host().exists(tmp_path)
    assert away.value.retryable
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(AccessDenied, match="the host key has changed") as changed:
        sshd.host().write(tmp_path / "file", "secret")
    assert not changed.value.retryable
    assert not (tmp_path / "file").exists()


def test_a_connection_that_breaks_is_told_apart_from_a_command_that_fails(sshd, host, tmp_path):
    with pytest.raises(CommandFailed, match="exit code 255"):
        host.run(Command(("sh", "-c", "exit 255")))
    started = tmp_path / "pid"
    command = Command(("sh", "-c", f"echo $$ > {started}; sleep 60"), timeout=30)
    seen: list[BaseException] = []

    def run() -> None:
        try:
            host.run(command)
        except OutsideError as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: started.exists() and started.read_text())
    sshd.stop()
    thread.join(20)
    os.killpg(os.getpgid(int(started.read_text())), signal.SIGKILL)  # it outlives the connection
    assert isinstance(seen[0], ConnectionLost)
    assert seen[0].retryable
    assert "host app1" in str(seen[0])


def test_a_file_or_tree_of_which_only_a_part_arrives_is_not_put_in_place(sshd, host, tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "there" / "1"
    (source / "lib").mkdir(parents=True)
    for n in range(40):
        (source / "lib" / f"{n:02}").write_bytes(os.urandom(20_000))
    host.send_tree(source, target, {"39"})
    assert len(host.list(target / "lib")) == 39
    real = process._start

    def cut(command, environment, output=-1, source=None):
        if source is None or "ssh" not in command.argv[0]:
            return real(command, environment, output)
        whole = source.read()
        source.seek(0)
        source.truncate(len(whole) - len(whole) // 3)
        return real(command, environment, output, source)

    monkeypatch.setattr(process, "_start", cut)
    with pytest.raises(OutsideError):
        host.send_tree(source, target)
    monkeypatch.undo()
    assert len(host.list(target / "lib")) == 39
    assert host.list(target.parent) == ["1"]


def test_an_interrupted_golive_leaves_no_command_behind_there(host, tmp_path, monkeypatch):
    host.run(Command(("true",)))
    started = tmp_path / "pid"

    def interrupt(self, deadline, real=process._Talk.until, once=[]):  # noqa: B006
        if not once:
            once.append(True)
            while not real(self, time.monotonic() + 0.02) and not (started.exists() and started.read_text()):
                pass
            raise KeyboardInterrupt
        return real(self, deadline)

    monkeypatch.setattr(process._Talk, "until", interrupt)
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        host.run(Command((sys.executable, "-c", code, str(started))))
    assert gone(int(started.read_text()))


def test_no_secret_is_in_any_process_list_and_none_of_golives_environment_goes_along(host, tmp_path, monkeypatch):
    monkeypatch.setenv("UNRELATED", "value-of-golive")
    look = (
        "import os, pathlib\n"
        "for at in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    try: print(at.read_bytes())\n"
        "    except OSError: pass\n"
        "print(sorted(os.environ), os.environ['TOKEN'])\n"
    )
    said = host.run(
        Command((sys.executable, "-c", look), env={"PLAIN": "plain-in-env"}, secret_env={"TOKEN": "t0p-'secret'\n2"})
    ).stdout
    lists, environment = said.rsplit("[", 1)
    assert sys.executable in lists  # it did look
    assert "ssh" in lists
    assert "plain-in-env" not in lists
    assert "t0p-" not in lists
    assert "t0p-'secret'\n2" in environment
    assert not {"UNRELATED", "SSH_CONNECTION", "SSH_CLIENT"} & set(environment.replace("'", "").split(", "))
    host.write(tmp_path / "file", "c0ntent")
    assert (tmp_path / "file").read_text() == "c0ntent"


def test_what_is_started_there_goes_on_after_the_connection(sshd, host, tmp_path):
    log = tmp_path / "logs" / "log"
    pid = host.spawn(Command(("sh", "-c", "echo begun $NAME; exec sleep 60"), env={"NAME": "by app1"}), log)
    try:
        wait_until(lambda: log.exists() and log.read_text() == "begun by app1\n")
        host.close()
        sshd.stop()
        assert is_alive(pid)
        assert log.stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(pid, signal.SIGKILL)
    sshd.start()
    with pytest.raises(ToolMissing, match="no-such-program"):
        host.spawn(Command(("no-such-program",)), log)


class _Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("location", f"http://{self.headers['host']}/here")
        else:
            self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        return


def test_http_reaches_the_loopback_of_the_machine_and_so_do_its_ports(sshd, host):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, client = server.server_address[1], HttpxHttp(host)
    url = f"http://127.0.0.1:{port}"
    try:
        assert client.request("GET", url).body == b"ok"
        assert client.request("GET", f"{url}/away", follow_redirects=True, fresh=True).status == 200
        assert host.tunnel_to(port).is_socket()
        assert host.tunnel_to(port).parent.stat().st_mode & 0o777 == 0o700
        with host.reach(port) as near, host.lend(port) as there:
            with host.lend(port) as again:
                assert again == there
            assert HttpxHttp().request("GET", f"http://127.0.0.1:{near}").status == 200
            assert HttpxHttp().request("GET", f"http://127.0.0.1:{there}").status == 200
            assert not host.port_is_free(there)
        assert host.port_is_free(there)
        assert host.port_is_free(near)
        # With the connection its tunnels go, and come back with it.
        sshd.stop()
        with pytest.raises(Unreachable):
            client.request("GET", url)
        sshd.start()
        assert client.request("GET", url).status == 200
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(Unreachable, match="nothing listens on port"):
        client.request("GET", f"http://127.0.0.1:{free_port()}", fresh=True)
    client.close()


def test_a_name_with_signs_that_mean_something_to_a_shell_is_only_a_name(host, tmp_path):
    odd = tmp_path / "a b'c\"d$(touch x)`id`;*\\n" / "-file"
    host.write(odd, "text")
    assert odd.read_text() == host.read(odd) == "text"
    assert host.list(odd.parent) == ["-file"]
    host.link(odd.parent / "-link", Path("-file"))
    assert host.links(odd.parent) == {"-link": "-file"}
    host.copy_tree(odd.parent, tmp_path / "$HOME")
    host.remove_tree(odd.parent)
    assert host.list(tmp_path) == ["$HOME"]
