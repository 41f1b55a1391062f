"""supervisord as its own socket tells of it, asked where it runs by a few lines of Python's standard library."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.domain.errors import ToolMissing
from tasks.domain.ports import Command, Host

RUNS, COMING = "RUNNING", "STARTING"
_MARGIN = 5.0
_CLIENT = """
import http.client, socket, sys, time, xmlrpc.client
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return Connection(host)
def states(groups):
    known = server.getAllProcessInfo()
    return {one["group"] + ":" + one["name"]: one["statename"] for one in known if one["group"] in groups}
def until(over, groups):
    pause = 0.02
    while not over(found := set(states(groups).values())) and time.monotonic() < begun + float(within):
        time.sleep(pause)
        pause = min(0.2, 1.3 * pause)
    return found
def end(groups):
    known = {one.partition(":")[0] for one in states(groups)}
    for group in known:
        server.stopProcessGroup(group, False)
    until(lambda found: found <= {"STOPPED", "EXITED", "FATAL", "UNKNOWN"}, known)
    for group in known:
        server.removeProcessGroup(group)
def run(groups):
    if set(states(groups).values()) - {"RUNNING", "STARTING"}:
        end(groups)
    if not states(groups):
        server.reloadConfig()
        try:
            server.addProcessGroup(groups[0])
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != 90:
                raise
    until(lambda found: found == {"RUNNING"} or found & {"BACKOFF", "FATAL", "EXITED"}, groups)
path, verb, within, *groups = sys.argv[1:]
begun = time.monotonic()
server = xmlrpc.client.ServerProxy("http://localhost", Transport()).supervisor
if verb == "shutdown":
    server.shutdown()
else:
    if verb != "states":
        {"run": run, "end": end}[verb](groups)
    for name, state in states(groups).items():
        print(name, state)
"""
"""What supervisorctl would do, in a fraction of its time: that imports much, and several calls of it are one here.

It asks every few hundredths of a second while it waits, because supervisord, undisturbed, may notice an end a second
late. 90 is the fault of a group that somebody else has added meanwhile.
"""


@dataclass(frozen=True)
class Supervisord:
    """A supervisord and the seconds that it may take to answer; each act raises `CommandFailed` if it does not."""

    host: Host
    socket: str
    patience: float

    def states(self, groups: Collection[str]) -> dict[str, str]:
        """Return its word for each process of these groups that it knows."""
        return self._ask("states", self.patience, sorted(groups))

    def run(self, group: str, within: float) -> dict[str, str]:
        """Have a group of its configuration run, and return how its processes are once all run or one has crashed."""
        return self._ask("run", within, [group])

    def end(self, groups: Collection[str]) -> None:
        """Stop what it knows of these groups, and let it forget them."""
        self._ask("end", self.patience, sorted(groups))

    def shut_down(self) -> None:
        """Tell it to stop all and to end."""
        self._ask("shutdown", self.patience, ())

    def _ask(self, verb: str, within: float, groups: Sequence[str]) -> dict[str, str]:
        python = self.host.which("python3")
        if python is None:
            raise ToolMissing("python3 is not installed", do="install Python 3 and supervisor there")
        argv = (str(python), "-I", "-S", "-c", _CLIENT, self.socket, verb, f"{within:g}", *groups)
        said = self.host.run(Command(argv, timeout=max(within, self.patience) + _MARGIN)).stdout
        return dict(line.rsplit(" ", 1) for line in said.splitlines())
