"""Creates a table and drops it again, in a transaction that is rolled back: whoever migrates must be able to."""

from __future__ import annotations

import secrets
import sys

from database import db_manager


def main() -> None:
    """Probe the role of DATABASE_URL; what it may not do ends it with the server's error."""
    name = f"pilot2_probe_{secrets.token_hex(6)}"
    connection = db_manager.get_connection()
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id int)")
        sys.stdout.write("✓ can create tables\n")
        cursor.execute(f"DROP TABLE {name}")
        cursor.execute("SELECT to_regclass(%s)", (name,))
        if cursor.fetchone()[0] is not None:
            raise SystemExit(f"{name} is still there")
        sys.stdout.write("✓ can drop tables, and none is left\n")
    connection.rollback()
    connection.close()


if __name__ == "__main__":
    main()
