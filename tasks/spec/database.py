"""What a release file says of the database: how to reach it, by which tools, and where its copies are made."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.domain.docker import Address
from tasks.domain.kind import Strict
from tasks.spec.naming_secrets import Dsn


class Scratch(Strict):
    """Where a backup is restored to prove it, and where a migration is rehearsed."""

    place: Literal["embedded", "same_server", "server"] = "embedded"
    """``embedded``: a throwaway server of golive's own; ``same_server``: beside production; ``server``: another one."""
    dsn: Dsn | None = None
    """The DSN of that other server, as a secret reference; only with ``place: server``."""
    directory: str = "{data}/scratch"
    """Where the embedded server keeps its data."""

    @model_validator(mode="after")
    def _dsn_goes_with_server(self) -> Self:
        if (self.place == "server") != (self.dsn is not None):
            raise ValueError("dsn goes with place: server, and only with it")
        return self


class Tools(Strict):
    """Which of PostgreSQL's client programs are used: pg_dump, pg_restore, pg_basebackup and their kin."""

    directory: Annotated[str, Field(pattern=r"^/", examples=["/usr/lib/postgresql/16/bin"])]
    """The directory on golive's host, or in ``image``, that they lie in; no others are used then."""
    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./:@-]*$|^$", examples=["postgres:17"])] = ""
    """The container image that has them, run by Docker on golive's host; the DSN must name its user then."""
    engine: Address = ""
    """The address of the Docker engine that runs the image; the default one of golive's user if empty."""


class Database(Strict):
    """The system's database."""

    dsn: Annotated[Dsn, Field(examples=["${env:ORDINAUT_DSN}"])]
    """Its DSN, as a secret reference: golive's own role, which may read every table and change the schema."""
    application_dsn: Dsn | None = None
    """The DSN that the application gets as ``{dsn}``, if it is another one."""
    tools: Tools | None = None
    """Which client programs are used; without it those that fit best among all installed, the embedded ones too."""
    scratch: Scratch = Scratch()
    """Where backups are proven and migrations rehearsed."""
