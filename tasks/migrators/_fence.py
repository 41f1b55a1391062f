"""The fence: a process that has lost its release changes nothing in the database any more, however late it wakes up."""

from __future__ import annotations

from tasks.domain.errors import Fenced
from tasks.domain.ports import Session
from tasks.domain.target import Target
from tasks.domain.turn import FENCE, Turn
from tasks.migrators._own_table import made

_COLUMNS = (
    "system text PRIMARY KEY, release text NOT NULL, began timestamptz NOT NULL, epoch integer NOT NULL,"
    " raised_at timestamptz NOT NULL DEFAULT clock_timestamp()"
)


class Fence:
    """What stands between the holder of the migration lock and the database.

    The later turn is written into the database under that lock. ``require`` asks whether the lock and the turn still
    hold; ``hold`` asks within a transaction, and keeps any other process from getting its turn before that has ended.
    """

    def __init__(self, session: Session, target: Target) -> None:
        self._session, self._system, self._turn = session, target.system, target.turn
        self._table = ""

    def raise_(self) -> None:
        """Write this process's turn into the database; raises `Fenced` if a later one stands there."""
        turn = self._turn
        if turn is None:
            return
        turn.require()
        self._table = made(self._session, FENCE, _COLUMNS)
        written = self._session.execute(
            f"INSERT INTO {self._table} AS now (system, release, began, epoch) VALUES (%s, %s, %s, %s) "  # noqa: S608 - quoted
            "ON CONFLICT (system) DO UPDATE SET (release, began, epoch, raised_at) = "
            "(EXCLUDED.release, EXCLUDED.began, EXCLUDED.epoch, clock_timestamp()) "
            "WHERE (EXCLUDED.began, EXCLUDED.epoch) >= (now.began, now.epoch)",
            (self._system, turn.release, turn.began, turn.epoch),
        )
        if not written:
            raise self._fenced(self._session, turn)

    def require(self) -> None:
        """Raise `Fenced` unless the release is still this process's, `ConnectionLost` if the lock's session is gone."""
        if self._turn is None:
            self._session.query("SELECT 1")
            return
        self._turn.require()
        self._look(self._session, self._turn, "")

    def hold(self, session: Session) -> None:
        """Raise `Fenced` unless it is still this process's turn, and let it stay so until the transaction ends."""
        if self._turn is not None:
            self._look(session, self._turn, "FOR SHARE")

    def _look(self, session: Session, turn: Turn, lock: str) -> None:
        own = session.query(
            f"SELECT 1 FROM {self._table} WHERE (system, began, epoch) = (%s, %s, %s) {lock}",  # noqa: S608 - quoted
            (self._system, turn.began, turn.epoch),
        )
        if not own:
            raise self._fenced(session, turn)

    def _fenced(self, session: Session, turn: Turn) -> Fenced:
        rows = session.query(f"SELECT release, epoch FROM {self._table} WHERE system = %s", (self._system,))  # noqa: S608 - quoted
        now = f"{rows[0]['release']} (epoch {rows[0]['epoch']})" if rows else "nobody's turn"
        return Fenced(
            f"the database is fenced off for {now}",
            expected=f"{turn.release} (epoch {turn.epoch})",
            where=self._table,
            do="nothing: this process stops, the other one goes on",
        )


def fence_off(target: Target) -> None:
    """Write the target's turn into its database, as a restored one needs it; raises `Fenced` if a later is there."""
    with target.world.databases.session(target.dsn, statement_timeout=10, lock_timeout=3) as session:
        Fence(session, target).raise_()
