"""How a test breaks what is sound, so that a check has something to find."""

from __future__ import annotations

from pathlib import Path

import psycopg


def spoil(path: Path, good: str, bad: str | None) -> None:
    """Replace a text that a file holds by another one, or remove the file if there is none."""
    text = path.read_text()
    assert good in text
    if bad is None:
        path.unlink()
    else:
        path.write_text(text.replace(good, bad))


def change(dsn: str, *statements: str) -> None:
    """Run statements on a database, each in a transaction of its own."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())
