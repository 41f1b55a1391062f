"""The rehearsal's copy: what the versions run against is what production gets, and never production itself."""

from __future__ import annotations

import os

import pytest

from tasks.domain.errors import ChecksFailed, Inconclusive, Refused
from tests.flows import GROW, SmallSystem
from tests.services import free_port


def rehearse(shop: SmallSystem, version: str) -> str:
    """Rehearse a version whose code nobody has brought yet, and return the way back."""
    return str(shop.phase("rehearse", version))


def test_a_rehearsal_on_an_embedded_server_does_not_send_the_application_to_production(shop):
    # Nothing listens there: whoever goes by the application's own DSN comes to grief.
    shop.write(
        {
            "database.application_dsn": f"postgresql://app@127.0.0.1:{free_port()}/shop",
            "database.scratch": {"place": "embedded"},
        }
    )
    shop.add_version("v2-apart", up={"1_apart": "ALTER TABLE item ADD COLUMN apart text;\n"})
    with shop.untouched():
        assert rehearse(shop, "v2-apart") == "keep"


def test_beside_production_the_application_may_do_on_the_copy_what_it_may_do_in_production(shop, monkeypatch):
    role = f"app_{os.urandom(4).hex()}"
    shop.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'a-long-word'")
    shop.sql(f"GRANT SELECT ON item TO {role}")
    scheme, _, place = shop.dsn.rpartition("@")
    monkeypatch.setenv("APP_DSN", f"{scheme.partition('://')[0]}://{role}:a-long-word@{place}")
    shop.write({"database.application_dsn": "${env:APP_DSN}"})
    shop.add_version("v2-role", up={"1_role": "ALTER TABLE item ADD COLUMN role text;\n"})
    shop.add_version(
        "v2-note", query="SELECT id, text FROM note LIMIT 5", up={"1_note": "ALTER TABLE item ADD COLUMN more text;\n"}
    )
    try:
        with shop.untouched():
            assert rehearse(shop, "v2-role") == "keep"
        with shop.untouched(), pytest.raises(ChecksFailed):  # as it would in production, where note is not granted
            rehearse(shop, "v2-note")
    finally:
        shop.sql(f"DROP OWNED BY {role}")
        shop.sql(f"DROP ROLE {role}")


def test_what_a_bad_way_down_leaves_does_not_decide_how_the_versions_do(shop):
    shop.add_version(
        "v2-bad-down",
        up={"1_grow": GROW},
        down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\nALTER TABLE item DROP COLUMN name;\n"},
    )
    with shop.untouched():
        assert rehearse(shop, "v2-bad-down") == "keep"
    down = shop.ledger.evidence.rehearsal(shop.latest().id).detail["downgrade"]
    assert (down["exact"], down["copied_anew"]) == ("failed", True)


def test_an_exact_way_down_needs_no_second_copy(shop):
    shop.add_version("v2-down", up={"1_grow": GROW}, down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"})
    assert rehearse(shop, "v2-down") == "keep"
    down = shop.ledger.evidence.rehearsal(shop.latest().id).detail["downgrade"]
    assert (down["exact"], down["copied_anew"]) == ("passed", False)


def test_code_that_is_not_what_the_release_was_opened_for_is_refused(shop):
    from tasks.deploy import fetch_code
    from tasks.domain.release import State
    from tasks.driving import advance, open_release

    shop.add_version("v2-changed")
    claim = open_release("shop", "v2-changed", scope="release", mutates=True, started_by="ann", reason="")
    with (shop.home / "versions/v2-changed/service.py").open("a") as file:
        file.write("# one line more than was signed\n")
    try:
        with shop.untouched(), pytest.raises(Refused, match="for which the release was opened and is signed"):
            fetch_code.fn(claim)
    finally:
        advance(claim, State.STOPPED, "the test is over")


def test_a_rollback_after_which_nothing_can_be_judged_goes_to_a_person_while_the_old_version_serves(shop):
    shop.sql("CREATE TABLE flag (id int)")
    checks = shop.file["checks"]["compatibility"]
    one = {"kind": "sql", "name": "flags", "query": "SELECT count(*) FROM flag", "equals": 0}
    shop.write({"checks.compatibility": [*checks, one]})
    shop.add_version("v2-flag", up={"1_flag": "ALTER TABLE item ADD COLUMN flag text;\n"})
    shop.release("v2-flag")
    shop.sql("DROP TABLE flag")
    with pytest.raises(Inconclusive, match="flags"):
        shop.rollback(reason="sold too little")
    assert (shop.latest().state, shop.serving()) == ("needs_person", "v1")
