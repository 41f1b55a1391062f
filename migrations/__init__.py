"""The ledger's schema, as Alembic migrations."""
