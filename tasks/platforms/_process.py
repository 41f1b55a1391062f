"""What a release file says of a process, whatever keeps it running."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.kind import Argv, Duration, Strict

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""What one of a system's processes is called."""

Environment = dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str]
"""Environment variables by name."""

Role = Literal["web", "background"]
"""Whether a process runs for both versions at a switch, or for one version at a time."""


class Process(Strict):
    """One program of the system, kept running."""

    command: Annotated[Argv, Field(examples=[["{python}", "-m", "uvicorn", "app:app", "--port", "{port}"]])]
    """The program and its arguments, run without a shell; no secrets, because arguments can be read by every user of
    the machine."""
    environment: Environment = Field(default_factory=dict)
    """Environment variables; values may hold ``{port}``, references to secrets, and the database as ``{dsn}``, as
    ``{dsn+psycopg}`` with the scheme of a driver, or in parts: ``{db_host}``, ``{db_port}``, ``{db_user}``,
    ``{db_password}``, ``{db_name}``."""
    directory: str = "{release_dir}"
    """The working directory."""
    stop_wait: Duration = 10.0
    """How long it may take to end after SIGTERM before it is killed."""
    role: Role = "web"
    """``background`` for workers and schedulers, which run for one version at a time; ``web`` for what answers requests
    and runs for both versions at a switch."""
