from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.postgres import Postgres
from tasks.domain.errors import (
    AccessDenied,
    ConnectionLost,
    GoliveError,
    LockNotGranted,
    ServerTrouble,
    SqlFailed,
    TimedOut,
    Unreachable,
    UserError,
)
from tasks.domain.ports import RunningServer

POSTGRES = Postgres()
WEIRD_NAMES = [
    "UPPER",
    "with space",
    'dou"ble',
    "sin'gle",
    "semi;colon",
    "per%cent",
    "sl/ash",
    "a=b",
    "back\\slash",
    "ü",
]


def password_of(dsn: str) -> str:
    return dsn.partition("postgres:")[2].partition("@")[0]


def test_rows_come_as_dictionaries_and_counts_as_numbers(database: str) -> None:
    with POSTGRES.session(database) as session:
        assert session.execute("CREATE TABLE t (a int, b text)") == -1
        assert session.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 3) g") == 3
        assert session.query("SELECT a, b FROM t WHERE a > %s ORDER BY a", (1,)) == [
            {"a": 2, "b": "x"},
            {"a": 3, "b": "x"},
        ]
        assert session.value("SELECT max(a) FROM t WHERE b = %(b)s", {"b": "x"}) == 3
        assert session.value("SELECT a FROM t WHERE false") is None
        assert session.query("DELETE FROM t") == []
        assert session.backend_pid() == session.value("SELECT pg_backend_pid()")
        assert session.server_version == int(session.value("SHOW server_version_num"))


def test_a_percent_sign_needs_no_escape_without_parameters(database: str) -> None:
    with POSTGRES.session(database) as session:
        assert session.value("SELECT 'ab' LIKE 'a%'") is True
        session.script("SELECT 'ab' LIKE 'a%'; SELECT 1;")


def test_a_wrong_password_is_access_denied_and_stays_secret(database: str) -> None:
    wrong = database.replace(password_of(database), "wr0ng-s3cret")
    with pytest.raises(AccessDenied) as caught, POSTGRES.session(wrong):
        pass
    assert "28P01" in str(caught.value)
    assert "wr0ng-s3cret" not in repr(caught.value)
    assert caught.value.where == POSTGRES.redacted(database)
    assert not caught.value.retryable


def test_no_server_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable), POSTGRES.session(f"postgresql://u:p@127.0.0.1:{port}/d"):
            pass


def test_a_server_that_accepts_and_says_nothing_is_unreachable() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with (
            pytest.raises(Unreachable),
            POSTGRES.session(f"postgresql://u:p@127.0.0.1:{mute.getsockname()[1]}/d", connect_timeout=1),
        ):
            pass


def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(Unreachable), POSTGRES.session("host=nowhere.invalid dbname=d user=u"):
        pass


def test_a_missing_database_is_named_with_what_to_do(database: str) -> None:
    with pytest.raises(SqlFailed) as caught, POSTGRES.session(POSTGRES.with_database(database, "not there")):
        pass
    assert caught.value.sqlstate == "3D000"
    assert "create the database" in caught.value.do


def test_too_many_connections_is_passing_trouble(database: str) -> None:
    with POSTGRES.session(database) as session:
        session.execute(f"ALTER DATABASE {POSTGRES.name_of(database)} CONNECTION LIMIT 0")
        role = f"{POSTGRES.name_of(database)}_role"
        session.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        limited = database.replace(f"postgres:{password_of(database)}", f"{role}:x")
        with pytest.raises(ServerTrouble) as caught, POSTGRES.session(limited):
            pass
        assert "53300" in str(caught.value)
        session.execute(f"ALTER DATABASE {POSTGRES.name_of(database)} CONNECTION LIMIT -1")
        session.execute(f"REVOKE CONNECT ON DATABASE {POSTGRES.name_of(database)} FROM public")
        with pytest.raises(AccessDenied, match="42501"), POSTGRES.session(limited):
            pass
        session.execute(f"DROP ROLE {role}")


def test_a_missing_right_is_access_denied(database: str) -> None:
    role = f"{POSTGRES.name_of(database)}_reader"
    with POSTGRES.session(database) as session:
        session.script(f"CREATE ROLE {role}; CREATE TABLE t (a int); SET ROLE {role};")
        with pytest.raises(AccessDenied, match="42501"):
            session.query("SELECT * FROM t")
        session.script(f"RESET ROLE; DROP ROLE {role};")


