"""Runs the migrations on the database that DATABASE_URL names."""

from alembic import context
from app.database import engine
from app.models import Base


def run() -> None:
    """Print the SQL of the migrations, or apply them in one transaction."""
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    with engine().connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


run()
