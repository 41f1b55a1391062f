"""Whether two schemas are the same that were made in other ways, or stand on servers of other versions."""

from __future__ import annotations

from tasks.context import Context
from tasks.domain.errors import CommandFailed, SqlFailed
from tasks.domain.schema_text import NAMES_NOT_NULL, apart, difference, fit_to_keep, without_names_of_not_null
from tasks.scratch import Scratch


def what_differs(
    ctx: Context, before: str | None, now: str | None, version: int, names: tuple[str, str] = ("before", "now")
) -> str:
    """Return what tells two schemas apart whose texts differ, as a diff; empty if both mean the same.

    PostgreSQL keeps conditions and views parsed, and words them by how they came to be and by its version: a column of
    the type varchar that is ``IN ('a', 'b')`` reads otherwise once it was dumped and restored, and from 16 on a view of
    one table does not name it. So both are read into an empty database of the scratch place, and worded by that.
    ``version`` is that of its server; None is a schema that was too long to be kept.
    """
    before, now = before and fit_to_keep(before), now and fit_to_keep(now)
    told = difference(before, now, names)
    if before is None or now is None or before == now:
        return told
    (one, its_others), (other, others) = apart(before), apart(now)
    if its_others != others:
        return told
    scratch = Scratch(ctx)
    try:
        one, other = scratch.reworded(one, version), scratch.reworded(other, version)
    except (SqlFailed, CommandFailed) as error:
        return f"{told}\n(whether both mean the same could not be told: {ctx.world.secrets.mask(str(error))})"
    if version >= NAMES_NOT_NULL and _production_version(ctx) < NAMES_NOT_NULL:
        one, other = without_names_of_not_null(one), without_names_of_not_null(other)
    return difference(one, other, names) if one != other else ""


def _production_version(ctx: Context) -> int:
    with ctx.world.databases.session(ctx.target().dsn, read_only=True) as session:
        return session.server_version