def test_a_server_killed_amid_a_session_is_a_lost_connection(open_directory: Path) -> None:
    with EmbeddedServers().throwaway(open_directory / "server") as server:
        dsn = server.dsn()
        with POSTGRES.session(dsn) as session:
            postmaster = int((open_directory / "server/data/postmaster.pid").read_text().split()[0])
            ended = threading.Timer(0.3, os.kill, (postmaster, signal.SIGKILL))
            ended.start()
            with pytest.raises(ConnectionLost) as caught:
                session.query("SELECT pg_sleep(20)")
            assert caught.value.retryable
            with pytest.raises(ConnectionLost):
                session.query("SELECT 1")
            with pytest.raises(ConnectionLost), session.transaction():
                session.query("SELECT 1")
            ended.join()
        with pytest.raises(Unreachable), POSTGRES.session(dsn):
            pass


def test_a_terminated_backend_is_a_lost_connection(database: str) -> None:
    with POSTGRES.session(database) as session, POSTGRES.session(database) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (session.backend_pid(),))
        with pytest.raises(ConnectionLost):
            session.query("SELECT pg_sleep(5)")


def test_a_lock_that_is_not_granted_is_told_apart(database: str) -> None:
    with POSTGRES.session(database) as holder, POSTGRES.session(database, lock_timeout=0.05) as waiter:
        holder.execute("CREATE TABLE t (a int)")
        with holder.transaction():
            holder.execute("LOCK TABLE t")
            with pytest.raises(LockNotGranted, match="55P03"):
                waiter.query("SELECT * FROM t")
        assert waiter.query("SELECT * FROM t") == []


def test_a_statement_that_takes_too_long_times_out(database: str) -> None:
    with POSTGRES.session(database, statement_timeout=0.05) as session:
        with pytest.raises(TimedOut, match="57014"):
            session.query("SELECT pg_sleep(5)")
        assert session.value("SELECT 1") == 1


def test_a_read_only_session_refuses_to_write(database: str) -> None:
    with POSTGRES.session(database, read_only=True, application="golive backup") as session:
        with pytest.raises(SqlFailed) as caught:
            session.execute("CREATE TABLE t (a int)")
        assert caught.value.sqlstate == "25006"
        assert session.value("SHOW application_name") == "golive backup"


def test_without_autocommit_a_block_that_ends_well_is_committed(database: str) -> None:
    with POSTGRES.session(database, autocommit=False) as session:
        session.execute("CREATE TABLE kept (a int)")
    with pytest.raises(SqlFailed), POSTGRES.session(database, autocommit=False) as session:  # noqa: PT012
        session.execute("CREATE TABLE lost (a int)")
        session.execute("SELECT 1/0")
    with POSTGRES.session(database) as session:
        assert session.query("SELECT relname FROM pg_class WHERE relname IN ('kept', 'lost')") == [{"relname": "kept"}]


def test_a_script_runs_as_one_and_names_the_line_of_its_error(database: str) -> None:
    text = "-- ü\nCREATE TABLE t (a int);\n\nINSERT INTO t VALUES (1);\nSELECT nothing FROM t;\n"
    with POSTGRES.session(database) as session:
        with pytest.raises(SqlFailed, match=r"line 5: column \"nothing\" does not exist \[42703\]") as caught:
            session.script(text)
        assert caught.value.sqlstate == "42703"
        assert session.value("SELECT to_regclass('t')") is None
        session.script("")
        session.script("-- nothing but a comment")
        session.script("BEGIN; CREATE TABLE t (a int); COMMIT; INSERT INTO t VALUES (1), (2);")
        assert session.value("SELECT count(*) FROM t") == 2


def test_an_error_within_a_block_says_where_and_quotes_no_rows(database: str) -> None:
    with POSTGRES.session(database) as session:
        with pytest.raises(SqlFailed, match="inline_code_block line 3 at RAISE"):
            session.script("DO $$\nBEGIN\n  RAISE EXCEPTION 'no';\nEND $$")
        session.execute("CREATE TABLE t (mail text PRIMARY KEY)")
        with pytest.raises(SqlFailed, match="23505") as caught:
            session.script("INSERT INTO t VALUES ('a@b.c'), ('a@b.c')")
        assert "a@b.c" not in str(caught.value)


def test_a_script_shares_the_callers_transaction(database: str) -> None:
    with POSTGRES.session(database) as session:
        with pytest.raises(SqlFailed), session.transaction():  # noqa: PT012
            session.script("CREATE TABLE a (a int); CREATE TABLE b (a int);")
            session.script("SELECT 1/0;")
        assert session.value("SELECT to_regclass('a')") is None
        with session.transaction():
            session.script("CREATE TABLE a (a int); CREATE TABLE b (a int);")
        assert session.value("SELECT to_regclass('b')::text") == "b"


def test_a_script_that_leaves_a_transaction_open_is_not_taken_for_done(database: str) -> None:
    with POSTGRES.session(database) as session:
        with pytest.raises(SqlFailed, match="left a transaction open"):
            session.script("BEGIN; CREATE TABLE t (a int);")
        with pytest.raises(SqlFailed, match="22012"):
            session.script("BEGIN; SELECT 1/0; COMMIT;")
        assert session.value("SELECT to_regclass('t')") is None


