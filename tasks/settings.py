"""Where golive keeps its things, as the environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "GOLIVE_HOME"
LEDGER_VARIABLE = "GOLIVE_LEDGER_URL"
SYSTEMS_VARIABLE = "GOLIVE_SYSTEMS"


@dataclass(frozen=True)
class Settings:
    """Paths and addresses of this installation; ``ledger_url`` is None where the embedded PostgreSQL is used."""

    home: Path
    systems: Path
    ledger_url: str | None

    @property
    def environment(self) -> dict[str, str]:
        """The places as absolute paths, for processes that run in another directory."""
        return {HOME_VARIABLE: str(self.home), SYSTEMS_VARIABLE: str(self.systems)}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read ``GOLIVE_HOME``, ``GOLIVE_SYSTEMS`` and ``GOLIVE_LEDGER_URL``, with the usual places as defaults."""
        # As root, the embedded PostgreSQL runs under another account, to which root's own home is closed.
        data = "/var/lib" if os.geteuid() == 0 else environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        home = Path(environ.get(HOME_VARIABLE) or Path(data) / "golive").expanduser().absolute()
        beside = Path(__file__).parent.parent / "deployments" / "systems"
        systems = Path(environ.get(SYSTEMS_VARIABLE) or beside).expanduser().absolute()
        return cls(home=home, systems=systems, ledger_url=environ.get(LEDGER_VARIABLE) or None)
