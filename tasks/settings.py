"""Where golive keeps its things, as the environment says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.errors import UserError

HOME_VARIABLE = "GOLIVE_HOME"
LEDGER_VARIABLE = "GOLIVE_LEDGER_URL"
SYSTEMS_VARIABLE = "GOLIVE_SYSTEMS"
TOOLS_VARIABLE = "GOLIVE_PG_TOOLS"
METRICS_VARIABLE = "GOLIVE_METRICS_FILE"
POOL_VARIABLE = "GOLIVE_POOL"
POOL = "golive"
"""The work pool of an installation that names none."""
_POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
FORMS_VARIABLE = "GOLIVE_FORMS"
"""Set where the forms of Prefect's UI are made, which offer what the release files name."""


@dataclass(frozen=True)
class Settings:
    """Paths and addresses of this installation; ``ledger_url`` is None where the embedded PostgreSQL is used."""

    home: Path
    systems: Path
    ledger_url: str | None
    pg_tools: tuple[Path, ...] = ()
    """Directories with PostgreSQL's client programs that are looked into before all others."""
    metrics_file: Path | None = None
    """Where the monitor writes golive's own metrics for node_exporter's textfile collector, if anywhere."""
    pool: str = POOL
    """Prefect's work pool whose workers this machine belongs to."""

    @property
    def environment(self) -> dict[str, str]:
        """The places as absolute paths, for processes that run in another directory."""
        tools = {TOOLS_VARIABLE: os.pathsep.join(map(str, self.pg_tools))} if self.pg_tools else {}
        metrics = {METRICS_VARIABLE: str(self.metrics_file)} if self.metrics_file is not None else {}
        pool = {POOL_VARIABLE: self.pool} if self.pool != POOL else {}
        return {HOME_VARIABLE: str(self.home), SYSTEMS_VARIABLE: str(self.systems), **tools, **metrics, **pool}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read ``GOLIVE_HOME``, ``GOLIVE_SYSTEMS``, ``GOLIVE_LEDGER_URL`` and their like, or use the defaults.

        ``GOLIVE_PG_TOOLS`` is a list of directories, as PATH is. Raises `UserError` for a pool that cannot be named so.
        """
        # As root, the embedded PostgreSQL runs under another account, to which root's own home is closed.
        data = "/var/lib" if os.geteuid() == 0 else environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        home = Path(environ.get(HOME_VARIABLE) or Path(data) / "golive").expanduser().absolute()
        beside = Path(__file__).parent.parent / "deployments" / "systems"
        systems = Path(environ.get(SYSTEMS_VARIABLE) or beside).expanduser().absolute()
        named = [Path(one).expanduser().absolute() for one in environ.get(TOOLS_VARIABLE, "").split(os.pathsep) if one]
        metrics = environ.get(METRICS_VARIABLE)
        pool = environ.get(POOL_VARIABLE) or POOL
        if not _POOL_NAME.fullmatch(pool):
            raise UserError(
                f"{POOL_VARIABLE} is {pool!r}",
                expected="small letters, digits and hyphens, at most 63 of them",
                do=f"name the pool otherwise, or unset {POOL_VARIABLE}",
            )
        return cls(
            home=home,
            systems=systems,
            ledger_url=environ.get(LEDGER_VARIABLE) or None,
            pg_tools=tuple(named),
            metrics_file=Path(metrics).expanduser().absolute() if metrics else None,
            pool=pool,
        )


def deployment_name(name: str, pool: str) -> str:
    """Return how a deployment of ``prefect.yaml`` is called in a pool: each pool has all of them for itself."""
    return name if pool == POOL else f"{name}@{pool}"
