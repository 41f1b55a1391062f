"""The ledger as one object: its releases, evidence, gates, outbox and leases on one pool of connections."""

from __future__ import annotations

from tasks.ledger import record
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.evidence import Evidence
from tasks.ledger.gates import Gates
from tasks.ledger.outbox import Leases, Outbox
from tasks.ledger.part import Part
from tasks.ledger.record import Record
from tasks.ledger.releases import Releases


class Ledger:
    """Everything that golive intended, did, saw and decided; ``part`` is what of it is this installation's to do."""

    def __init__(self, dsn: str, part: Part | None = None) -> None:
        part = part or Part()
        self.dsn = dsn
        self._engine = LedgerEngine(dsn)
        self.releases = Releases(self._engine, part)
        self.evidence = Evidence(self._engine)
        self.gates = Gates(self._engine)
        self.outbox = Outbox(self._engine)
        self.leases = Leases(self._engine, part)

    def ensure_ready(self) -> None:
        """Bring the schema up to date; raises `LedgerUnreachable` or `LedgerTooNew`."""
        self._engine.ensure_ready()

    def record(self, release_id: str) -> Record:
        """Return all that is on record of a release at this moment; raises `NotFound` and `LedgerUnreachable`."""
        return record.read(self._engine, release_id)

    def close(self) -> None:
        """Close all connections."""
        self._engine.close()
