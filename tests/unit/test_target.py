from __future__ import annotations

import pytest

from tasks.checks.command import Command
from tasks.domain.errors import ReleaseFileError
from tasks.domain.kind import no_secret_in
from tasks.domain.ports import World
from tasks.domain.target import Target

DSN = "postgresql://an%40a:hidden%2Fword@db.example:5433/shop%20one?sslmode=require"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{db_user} {db_host} {db_port} {db_name}", "an@a db.example 5433 shop one"),
        ("{db_password}", "hidden/word"),
        ("{dsn+psycopg}", f"postgresql+psycopg://{DSN.partition('://')[2]}"),
        ("{dsn}", DSN),
        ("{db_hos} {dsn+}", "{db_hos} {dsn+}"),
    ],
)
def test_a_program_may_be_told_of_the_database_whole_or_in_parts(world: World, text: str, filled: str) -> None:
    assert Target(world, "shop", "v1", dsn=DSN).fill(text) == filled


def test_the_scheme_of_another_driver_is_replaced_and_the_short_one_is_made_whole(world: World) -> None:
    for scheme in ("postgres", "postgresql", "postgresql+asyncpg", "postgres+psycopg2"):
        target = Target(world, "shop", "v1", dsn=f"{scheme}://ana@db/shop")
        assert target.fill("{dsn+psycopg}") == "postgresql+psycopg://ana@db/shop"


def test_what_a_dsn_does_not_hold_is_told(world: World) -> None:
    target = Target(world, "shop", "v1", dsn="host=db dbname=shop user=ana")
    for text in ("{db_password}", "{dsn+psycopg}"):
        with pytest.raises(ReleaseFileError):
            target.fill(text)


@pytest.mark.parametrize("word", ["{dsn}", "--url={dsn+asyncpg}", "-p{db_password}", "${env:SHOP}"])
def test_nothing_secret_of_a_dsn_may_stand_on_a_command_line(word: str) -> None:
    with pytest.raises(ValueError, match="process list"):
        no_secret_in(("psql", word))
    with pytest.raises(ValueError, match="process list"):
        Command(name="x", argv=("psql", word))


def test_the_other_parts_may_stand_there() -> None:
    assert no_secret_in(("psql", "-h", "{db_host}", "{db_name}"))
