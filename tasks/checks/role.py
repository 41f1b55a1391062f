"""A role of the database server and what it may do."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Strict
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.ports import Session
from tasks.domain.target import Target

Privilege = Literal[
    "select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain", "usage", "create"
]

_ROLE = """
SELECT rolsuper AS superuser, rolbypassrls AS bypass_rls, rolcanlogin AS login, rolcreatedb AS create_db,
       rolcreaterole AS create_role, rolreplication AS replication
FROM pg_roles WHERE rolname = %s
"""
# A privilege on a single column counts as held, so that none that is refused slips through.
_HOLDS = {
    "table": """
        SELECT CASE WHEN %(privilege)s IN ('select', 'insert', 'update', 'references') AND NOT %(whole)s
               THEN has_any_column_privilege(%(role)s, to_regclass(%(name)s)::oid, %(privilege)s)
               ELSE has_table_privilege(%(role)s, to_regclass(%(name)s)::oid, %(privilege)s) END""",
    "sequence": "SELECT has_sequence_privilege(%(role)s, to_regclass(%(name)s)::oid, %(privilege)s)",
    "schema": "SELECT has_schema_privilege(%(role)s, to_regnamespace(%(name)s)::oid, %(privilege)s)",
}
_MEANINGFUL: dict[str, frozenset[str]] = {
    "table": frozenset({"select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain"}),
    "sequence": frozenset({"usage", "select", "update"}),
    "schema": frozenset({"usage", "create"}),
}


class _Grant(Strict):
    """What a role may and may not do with one table, sequence or schema."""

    table: str | None = None
    """The table or view, as in SQL."""
    sequence: str | None = None
    """The sequence, as in SQL."""
    schema_: str | None = Field(default=None, alias="schema")
    """The schema, as in SQL."""
    may: tuple[Privilege, ...] = ()
    """The privileges that it must have, on the whole of it; those of PUBLIC and of its groups count."""
    may_not: tuple[Privilege, ...] = ()
    """The privileges that it must not have, not even on one column."""

    @property
    def on(self) -> tuple[str, str]:
        """What it is on: the type of thing and its name."""
        given = {"table": self.table, "sequence": self.sequence, "schema": self.schema_}
        return next((what, name) for what, name in given.items() if name)

    @model_validator(mode="after")
    def _on_one_thing(self) -> Self:
        if sum(bool(name) for name in (self.table, self.sequence, self.schema_)) != 1:
            raise ValueError("one of table, sequence, schema is needed")
        if wrong := set(self.may + self.may_not) - _MEANINGFUL[self.on[0]]:
            raise ValueError(f"{', '.join(sorted(wrong))}: there is no such privilege on a {self.on[0]}")
        return self


class Role(Check):
    """Looks whether a role is there, with the rights that it needs and without those that it must not have."""

    kind: Literal["role"] = "role"
    """Which kind of check this is."""
    role: Annotated[str, Field(min_length=1, examples=["app"])]
    """The role, by its bare name."""
    superuser: bool | None = None
    """Whether it must be a superuser."""
    bypass_rls: bool | None = None
    """Whether row-level security must not apply to it; a superuser bypasses it in any case."""
    login: bool | None = None
    """Whether it must be able to log in."""
    create_db: bool | None = None
    """Whether it must be able to create databases."""
    create_role: bool | None = None
    """Whether it must be able to create roles."""
    replication: bool | None = None
    """Whether it must be able to replicate."""
    member_of: tuple[str, ...] = ()
    """Roles that it must be a member of, by their bare names; the membership of a group counts."""
    not_member_of: tuple[str, ...] = ()
    """Roles that it must not be a member of; a superuser counts as a member of all."""
    grants: tuple[_Grant, ...] = Field(
        default=(), examples=[[{"table": "public.orders", "may": ["select"], "may_not": ["delete"]}]]
    )
    """What it may and may not do with tables, sequences and schemas."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return which attributes, memberships and privileges are not as they must be."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            rows = session.query(_ROLE, (self.role,))
            if not rows:
                return failed(f"role {self.role} is not there")
            attributes = rows[0]
            readings = [
                held(f"{self.role}: {name} {str(has).lower()}", has == getattr(self, name))
                for name, has in attributes.items()
                if getattr(self, name) is not None
            ]
            for other in (*self.member_of, *self.not_member_of):
                member = session.value("SELECT pg_has_role(%s, %s, 'MEMBER')", (self.role, other))
                words = f"{self.role} is {'' if member else 'not '}a member of {other}"
                readings.append(held(words, member == (other in self.member_of)))
            for grant in self.grants:
                readings += [self._judge(session, grant, privilege, wanted=True) for privilege in grant.may]
                readings += [self._judge(session, grant, privilege, wanted=False) for privilege in grant.may_not]
        return all_of([passed(f"role {self.role} is there"), *readings], detail=attributes)

    def _judge(self, session: Session, grant: _Grant, privilege: Privilege, *, wanted: bool) -> Reading:
        what, name = grant.on
        asked = {"role": self.role, "name": name, "privilege": privilege, "whole": wanted}
        holds = session.value(_HOLDS[what], asked)
        if holds is None:
            return unknown(f"{what} {name} is not there")
        return held(f"{self.role} may {'' if holds else 'not '}{privilege} on {what} {name}", holds == wanted)
