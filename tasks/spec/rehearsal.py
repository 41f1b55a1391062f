"""The section ``rehearsal`` of the release file: what the rehearsal reviews, and under which load it migrates."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.checks.squawk import Rule
from tasks.domain.kind import Duration, Share, Strict
from tasks.domain.workload import parse


class Review(Strict):
    """How the SQL of the pending migration is judged before it is run, by Squawk."""

    refuse: tuple[Rule, ...] = Field(default=(), examples=[["ban-drop-column", "require-concurrent-index-creation"]])
    """Rules whose findings stop the release, ``syntax-error`` among them; all others are only told."""
    ignore: tuple[Rule, ...] = ("require-lock-timeout", "require-statement-timeout")
    """Rules that do not matter here; by default those that ask for what golive sets itself in each session."""
    program: str = "squawk"
    """The program."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if both := set(self.refuse) & set(self.ignore):
            raise ValueError(f"{', '.join(sorted(both))} is both refused and ignored")
        return self


class UnderLoad(Strict):
    """A load on a copy while the migration runs on it, so that what users would wait for is measured."""

    statements: tuple[str, ...] = Field(
        default=(), examples=[["SELECT * FROM item WHERE id = {1..500}", "UPDATE item SET price = 1 WHERE id = {1..9}"]]
    )
    """SQL statements, one taken at random each time; ``{1..500}`` stands for a random whole number. Without any, rows
    of the largest tables are read by their primary key and updated to what they are."""
    tables: Annotated[int, Field(ge=1, le=50)] = 3
    """Of how many tables, where no statements are given."""
    rate: Annotated[int, Field(ge=1, le=5000)] = 50
    """How many statements are sent each second, whether or not those before have been answered."""
    sessions: Annotated[int, Field(ge=1, le=64)] = 4
    """How many sessions send them."""
    window: Duration = 5.0
    """How long is measured before the migration, and at least from its start on."""
    each: Duration = 10.0
    """``statement_timeout`` of each; what is cancelled by it counts as slow and as an error."""
    p99: Duration | None = None
    """The longest that 99 % of the statements may take while the migration runs, waiting for a session included; more
    stops the release, and too few statements to tell do too."""
    errors: Share | None = None
    """The largest share of statements that may fail while the migration runs; more stops the release."""

    @model_validator(mode="after")
    def _statements_can_be_read(self) -> Self:
        for statement in self.statements:
            parse(statement)
        return self


class Rehearsal(Strict):
    """What the rehearsal does besides migrating the copy up, down and up."""

    review: Review = Review()
    """The review of the migration's SQL."""
    under_load: UnderLoad | None = None
    """The load under which the migration is rehearsed a second time, on a copy of its own; none by default."""
    environment: dict[str, str] = Field(
        default_factory=dict, examples=[{"REDIS_URL": "redis://127.0.0.1:6379/9", "MAIL_URL": "smtp://127.0.0.1:1"}]
    )
    """Variables of the platform that have other values for whatever runs on the copy: queues, caches, mail servers and
    services of others that are production's own. The database is the copy in any case."""
    changes_at_start: Literal["refuse", "tell"] = "refuse"
    """What comes of it if the new version itself changes the schema when it starts on the migrated copy, other than the
    old one does at each start: ``refuse`` stops the release, for no lock of that is measured or limited; ``tell`` lets
    it pass if the old version then passes its checks too."""
