"""A small migration tool of a release's own, as the migrator ``command`` runs any: a table of steps, SQL files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TOOL = """
import os, pathlib, sys
import psycopg

steps = sorted(path.stem for path in pathlib.Path("steps").glob("*.sql") if not path.stem.endswith(".down"))
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS own_steps (name text PRIMARY KEY)") if sys.argv[1] == "up" else None
    there = connection.execute("SELECT to_regclass('own_steps')").fetchone()[0]
    done = {row[0] for row in connection.execute("SELECT name FROM own_steps")} if there else set()
    if sys.argv[1] == "pending":
        print(*[name for name in steps if name not in done], sep="\\n")
    elif sys.argv[1] == "up":
        for name in [name for name in steps if name not in done]:
            with connection.transaction():
                connection.execute(pathlib.Path(f"steps/{name}.sql").read_text())
                connection.execute("INSERT INTO own_steps VALUES (%s)", (name,))
    else:
        for name in sys.argv[2:]:
            with connection.transaction():
                connection.execute(pathlib.Path(f"steps/{name}.down.sql").read_text())
                connection.execute("DELETE FROM own_steps WHERE name = %s", (name,))
"""


def release(directory: Path, **steps: tuple[str, str]) -> dict[str, Any]:
    """Write the tool and its steps, each with its way up and down, and return the fields of the migrator."""
    (directory / "steps").mkdir(exist_ok=True)
    for name, (up, down) in steps.items():
        (directory / "steps" / f"{name}.sql").write_text(up)
        (directory / "steps" / f"{name}.down.sql").write_text(down)
    (directory / "tool.py").write_text(TOOL)
    tool = ["{python}", "tool.py"]
    commands = {"pending": [*tool, "pending"], "upgrade": [*tool, "up"], "downgrade": [*tool, "down", "{names}"]}
    return {"kind": "command", "files": ["steps/*", "tool.py"], "commands": commands}