def test_a_script_that_ends_the_callers_transaction_is_an_error(database: str) -> None:
    with (
        POSTGRES.session(database) as session,
        pytest.raises(SqlFailed, match="ended the transaction"),
        session.transaction(),
    ):
        session.script("CREATE TABLE t (a int); COMMIT;")


@pytest.mark.parametrize("name", WEIRD_NAMES)
def test_a_database_of_any_name_is_reached_in_both_notations(pg_server: RunningServer, name: str) -> None:
    uri = POSTGRES.with_database(pg_server.dsn(), name)
    keywords = POSTGRES.with_database("host=127.0.0.1 user=postgres", name)
    assert POSTGRES.name_of(uri) == POSTGRES.name_of(keywords) == name
    keywords += f" port={uri.split('@')[1].split(':')[1].split('/')[0]} password={password_of(uri)}"
    quoted = '"' + name.replace('"', '""') + '"'
    with POSTGRES.session(pg_server.dsn()) as admin:
        admin.execute(f"CREATE DATABASE {quoted}")
        for dsn in (uri, keywords):
            with POSTGRES.session(dsn) as session:
                assert session.value("SELECT current_database()") == name
        admin.execute(f"DROP DATABASE {quoted}")


def test_the_notation_of_sqlalchemy_is_understood_and_kept(database: str) -> None:
    written = database.replace("postgresql://", "postgresql+psycopg://")
    with POSTGRES.session(written) as session:
        assert session.value("SELECT current_database()") == POSTGRES.name_of(written)
    assert POSTGRES.with_database(written, "x y").startswith("postgresql+psycopg://")


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:geheim@h:1/d?sslmode=require", "postgresql://u@h:1/d?sslmode=require"),
        ("postgresql+asyncpg://u:ge%40heim@h/d", "postgresql://u@h/d"),
        ("postgres://h/d?user=u&password=geheim", "postgres://h/d?user=u"),
        ("postgresql://u:geheim@h1:1,h2:2/d", "postgresql://u@h1:1,h2:2/d"),
        ("postgresql://", "postgresql://"),
        ("dbname='a b' password='ge heim' host=h", "dbname='a b' host=h"),
        ("host=h sslpassword=geheim", "host=h"),
        ("geheim geheim", "(a DSN that cannot be read)"),
    ],
)
def test_a_shown_dsn_holds_no_secret(dsn: str, shown: str) -> None:
    assert POSTGRES.redacted(dsn) == shown


@pytest.mark.parametrize(
    ("dsn", "other"),
    [
        ("postgresql://u:p@h:1/d?sslmode=require", "postgresql://u:p@h:1/o%20%2F?sslmode=require"),
        ("postgresql://u:p@h", "postgresql://u:p@h/o%20%2F"),
        ("postgresql:///d?host=/run&dbname=x", "postgresql:///o%20%2F?host=/run"),
        ("password=p dbname=d host=h", "password=p dbname='o /' host=h"),
    ],
)
def test_another_database_keeps_the_rest_of_the_dsn(dsn: str, other: str) -> None:
    assert POSTGRES.with_database(dsn, "o /") == other


def test_a_dsn_that_cannot_be_read_is_the_users_error_and_not_shown() -> None:
    with pytest.raises(UserError) as caught, POSTGRES.session("host=h pass geheim"):
        pass
    error: BaseException | None = caught.value
    assert isinstance(error, GoliveError)
    assert "geheim" not in str(error)
    assert error.__suppress_context__


@pytest.mark.parametrize(
    ("dsn", "address", "moved"),
    [
        ("postgresql://u:p%40@127.0.0.1:6000/d", ("127.0.0.1", 6000), "postgresql://u:p%40@10.0.0.5:7000/d"),
        ("postgresql://u@h/d?sslmode=require&port=6001", ("h", 6001), "postgresql://u@10.0.0.5:7000/d?sslmode=require"),
        ("postgresql://h1:1,h2:2/d", ("h1", 1), "postgresql://10.0.0.5:7000/d"),
        ("host=h port=6002 user=u dbname=d", ("h", 6002), "host=10.0.0.5 port=7000 user=u dbname=d"),
        ("hostaddr=10.1.1.1 port=6003", ("10.1.1.1", 6003), "port=7000 host=10.0.0.5"),
    ],
)
def test_a_dsn_leads_to_the_same_database_by_another_address(dsn: str, address: tuple[str, int], moved: str) -> None:
    assert Postgres().address_of(dsn) == address
    assert sorted(Postgres().with_address(dsn, "10.0.0.5", 7000).split()) == sorted(moved.split())
