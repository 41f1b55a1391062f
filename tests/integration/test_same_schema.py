"""Schemas that mean the same, and are worded otherwise by the server that they were restored on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.host import LocalHost
from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.pg_tools import ClientTools
from tasks.adapters.postgres import Postgres
from tests.flows import ON_TITLE, SmallSystem
from tests.systems import without_prefect

IN_PRODUCTION = """
ALTER TABLE item ADD state varchar(9) NOT NULL DEFAULT 'new' CONSTRAINT its_state CHECK (state IN ('new', 'sold'));
CREATE VIEW dear AS SELECT id, price FROM item WHERE price > 100 AND state NOT IN ('sold', 'it''s, [lost]');
CREATE INDEX open ON item (id) WHERE state IN ('new', 'back');
CREATE TABLE sale (at timestamptz NOT NULL DEFAULT '2024-01-01 00:00+00') PARTITION BY RANGE (at);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2024-01-01 00:00+00') TO ('2024-02-01 00:00+00');
"""
UP = """
ALTER TABLE item DROP CONSTRAINT its_state;
ALTER TABLE item ADD CONSTRAINT its_state CHECK (state IN ('new', 'sold', 'back'));
ALTER TABLE item RENAME COLUMN name TO title;
CREATE VIEW cheap AS SELECT id, title FROM item WHERE price < 1 AND state IN ('new', 'back');
"""
DOWN = """
DROP VIEW cheap;
ALTER TABLE item RENAME COLUMN title TO name;
ALTER TABLE item DROP CONSTRAINT its_state;
ALTER TABLE item ADD CONSTRAINT its_state CHECK (state IN ('new', 'sold'));
"""


def test_a_schema_that_another_server_words_otherwise_is_the_one_that_was_rehearsed(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, postgres = EmbeddedServers(), Postgres()
    with (
        without_prefect(),
        servers.throwaway(open_directory / "16", major=16) as production,
        servers.throwaway(open_directory / "18", major=18) as newer,
    ):
        shop = SmallSystem.make(open_directory, production)
        try:
            monkeypatch.setenv("NEWER_DSN", newer.dsn())
            with postgres.session(shop.dsn) as session:
                session.script(IN_PRODUCTION)
                session.execute(f"ALTER DATABASE {postgres.name_of(shop.dsn)} SET timezone = 'Asia/Kolkata'")
            shop.write({"database.scratch": {"place": "server", "dsn": "${env:NEWER_DSN}"}})
            shop.phase("deploy", "v1")
            shop.add_version("v2", query=ON_TITLE, up={"1_rename": UP}, down={"1_rename": DOWN})
            shop.release("v2")
            row = shop.latest()
            rehearsal = shop.ledger.evidence.rehearsal(row.id)
            assert (row.state, shop.serving(), rehearsal and rehearsal.plan) == ("watching", "v2", "downgrade")
            what_differs_is_told(postgres, shop.dsn)
            shop.rollback(reason="it was but a try")
            assert (shop.ledger.releases.get(row.id).state, shop.serving()) == ("rolled_back", "v1")
        finally:
            shop.close()


def what_differs_is_told(postgres: Postgres, dsn: str) -> None:
    """Require that schemas of the system which mean another thing are told apart, whichever way that is found."""
    from tasks.context import context_of
    from tasks.driving import operation
    from tasks.same_schema import what_differs

    tools = ClientTools(LocalHost())
    with operation("rehearse", "shop", "v2") as claim, postgres.session(dsn) as session:
        ctx, version = context_of(claim), 180000
        before = tools.schema(dsn, server_version=version)
        session.execute("CREATE TABLE marker (stray text)")
        after = tools.schema(dsn, server_version=version)
        assert "+CREATE TABLE public.marker (" in what_differs(ctx, before, after, version)
        with_password = f"{before}CREATE USER MAPPING FOR ann SERVER far OPTIONS (\n    password '{{}}'\n);\n"
        one, two = with_password.format("one"), with_password.format("two")
        assert "must not be shown" in what_differs(ctx, one, two, version)
        unreadable = what_differs(ctx, before, f"{before}CREATE TABLE of_a_newer_kind (a no_such_type);\n", version)
        assert "could not be told: " in unreadable
        assert "+CREATE TABLE of_a_newer_kind" in unreadable
        assert "too long" in what_differs(ctx, None, before, version)
        session.execute("DROP TABLE marker")
