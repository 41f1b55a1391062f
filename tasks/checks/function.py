"""A function or procedure of the database."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target

_VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}
_FUNCTION = """
SELECT p.oid::regprocedure::text AS signature, l.lanname::text AS language, p.provolatile::text AS volatility,
       p.prosecdef AS definer, pg_get_function_result(p.oid) AS returns, coalesce(p.proconfig, '{}') AS settings
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid = CASE WHEN strpos(%(name)s, '(') > 0 THEN to_regprocedure(%(name)s)::oid
                   ELSE to_regproc(%(name)s)::oid END
"""


class Function(Check):
    """Looks whether a function is there, and is declared as it must be."""

    kind: Literal["function"] = "function"
    """Which kind of check this is."""
    function: Annotated[str, Field(min_length=1, examples=["public.next_invoice(integer, text)"])]
    """The function, as in SQL, with the types of its arguments; without them there must be only one of its name."""
    language: str | None = Field(default=None, examples=["plpgsql"])
    """The language that it must be written in."""
    returns: str | None = Field(default=None, examples=["SETOF uuid"])
    """What it must return, as PostgreSQL writes it; a procedure returns nothing."""
    volatility: Literal["immutable", "stable", "volatile"] | None = None
    """What it must promise about its results."""
    security_definer: bool | None = None
    """Whether it must run with the rights of its owner."""
    search_path: bool | None = None
    """Whether it must set a search_path of its own, without which one that runs as its owner can be misled."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return whether the function is there, and how it is declared."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            rows = session.query(_FUNCTION, {"name": self.function})
        if not rows:
            more = "" if "(" in self.function else ", or not the only one of its name"
            return failed(f"function {self.function} is not there{more}")
        row = rows[0]
        seen = {
            "language": row["language"],
            "returns": row["returns"] or "nothing",
            "volatility": _VOLATILITY[row["volatility"]],
        }
        wanted = {"language": self.language, "returns": self.returns, "volatility": self.volatility}
        readings = [held(f"{key} {seen[key]} = {value}", seen[key] == value) for key, value in wanted.items() if value]
        if self.security_definer is not None:
            words = "definer" if row["definer"] else "invoker"
            readings.append(held(f"it runs with the rights of its {words}", row["definer"] == self.security_definer))
        if self.search_path is not None:
            paths = [setting for setting in row["settings"] if setting.startswith("search_path=")]
            readings.append(held(f"it sets {paths[0] if paths else 'no search_path'}", bool(paths) == self.search_path))
        there = passed(f"function {row['signature']} is there")
        return all_of([there, *readings], detail=seen | {"settings": row["settings"]})
