"""A local mail server that speaks SMTP with STARTTLS or TLS and a login, with faults on a switch."""

from __future__ import annotations

import base64
import email
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from tests.certificates import Authority

USER, PASSWORD = "golive", "a-word-of-no-server"


@dataclass
class MailBox:
    """What the server took; ``faults`` are made one for each mail: a code to answer with, or ``drop`` after it."""

    port: int
    trust: Path
    mails: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    logins: int = 0
    encrypted: list[bool] = field(default_factory=list)

    def subjects(self) -> list[str]:
        """Return the subjects of all mails in order."""
        return [str(one["Subject"]) for one in self.mails]


class _Handler(StreamRequestHandler):
    box: MailBox
    context: ssl.SSLContext
    at_once: bool
    timeout = 30

    def setup(self) -> None:
        self.secure = self.at_once
        if self.at_once:
            self.request = self.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.say("220 here")
        going = True
        while going and (raw := self.rfile.readline()):
            verb, _, rest = raw.decode().strip().partition(" ")
            going = self._answer(verb.upper(), rest)

    def _answer(self, verb: str, rest: str) -> bool:
        """Answer a command, and tell whether the conversation goes on."""
        match verb:
            case "EHLO" | "HELO":
                self.say("250-here")
                self.say("250 AUTH PLAIN" if self.secure else "250 STARTTLS")
            case "STARTTLS":
                self.say("220 go")
                self.request = self.context.wrap_socket(self.request, server_side=True)
                self.secure = True
                super().setup()
            case "AUTH":
                self.say("235 welcome" if self._known(rest) else "535 who are you")
            case "DATA":
                return self._take()
            case "QUIT":
                self.say("221 bye")
                return False
            case _:
                self.say("250 fine")
        return True

    def _known(self, rest: str) -> bool:
        _plain, _, given = rest.partition(" ")
        known = base64.b64decode(given) == f"\0{USER}\0{PASSWORD}".encode()
        self.box.logins += known
        return known

    def _take(self) -> bool:
        self.say("354 go on")
        lines = []
        for raw in self.rfile:
            if raw == b".\r\n":
                break
            lines.append(raw[1:] if raw.startswith(b"..") else raw)
        fault = self.box.faults.pop(0) if self.box.faults else ""
        if fault.isdigit():
            self.say(f"{fault} no")
            return True
        self.box.mails.append(email.message_from_bytes(b"".join(lines)))
        self.box.encrypted.append(self.secure)
        if fault == "drop":
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            return False
        self.say("250 taken")
        return True


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_args: Any) -> None:
        """A client that did not trust the certificate is what some tests are about."""


@contextmanager
def mail_server(directory: Path, *, tls: bool = False) -> Iterator[MailBox]:
    """Run the server on loopback until the block ends; its certificate is for localhost."""
    authority = Authority(directory)
    issued = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    handler = type("Handler", (_Handler,), {"context": context, "at_once": tls})
    with _Server(("127.0.0.1", 0), handler) as server:
        box = MailBox(int(server.server_address[1]), authority.ca)
        handler.box = box  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join(10)
