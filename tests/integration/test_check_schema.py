from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.checks.constraint import Constraint
from tasks.checks.extension import Extension
from tasks.checks.function import Function
from tasks.checks.index import Index
from tasks.checks.isolation import Isolation
from tasks.checks.policy import Policy
from tasks.checks.role import Role
from tasks.checks.squawk import Squawk
from tasks.checks.table import Table
from tasks.domain.errors import AccessDenied, CommandFailed, Inconclusive, SqlFailed, ToolMissing
from tasks.domain.ports import Session, World
from tasks.domain.target import Target
from tests.looks import F, P, U, look, on_an_older_server_too
from tests.parts import missing


@pytest.fixture
def target(world: World, database: str, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", dsn=database, root=tmp_path, release_dir=tmp_path)


@pytest.fixture
def role(session: Session) -> Iterator[str]:
    """The name of an ordinary role."""
    name = f"Role {secrets.token_hex(4)}"
    session.execute(f'CREATE ROLE "{name}"')
    yield name
    session.script(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_a_default_is_held_against_what_postgresql_writes(target, session):
    session.script(
        "CREATE TABLE t (a text DEFAULT 'new', b int DEFAULT -1, c bool DEFAULT false, d timestamptz DEFAULT now(),"
        " e int GENERATED ALWAYS AS IDENTITY, f varchar(9) DEFAULT 'x', g int, h text[] DEFAULT '{}')"
    )
    right = {"a": "'new'", "b": -1, "c": False, "d": "now()", "e": "identity", "f": "'x'", "g": None, "h": "'{}'"}
    assert look(Table, target, table="t", columns={n: {"default": value} for n, value in right.items()}).outcome is P
    wrong = look(
        Table, target, table="t", columns={"a": {"default": "'old'"}, "d": {"default": None}, "g": {"default": 0}}
    )
    assert wrong.seen == (
        "column a default 'new'::text = 'old': failed; column d default now() = none: failed; "
        "column g default none = 0: failed"
    )


def test_an_index_is_held_against_its_columns_and_method(target, session):
    session.script(
        'CREATE TABLE t (a int, "B c" text, d int[]); CREATE INDEX i ON t (a DESC, lower("B c")) INCLUDE (d)'
    )
    session.script("CREATE INDEX g ON t USING gin (d) WHERE a > 0")
    assert look(Index, target, index="i", columns=["a", 'lower("B c")'], method="btree", partial=False).outcome is P
    assert look(Index, target, index="g", columns=["d"], method="gin", partial=True).outcome is P
    reading = look(Index, target, index="g", columns=["a"], method="gist", partial=False)
    assert reading.seen == "it is over (d) = (a): failed; its method is gin = gist: failed; it is partial: failed"


@on_an_older_server_too
def test_a_constraint_is_held_against_its_type_columns_target_and_rule(target, session):
    session.script(
        "CREATE TABLE p (id int PRIMARY KEY, x int UNIQUE); CREATE SCHEMA s; CREATE TABLE s.p (id int PRIMARY KEY);"
        "CREATE TABLE c (a int, b int, CONSTRAINT to_p FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE,"
        " CONSTRAINT positive CHECK (a > 0 AND b > 0), UNIQUE (a, b), EXCLUDE (b WITH =))"
    )
    for fields in (
        {"table": "p", "type": "primary_key", "columns": ["id"]},
        {"table": "c", "type": "unique", "columns": ["b", "a"]},
        {"table": "c", "type": "exclusion"},
        {"table": "c", "constraint": "positive", "type": "check"},
        {"table": "c", "type": "foreign_key", "columns": ["a"], "references": "public.p", "on_delete": "cascade"},
    ):
        assert look(Constraint, target, **fields).outcome is P, fields
    wrong = look(
        Constraint, target, table="c", constraint="to_p", columns=["b"], references="s.p", on_delete="restrict"
    )
    assert wrong.seen == (
        "to_p is over (a) = (b): failed; to_p leads to p = s.p: failed; to_p on delete cascade = restrict: failed"
    )
    assert look(Constraint, target, table="p", type="foreign_key").seen == "p has no constraint foreign_key"
    assert look(Constraint, target, table="none", type="unique").outcome is U


@on_an_older_server_too
def test_a_constraint_that_does_not_hold_for_the_rows_before_it_fails(target, session):
    session.script(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (-1); ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID"
    )
    assert look(Constraint, target, table="t", constraint="k").seen == "k is not validated: failed"
    assert look(Constraint, target, table="t", constraint="k", validated=False).outcome is P


def test_a_constraint_that_is_not_enforced_fails(target, session):
    if session.server_version < 180000:
        missing("PostgreSQL 18 is needed")
    session.script("CREATE TABLE t (a int, CONSTRAINT k CHECK (a > 0) NOT ENFORCED)")
    assert look(Constraint, target, table="t", constraint="k").seen == "k is not enforced: failed"


def test_a_constraint_must_be_named_or_described():
    for fields in ({"table": "t"}, {"table": "t", "type": "check", "references": "p"}):
        with pytest.raises(ValidationError, match=r"is needed|foreign key"):
            Constraint.model_validate({"name": "it", **fields})


@on_an_older_server_too
def test_tables_without_row_security_or_a_policy_for_a_command_fail(target, session, role):
    session.script(
        f"""CREATE TABLE a (tenant_id int); CREATE TABLE b (tenant_id int); CREATE TABLE c (tenant_id int);
        CREATE TABLE other (id int);
        ALTER TABLE a ENABLE ROW LEVEL SECURITY; ALTER TABLE a FORCE ROW LEVEL SECURITY;
        ALTER TABLE b ENABLE ROW LEVEL SECURITY;
        CREATE POLICY whole ON a USING (tenant_id = 1); CREATE POLICY reading ON b FOR SELECT TO "{role}" USING (true);
        CREATE POLICY narrowing ON b AS RESTRICTIVE USING (true);"""
    )
    reading = look(Policy, target, tables=["a"], forced=True)
    assert reading.outcome is P
    assert "golive's own role postgres bypasses it" in reading.seen
    assert reading.detail["a"][0]["using"] == "(tenant_id = 1)"
    assert look(Policy, target, column="tenant_id", forced=True).seen == (
        "b: it is not forced on the owner: failed; b: no policy for insert, update, delete: failed; "
        "c: row-level security is off: failed; c: it is not forced on the owner: failed; "
        "c: no policy for select, insert, update, delete: failed"
    )
    assert look(Policy, target, tables=["b"], commands=["select"], role=role).outcome is P
    assert look(Policy, target, tables=["b"], commands=["select"], role="pg_monitor").outcome is F
    assert look(Policy, target, tables=["other", "none"], enabled=False).seen == "none is not there: failed"


TENANTS = """
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, tenant int NOT NULL);
INSERT INTO orders (tenant) VALUES (1), (1), (2);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders USING ({rule});
GRANT SELECT ON orders TO "{role}";
"""
COUNT = "SELECT count(*) FROM orders WHERE tenant = %(tenant)s"


@on_an_older_server_too
@pytest.mark.parametrize(
    ("rule", "outcome", "seen"),
    [
        ("tenant = current_setting('app.tenant', true)::int", P, "without the setting 0 rows = 0"),
        ("tenant = current_setting('app.tenant')::int", P, "without the setting the query is refused"),
        ("true", F, "1 rows of tenant 2 = 0: failed"),
        ("tenant = 1", F, "2 rows of tenant 1 = 0: failed"),
        (
            "coalesce(tenant = nullif(current_setting('app.tenant', true), '')::int, true)",
            F,
            "without the setting 3 rows = 0: failed",
        ),
        (
            "current_setting('app.tenant', true) = '' OR tenant::text = current_setting('app.tenant', true)",
            F,
            "with the setting empty 3 rows = 0: failed",
        ),
    ],
    ids=["closed", "refused", "open to all", "one for all", "open when unset", "open when empty"],
)
def test_tenants_are_told_apart_by_what_each_sees(rule, outcome, seen, target, session, role):
    session.script(TENANTS.format(rule=rule, role=role))
    reading = look(Isolation, target, role=role, setting="app.tenant", tenants=["1", "2"], query=COUNT)
    assert reading.outcome is outcome, reading
    assert seen in reading.seen


def test_isolation_is_not_proven_by_a_role_that_bypasses_it_nor_by_a_tenant_without_rows(target, session, role):
    session.script(TENANTS.format(rule="tenant = current_setting('app.tenant', true)::int", role=role))
    fields: dict[str, Any] = {"setting": "app.tenant", "query": COUNT, "closed": False}
    empty = look(Isolation, target, role=role, tenants=["1", "3"], **fields)
    assert (empty.outcome, empty.seen) == (U, "tenant 3 sees no row of its own, which proves nothing: unknown")
    reading = look(Isolation, target, role="postgres", tenants=["1", "2"], **fields)
    assert (reading.outcome, reading.seen) == (
        F, "role postgres is a superuser: row-level security does not apply to it",
    )  # fmt: skip
    session.execute(f'ALTER ROLE "{role}" BYPASSRLS')
    assert "has BYPASSRLS" in look(Isolation, target, role=role, tenants=["1", "2"], **fields).seen
    assert look(Isolation, target, role="nobody here", tenants=["1", "2"], **fields).outcome is F


def test_an_empty_table_is_looked_at_by_rows_that_are_rolled_back(target, session, role):
    mine = "tenant = nullif(current_setting('app.tenant', true), '')::int"
    session.script(TENANTS.format(rule=mine, role=role) + f'DELETE FROM orders; GRANT INSERT ON orders TO "{role}"')
    fields: dict[str, Any] = {"role": role, "setting": "app.tenant", "tenants": ["1", "2"], "query": COUNT}
    assert look(Isolation, target, **fields).outcome is U
    fields["insert"] = "INSERT INTO orders (tenant) VALUES (%(tenant)s)"
    reading = look(Isolation, target, **fields)
    assert (reading.outcome, reading.seen.count("sees 1 rows of its own")) == (P, 2)
    session.execute("CREATE POLICY write ON orders FOR INSERT WITH CHECK (true)")
    open_to_write = look(Isolation, target, **fields)
    assert (open_to_write.outcome, "tenant 1 can make a row of tenant 2" in open_to_write.seen) == (F, True)
    session.script(f'DROP POLICY write ON orders; REVOKE INSERT ON orders FROM "{role}"')
    assert "tenant 2 cannot make a row of tenant 2" in look(Isolation, target, **fields).seen
    session.script(
        f'DROP POLICY own ON orders; CREATE POLICY r ON orders USING (true); GRANT INSERT ON orders TO "{role}"'
    )
    assert look(Isolation, target, **fields).outcome is F
    assert session.value("SELECT count(*) FROM orders") == 0


def test_isolation_that_cannot_be_looked_at_is_no_reading(target, session, role):
    session.script(TENANTS.format(rule="true", role=role))
    fields: dict[str, Any] = {"role": role, "setting": "app.tenant", "tenants": ["1", "2"]}
    with pytest.raises(Inconclusive, match="a number of rows"):
        look(Isolation, target, query="SELECT 'x', %(tenant)s", **fields)
    session.execute(f'REVOKE SELECT ON orders FROM "{role}"')
    with pytest.raises(AccessDenied):
        look(Isolation, target, query=COUNT, **fields)
    with pytest.raises(ValidationError, match="pattern"):
        look(Isolation, target, query=COUNT, **{**fields, "setting": "role"})


@on_an_older_server_too
def test_a_function_is_held_against_how_it_is_declared(target, session):
    session.script(
        "CREATE FUNCTION f(a int) RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public"
        " AS 'SELECT a'; CREATE FUNCTION f(a text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN a; END';"
        "CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'"
    )
    right = {"language": "sql", "volatility": "stable", "security_definer": True, "search_path": True}
    assert look(Function, target, function="public.f(integer)", returns="SETOF integer", **right).outcome is P
    assert look(Function, target, function="f(text)", **right).seen == (
        "language plpgsql = sql: failed; volatility volatile = stable: failed; "
        "it runs with the rights of its invoker: failed; it sets no search_path: failed"
    )
    assert look(Function, target, function="f").seen == "function f is not there, or not the only one of its name"
    assert look(Function, target, function="f(bigint)").outcome is F
    assert look(Function, target, function="p", returns="nothing").outcome is P


@on_an_older_server_too
def test_a_role_is_held_against_its_attributes_groups_and_privileges(target, session, role):
    session.script(
        f'''CREATE TABLE t (a int, b int); CREATE SEQUENCE s; GRANT SELECT ON t TO "{role}";
        GRANT UPDATE (b) ON t TO "{role}"; GRANT pg_monitor TO "{role}"'''
    )
    grants: list[dict[str, Any]] = [
        {"table": "t", "may": ["select"], "may_not": ["insert", "delete", "truncate"]},
        {"sequence": "s", "may_not": ["usage"]},
        {"schema": "public", "may": ["usage"], "may_not": ["create"]},
    ]
    plain = dict.fromkeys(("superuser", "bypass_rls", "login", "create_db", "create_role", "replication"), False)
    groups = {"member_of": ["pg_read_all_stats"], "not_member_of": ["pg_read_all_data"]}
    assert look(Role, target, role=role, grants=grants, **plain, **groups).outcome is P
    wrong = look(Role, target, role=role, login=True, not_member_of=["pg_monitor"], grants=[
        {"table": "t", "may": ["update"], "may_not": ["select"]}, {"table": "t", "may_not": ["update"]},
        {"table": "none", "may": ["select"]}, {"schema": "none", "may_not": ["usage"]},
    ])  # fmt: skip
    for part in (
        f"{role}: login false: failed",
        f"{role} is a member of pg_monitor: failed",
        f"{role} may not update on table t: failed",
        f"{role} may select on table t: failed",
        f"{role} may update on table t: failed",
        "table none is not there: unknown",
        "schema none is not there: unknown",
    ):
        assert part in wrong.seen
    assert look(Role, target, role="postgres", superuser=False).seen == "postgres: superuser true: failed"
    assert look(Role, target, role="nobody here").outcome is F
    with pytest.raises(ValidationError, match="no such privilege on a schema"):
        look(Role, target, role=role, grants=[{"schema": "public", "may": ["select"]}])


def test_an_extension_is_held_against_its_version(target, session):
    assert look(Extension, target, extension="vector").outcome is F
    assert "is not installed" in look(Extension, target, extension="vector").seen
    session.execute("CREATE EXTENSION vector")
    assert look(Extension, target, extension="vector", at_least="0.2").outcome is P
    assert "≥ 0.100: failed" in look(Extension, target, extension="vector", at_least="0.100").seen
    assert look(Extension, target, extension="none").outcome is F


@pytest.fixture
def squawk(world: World) -> None:
    if not world.host.which("squawk"):
        missing("squawk is not installed")


@pytest.mark.usefixtures("squawk")
def test_findings_come_with_rule_file_line_and_a_safer_form(target, tmp_path):
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "1.sql").write_text("-- one\n\nCREATE INDEX i ON t (a);\n")
    (tmp_path / "sql" / "2.sql").write_text("SELECT 1;\nALTER TABLE t ADD COLUMN b varchar(5);\n")
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["require-concurrent-index-creation"]\n')
    reading = look(Squawk, target, files=["sql/*.sql"], deny=["require-concurrent-index-creation"], others="report")
    assert reading.outcome is F
    assert reading.value == 1
    assert "sql/1.sql:3 require-concurrent-index-creation" in reading.seen
    assert "→ Use `concurrently` to avoid blocking writes." in reading.seen
    told = {(finding["rule"], finding["file"], finding["line"]) for finding in reading.detail["findings"]}
    assert ("prefer-text-field", "sql/2.sql", 2) in told
    assert look(Squawk, target, files=["sql/2.sql"], others="report").outcome is P
    rules = {finding["rule"] for finding in reading.detail["findings"]}
    assert look(Squawk, target, files=["sql/*.sql"], allow=sorted(rules)).outcome is P


@pytest.mark.usefixtures("squawk")
def test_sql_that_a_command_prints_is_read_too(target):
    said = "import os; print(os.environ['WHAT'])"
    command = {"argv": ["{python}", "-c", said], "environment": {"WHAT": "DROP TABLE t;"}}
    reading = look(Squawk, target, **command)
    assert reading.outcome is F
    assert "ban-drop-table" in reading.seen
    assert look(Squawk, target, **{**command, "environment": {"WHAT": "-- nothing"}}).outcome is U


@pytest.mark.usefixtures("squawk")
def test_sql_that_is_none_fails_and_a_rule_that_is_none_is_no_reading(target, tmp_path):
    (tmp_path / "1.sql").write_text("SELEC 1;")
    assert "1.sql:1 syntax-error" in look(Squawk, target, files=["1.sql"], others="report").seen
    assert look(Squawk, target, files=["1.sql"], others="report").outcome is F
    with pytest.raises(CommandFailed, match="no-such-rule"):
        look(Squawk, target, files=["1.sql"], allow=["no-such-rule"])


def test_without_squawk_or_without_sql_nothing_is_known(target, tmp_path):
    (tmp_path / "1.sql").write_text("SELECT 1;")
    (tmp_path / "empty.sql").write_text("-- nothing\n")
    with pytest.raises(ToolMissing):
        look(Squawk, target, files=["1.sql"], program="no-such-program")
    for file in ("empty.sql", "none.sql", "*.none"):
        reading = look(Squawk, target, files=["1.sql", file])
        assert (reading.outcome, reading.seen) == (U, f"no SQL in {file}")
    with pytest.raises(ValidationError, match="process list"):
        look(Squawk, target, argv=["alembic", "{dsn}"])


@pytest.mark.parametrize("name", ['t"; DROP TABLE t; --', "t; DROP TABLE t", "100% of t"])
def test_a_strange_name_is_only_a_name(name, target, session):
    session.execute("CREATE TABLE t (a int)")
    for kind, fields in ((Table, {}), (Constraint, {"type": "check"}), (Policy, {})):
        key = {"tables": [name]} if kind is Policy else {"table": name}
        with suppress(SqlFailed):  # from a server that says that it is no name, which is unknown
            assert look(kind, target, **key, **fields).outcome is not P
    assert session.value("SELECT count(*) FROM t") == 0
