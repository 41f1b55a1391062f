"""A TCP proxy between golive and PostgreSQL that cuts a connection at the moment that a test names."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER by which a close is a reset."""


@dataclass
class Proxy:
    """Forwards to 127.0.0.1:``behind``; `cut_at` arms it, once."""

    behind: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    cuts: int = 0
    _armed: tuple[bytes, ...] = ()
    _answered: bool = False

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def cut_at(self, *words: bytes, answered: bool = False) -> None:
        """Cut the first connection by which a client says these words, one after the other.

        The last of them never reaches the server, or with ``answered`` does, and its answer never the client.
        """
        self._answered = answered
        self._armed = words

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.behind)) as server:
            swallowing = threading.Event()
            back = threading.Thread(target=self._back, args=(server, client, swallowing), daemon=True)
            back.start()
            heard = 0
            with suppress(OSError):
                while data := client.recv(65536):
                    while heard < len(self._armed) and self._armed[heard] in data:
                        heard += 1
                    if self._armed and heard == len(self._armed):
                        self._armed, self.cuts = (), self.cuts + 1
                        if not self._answered:
                            break
                        swallowing.set()
                    server.sendall(data)
            if not swallowing.is_set():
                self._end(client, server)
            back.join()

    def _back(self, server: socket.socket, client: socket.socket, swallowing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if swallowing.is_set():
                    break
                client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*both: socket.socket) -> None:
        for one in both:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of 127.0.0.1."""
    proxy = Proxy(port)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        # A thread that waits in accept would keep the socket.
        with suppress(OSError):
            proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
