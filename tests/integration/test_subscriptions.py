"""A database that subscribes to another's changes: its copies leave that one alone, and are dropped all the same."""

from __future__ import annotations

import socket

import pytest

from tests.flows import SmallSystem


def test_copies_of_a_database_with_a_subscription_go_and_never_connect_to_its_publisher(
    small_system: SmallSystem,
) -> None:
    shop, name = small_system, '"its ""Sub"'
    with socket.create_server(("127.0.0.1", 0)) as publisher:
        shop.sql(
            f"CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port={publisher.getsockname()[1]} user=x' "
            "PUBLICATION everything WITH (connect = false, slot_name = 'of_production')"
        )
        try:
            shop.phase("backup", "v1")
            shop.no_scratch_is_left()
            here = "SELECT subslotname AS slot FROM pg_subscription WHERE subname = 'its \"Sub'"
            assert shop.sql(here) == [{"slot": "of_production"}]
            publisher.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody waits to be let in
                publisher.accept()
        finally:
            shop.sql(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
            shop.sql(f"DROP SUBSCRIPTION {name}")
