"""Alembic's environment: runs the ledger's migrations on the connection that the caller hands in.

Run by hand (`alembic upgrade head`), it connects to ``GOLIVE_LEDGER_URL``.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from tasks.ledger.models import Base


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    _run(handed_in)
else:
    engine = create_engine(os.environ["GOLIVE_LEDGER_URL"], poolclass=pool.NullPool)
    with engine.begin() as own:
        _run(own)
