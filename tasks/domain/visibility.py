"""What a role may see of a server's statistics, and the GRANT that is needed where something is hidden from it."""

from __future__ import annotations

from tasks.domain.outcome import Reading, unknown
from tasks.domain.ports import Session
from tasks.domain.relation import quoted


def hidden(session: Session, what: str, group: str = "pg_read_all_stats") -> Reading:
    """Return that something is hidden from golive's role, and what lets it be seen."""
    user = session.value("SELECT current_user")
    return unknown(f"{what} hidden from {user}: GRANT {group} TO {quoted(user)}")
