"""What migrators have in common that run a tool of the release."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from pydantic import Field

from tasks.domain.release_files import RelativePath
from tasks.domain.target import ServiceName, Target, Within
from tasks.migrators import Migrator
from tasks.migrators._tool import LockTimeoutBy, Scheme, Tool, Variable


class ToolMigrator(Migrator):
    """Runs a tool of the release, to which the DSN comes in the environment and the limits in ``PGOPTIONS``."""

    directory: RelativePath = "."
    """Where the tool runs, relative to the release's directory; Alembic's ``alembic.ini`` or ``pyproject.toml`` lies
    there."""
    service: ServiceName = ""
    """The service of the platform (``compose``) of which each command of the tool gets a container of its own, made of
    the release's image and removed afterwards; on golive's machine if empty. The release's code is there at its own
    path, and can only be read."""
    dsn_variable: Variable = "DATABASE_URL"
    """The environment variable from which the tool (Alembic: ``env.py``) takes the database's URL."""
    dsn_scheme: Scheme = ""
    """The scheme to give the URL, by which SQLAlchemy chooses its driver; empty leaves it."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Further environment variables; placeholders and references to secrets may stand in their values."""
    lock_timeout_by: LockTimeoutBy = "golive"
    """Who limits the wait for a lock: ``golive`` through PGOPTIONS, or ``release``, whose tool or ``env.py`` does."""

    @property
    def inside(self) -> Within | None:
        """The container in which the tool runs, where it runs in one."""
        return Within(self.service, one_off=True) if self.service else None

    def require_possible(self, target: Target) -> None:
        """Raise `Refused` where the DSN leads through a pooler, or no lock_timeout would reach the database."""
        super().require_possible(target)
        if self.lock_timeout_by == "golive":
            words, shown = self.asking(target)
            self.tool(target).require_limits(words, shown)

    @abstractmethod
    def asking(self, target: Target) -> tuple[Sequence[str], str]:
        """Return a command that only asks the database, and how it is shown."""

    def tool(self, target: Target) -> Tool:
        """Return the tool as it runs for a target."""
        cwd = target.release_dir / self.directory
        return Tool(target, self.limits, cwd, self.dsn_variable, self.dsn_scheme, self.environment, self.inside)
