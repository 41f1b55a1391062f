"""The program of the small system's service, one text for each version."""

from __future__ import annotations

_SERVICE = """
import http.server, os, signal, sys, threading
import psycopg

VERSION, QUERY, FAULT, AT_START = {version!r}, {query!r}, {fault!r}, {at_start!r}
PORT, SWITCH = int(os.environ["PORT"]), os.environ["SWITCH"]
BROKEN = FAULT == "items" or (FAULT == "in_production" and str(PORT) in os.environ["PRODUCTION"].split())
print("version", VERSION, "starts on", PORT, flush=True)
if FAULT == "exit":
    sys.exit("cannot start: the database at " + os.environ["DSN"] + " is not to my liking")

if AT_START:
    with psycopg.connect(os.environ["DSN"], connect_timeout=5) as connection:
        connection.execute(AT_START)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        try:
            status, body = self.answer()
        except psycopg.Error as error:
            status, body = 500, str(error).splitlines()[0]
        body = body.encode()
        self.send_response(status)
        self.send_header("X-Version", VERSION)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self):
        if self.path == "/health":
            return (503, "never ready") if FAULT == "never_ready" else (200, "ok")
        if BROKEN or (FAULT == "switch" and os.path.exists(SWITCH)):
            return 500, "out of order"
        with psycopg.connect(os.environ["DSN"], connect_timeout=5) as connection:
            return 200, repr(connection.execute(QUERY).fetchall())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


server = Server(("127.0.0.1", PORT), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
server.serve_forever(poll_interval=0.02)
"""


def service_text(version: str, query: str, fault: str, at_start: str) -> str:
    """Return the program of a version that asks the database ``query`` and breaks as ``fault`` says.

    ``at_start`` is the SQL that it runs before it answers.
    """
    return _SERVICE.format(version=version, query=query, fault=fault, at_start=at_start)
