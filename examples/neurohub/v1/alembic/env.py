"""Runs the migrations on the database that DATABASE_URL names."""

from alembic import context
from app.database import engine
from app.models import Base


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    """Tell whether what is in the database is a matter of the models; who deploys keeps a table of its own there."""
    return kind != "table" or name in Base.metadata.tables


def run() -> None:
    """Print the SQL of the migrations, or apply them in one transaction."""
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    with engine().connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_type=True, include_name=_is_ours
        )
        with context.begin_transaction():
            context.run_migrations()


run()
