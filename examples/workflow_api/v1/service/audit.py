"""The audit log: who did what to what."""

from __future__ import annotations

from service.pool import Connection


def audit(conn: Connection, who: str, action: str, subject: object) -> None:
    """Put an act on record, in the transaction of the act."""
    conn.execute("INSERT INTO audit_log (who, action, subject) VALUES (%s, %s, %s)", (who, action, str(subject)))
