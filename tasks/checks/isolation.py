"""Tenants that share tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held, show
from tasks.domain.errors import AccessDenied, Inconclusive, SqlFailed
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.ports import Session
from tasks.domain.target import Target

_ROLE = "SELECT rolsuper AS superuser, rolbypassrls AS bypasses FROM pg_roles WHERE rolname = %s"


class Isolation(Check):
    """Looks as one tenant after the other whether each sees rows of its own and none of another's."""

    kind: Literal["isolation"] = "isolation"
    """Which kind of check this is."""
    role: Annotated[str, Field(min_length=1, examples=["app"])]
    """The role as which the service queries, by its bare name; golive must be a member of it, or a superuser."""
    setting: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", examples=["app.tenant_id"])]
    """The setting by which the policies know the tenant; it is set for each look, in a transaction rolled back."""
    tenants: Annotated[tuple[str, ...], Field(min_length=2, max_length=20, examples=[["1", "2"]])]
    """Values of the setting for tenants that have rows."""
    query: Annotated[str, Field(min_length=1, examples=["SELECT count(*) FROM orders WHERE tenant_id = %(tenant)s"])]
    """Counts the rows of the tenant ``%(tenant)s``; a percent sign itself is written ``%%``."""
    insert: str | None = Field(default=None, examples=["INSERT INTO orders (tenant_id) VALUES (%(tenant)s)"])
    """Makes a row of the tenant ``%(tenant)s``, in the transaction that is rolled back, so that an empty table can be
    looked at: each tenant must be able to make one of its own and none of another's. By default nothing is written."""
    closed: bool = True
    """Whether nothing may be seen while the setting is not set, or empty."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return whether it makes rows, if only within transactions that are rolled back."""
        return "makes rows in transactions that it rolls back" if self.insert else ""

    def look(self, target: Target) -> Reading:
        """Return who sees whose rows; a tenant that has none leaves it unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=self.insert is None, statement_timeout=self.timeout
        ) as session:
            rows = session.query(_ROLE, (self.role,))
            if not rows:
                return failed(f"role {self.role} is not there")
            if rows[0]["superuser"] or rows[0]["bypasses"]:
                what = "is a superuser" if rows[0]["superuser"] else "has BYPASSRLS"
                return failed(f"role {self.role} {what}: row-level security does not apply to it")
            if refused := self._judge_inserts(session):
                return all_of(refused)
            # The first look comes while the setting was never set in this session, which is null and not empty.
            readings = self._judge_closed(session, None, "without the setting") if self.closed else []
            for tenant in self.tenants:
                readings += self._judge_tenant(session, tenant)
            if self.closed:
                readings += self._judge_closed(session, "", "with the setting empty")
        return all_of(readings)

    def _judge_inserts(self, session: Session) -> list[Reading]:
        """Return what is wrong with the rows that tenants can make and cannot; nothing if they are never made."""
        if self.insert is None:
            return []
        wrong = []
        for tenant in self.tenants:
            for owner in self.tenants:
                session.execute("BEGIN")
                session.execute("SELECT set_config('role', %s, true)", (self.role,))
                try:
                    self._insert(session, tenant, owner)
                    may = True
                except AccessDenied:
                    may = False
                session.execute("ROLLBACK")
                if may is not (tenant == owner):
                    wrong.append(failed(f"tenant {tenant} {'can' if may else 'cannot'} make a row of tenant {owner}"))
        return wrong

    def _insert(self, session: Session, tenant: str, owner: str) -> None:
        session.execute("SELECT set_config(%s, %s, true)", (self.setting, tenant))
        session.execute(self.insert or "", {"tenant": owner})

    def _judge_tenant(self, session: Session, tenant: str) -> list[Reading]:
        seen = self._seen_as(session, tenant)
        own = passed(f"tenant {tenant} sees {seen[tenant]} rows of its own")
        if not seen[tenant]:
            own = unknown(f"tenant {tenant} sees no row of its own, which proves nothing")
        others = {other: count for other, count in seen.items() if other != tenant}
        return [own, *(held(f"{n} rows of tenant {other} = 0", n == 0) for other, n in others.items())]

    def _judge_closed(self, session: Session, value: str | None, how: str) -> list[Reading]:
        try:
            count = sum(self._seen_as(session, value).values())
        except SqlFailed as error:
            # undefined_object: there is no such setting; class 22: an empty text is not an id. Both keep the door shut.
            if error.sqlstate != "42704" and not error.sqlstate.startswith("22"):
                raise
            session.execute("ROLLBACK")
            return [passed(f"{how} the query is refused")]
        return [held(f"{how} {count} rows = 0", count == 0)]

    def _seen_as(self, session: Session, value: str | None) -> dict[str, int]:
        """Return how many rows of each tenant are seen; on an error the transaction is left for the caller to end."""
        session.execute("BEGIN")
        session.execute("SELECT set_config('role', %s, true)", (self.role,))
        if self.insert is not None:
            for tenant in self.tenants:
                self._insert(session, tenant, tenant)
            session.execute("SELECT set_config(%s, '', true)", (self.setting,))
        if value is not None:
            session.execute("SELECT set_config(%s, %s, true)", (self.setting, value))
        seen = {tenant: session.value(self.query, {"tenant": tenant}) for tenant in self.tenants}
        session.execute("ROLLBACK")
        for tenant, count in seen.items():
            if not isinstance(count, int):
                raise Inconclusive(f"the query returned {show(count)} for tenant {tenant}", expected="a number of rows")
        return seen
