from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.checks.certificate import Certificate
from tasks.checks.dns import Dns
from tasks.checks.tcp import Tcp
from tasks.checks.tls import Tls
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.certificates import Authority, tls_server
from tests.looks import F, P, U, look


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def listening(*, answers: bool = True) -> Iterator[int]:
    """A listener; one that does not answer has its queue full, so that connections time out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if not answers else 5)
        port = listener.getsockname()[1]
        queued = []
        for _ in range(0 if answers else 3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            queued.append(one)
        yield port
        for one in queued:
            one.close()


@pytest.mark.parametrize("seen_from", ["golive", "host"])
def test_an_address_accepts_connections_or_does_not(target, seen_from):
    with listening() as port:
        both = [f"127.0.0.1:{port}", "127.0.0.1:1"]
        assert look(Tcp, target, addresses=both[:1], seen_from=seen_from).outcome is P
        reading = look(Tcp, target, addresses=both, seen_from=seen_from)
        assert (reading.outcome, reading.seen) == (F, "127.0.0.1:1: no connection: Connection refused: failed") or (
            seen_from == "host" and reading.seen == "127.0.0.1:1: Connection refused: failed"
        )
        reading = look(Tcp, target, addresses=both, open=False, seen_from=seen_from)
        assert (reading.outcome, reading.seen) == (F, f"127.0.0.1:{port} accepts connections: failed")
        assert look(Tcp, target, addresses=both[1:], open=False, seen_from=seen_from).outcome is P
        names = ["no-such-name.invalid:1"]
        assert look(Tcp, target, addresses=names, seen_from=seen_from).outcome in {F, U}
        assert look(Tcp, target, addresses=names, seen_from=seen_from, open=False).outcome is U


@pytest.mark.parametrize("seen_from", ["golive", "host"])
def test_silence_on_this_machine_is_the_target_s(target, seen_from):
    with listening(answers=False) as port:
        fields = {"addresses": [f"127.0.0.1:{port}"], "within": "300ms", "seen_from": seen_from}
        assert look(Tcp, target, **fields).outcome is F
        assert look(Tcp, target, **fields, open=False).outcome is P


def test_an_address_is_refused_that_is_none(target):
    for wrong in ("127.0.0.1", "http://x:1", "a b:1", "h:port"):
        with pytest.raises(ValidationError, match="addresses"):
            Tcp.model_validate({"name": "it", "addresses": [wrong]})


def test_a_name_leads_where_it_must(target):
    assert look(Dns, target, names=["localhost"], same_as="localhost").outcome is P
    reading = look(Dns, target, names=["localhost"], addresses=["192.0.2.0/24"])
    assert reading.outcome is F
    assert "within 192.0.2.0/24: failed" in reading.seen
    with pytest.raises(ValidationError, match="does not appear to be an IPv4 or IPv6 network"):
        Dns.model_validate({"name": "it", "names": ["localhost"], "addresses": ["somewhere"]})
    with pytest.raises(ValidationError, match="has no addresses"):
        Dns.model_validate({"name": "it", "names": ["x"], "exists": False, "same_as": "y"})


def test_a_server_s_certificate_is_judged_by_chain_name_and_days(target, authority):
    def seen(port: int, **fields: object) -> tuple[object, str]:
        reading = look(Tls, target, **{"address": f"127.0.0.1:{port}", "ca": str(authority.ca), **fields})
        return reading.outcome, reading.seen

    with tls_server(authority.issue("shop.example.org", "127.0.0.1", end=timedelta(days=20))) as port:
        assert seen(port)[0] is P
        assert seen(port, server_name="shop.example.org", names=["127.0.0.1"])[0] is P
        outcome, words = seen(port, server_name="other.example.org", valid_for="30d")
        assert outcome is F
        assert "days left ≥ 30: failed" in words
        assert "other.example.org" in words
        assert "self-signed certificate in certificate chain: failed" in seen(port, ca=None)[1]
        assert seen(port, ca=None, trusted=False)[0] is P
        assert seen(port, protocol="TLSv1.3")[1] == "speaks TLSv1.2 too: failed"
    with tls_server(authority.issue("127.0.0.1", end=timedelta(hours=-1))) as port:
        outcome, words = seen(port)
        assert outcome is F
        assert "certificate has expired: failed" in words
    with tls_server(authority.issue("127.0.0.1"), oldest=ssl.TLSVersion.TLSv1_3) as port:
        assert seen(port, protocol="TLSv1.3")[0] is P
    with tls_server(authority.issue("127.0.0.1"), oldest=ssl.TLSVersion.TLSv1_1) as port:
        assert seen(port)[1] == "speaks TLSv1.1 too: failed"


def test_a_server_that_speaks_no_tls_fails_and_one_that_is_silent_is_unknown(target):
    with listening() as port:
        assert look(Tls, target, address=f"127.0.0.1:{port}", timeout="1s").outcome is U
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def say() -> None:
            plain, _ = listener.accept()
            plain.sendall(b"HTTP/1.1 400 no\r\n\r\n")
            plain.close()

        threading.Thread(target=say, daemon=True).start()
        reading = look(Tls, target, address=f"127.0.0.1:{listener.getsockname()[1]}")
        assert reading.outcome is F


def test_a_certificate_s_file_is_judged_with_its_key_and_chain(target, authority, tmp_path):
    one, other = authority.issue("shop.example.org", "*.a.org"), authority.issue("x", start=timedelta(days=1))
    reading = look(Certificate, target, file=str(one.cert), key=str(one.key), names=["Shop.example.org", "b.a.org"])
    assert reading.outcome is P
    assert reading.value == pytest.approx(90, abs=0.1)
    reading = look(Certificate, target, file=str(one.cert), key=str(other.key), names=["a.org", "c.b.a.org"])
    for words in ("made out to a.org", "made out to c.b.a.org", f"{other.key} does not fit"):
        assert f"{words}: failed" in reading.seen
    assert "not valid before" in look(Certificate, target, file=str(other.cert)).seen
    (tmp_path / "broken.pem").write_text("no certificate")
    assert look(Certificate, target, file="broken.pem").outcome is F
    assert look(Certificate, target, file=str(one.cert), key="broken.pem").outcome is U
    assert look(Certificate, target, file="none.pem").outcome is F
    assert look(Certificate, target, file="none.pem", optional=True).outcome is P
    foreign = Path(tmp_path, "foreign")
    foreign.mkdir()
    chain = one.cert.read_text().split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    (tmp_path / "mixed.pem").write_text(chain + Authority(foreign).ca.read_text())
    assert "issued by" in look(Certificate, target, file="mixed.pem").seen
    assert look(Certificate, target, file="mixed.pem").outcome is F
