"""Splitting SQL files into statements, and refusing what golive will not run."""

from __future__ import annotations

import pytest

from tasks.domain.errors import Refused, SqlFailed
from tasks.domain.sql_text import concurrent_index, parse, split

FUNCTION = """CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  SELECT CASE a WHEN 1 THEN 2 ELSE 3 END AS end;
  SELECT (CASE WHEN a > 1 THEN 1 END);
END;"""

WHOLE = {
    "a semicolon in a string": "SELECT 'a;b';",
    "a doubled quote": "SELECT 'it''s; fine';",
    "a backslash in a standard string": r"SELECT '\';",
    "an escaped quote in an escape string": r"SELECT E'it\'s; fine';",
    "an escaped backslash before the end": r"SELECT e'\\';",
    "an escape string that is continued on the next line": "SELECT E'a' -- why\n  'it\\'s; fine';",
    "a Unicode string": r"SELECT U&'d\0061t;a';",
    "a bit string": "SELECT B'01', X'1;F';",
    "a quoted name": 'SELECT 1 AS "a;""b";',
    "a Unicode name": r'SELECT 1 AS U&"d\0061;t";',
    "a dollar quote": "DO $$ BEGIN PERFORM 1; END $$;",
    "a dollar quote with a tag": "DO $a1$ SELECT '$$;'; $a$; $a1$;",
    "a dollar quote with a non-ASCII tag": "SELECT $é$a;b$é$;",
    "a name with dollars": "SELECT a$b$c, d$b$e FROM t;",
    "a positional parameter": "PREPARE p AS SELECT $1, $2;",
    "a line comment": "SELECT 1 -- a; b\n + 2;",
    "a comment after an operator": "SELECT 1 +-- a; b\n 2;",
    "a nested comment": "SELECT /* a; /* b; */ c; */ 1;",
    "a quote in a comment": "SELECT /* it's */ 1 -- it's\n;",
    "comment signs in a string": "SELECT '--', '/*', 2;",
    "a comment sign in a dollar quote": "SELECT $$ /* $$, 2;",
    "a rule with several commands": "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);",
    "a function with a body in SQL": FUNCTION,
    "a procedure with a body in SQL": "CREATE PROCEDURE p() BEGIN ATOMIC DELETE FROM a; DELETE FROM b; END;",
    "a function that is called begin": "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1;';",
    "carriage returns": "SELECT\r\n 1\r\n;",
    "no semicolon at the end": "SELECT 1",
}


@pytest.mark.parametrize("sql", WHOLE.values(), ids=WHOLE.keys())
def test_a_statement_is_not_split_within(sql):
    assert [s.text for s in split(sql)] == [sql]
    assert [s.text for s in split(f"{sql}\n;SELECT 2;")][-1] == "SELECT 2;"


def test_statements_know_the_lines_on_which_they_begin():
    text = "\ufeff-- first\n\nSELECT 1; SELECT\n2;\n/* a\nb */ SELECT $$\n;\n$$;\n;;\n  SELECT 4"
    assert [(s.line, s.text) for s in split(text)] == [
        (3, "SELECT 1;"),
        (3, "SELECT\n2;"),
        (6, "SELECT $$\n;\n$$;"),
        (10, "SELECT 4"),
    ]


def test_comments_alone_are_no_statements():
    assert split("-- a\n/* b; */ ;;\n") == ()


def test_a_function_body_ends_where_its_own_end_stands():
    assert [s.line for s in split(f"{FUNCTION}\nSELECT 1;\n{FUNCTION}")] == [1, 6, 7]


def test_a_long_script_is_split_in_linear_time():
    text = "INSERT INTO t VALUES ('it''s; fine', $$;$$, E'\\'', (1)); -- a;\n" * 20_000
    assert len(split(text)) == 20_000


@pytest.mark.parametrize(
    ("sql", "what", "line"),
    [
        ("SELECT 1;\nSELECT 'a;\n", "string", 2),
        ("SELECT 1;\n\nSELECT $a$ $b$", "string", 3),
        ('SELECT "a', "identifier", 1),
        ("SELECT 1;\n/* /* */", "comment", 2),
        ("SELECT E'\\'", "string", 1),
    ],
)
def test_a_quote_without_end_is_a_syntax_error_with_its_line(sql, what, line):
    with pytest.raises(SqlFailed, match=what) as caught:
        split(sql, "m.sql")
    assert caught.value.where == f"m.sql:{line}"
    assert caught.value.sqlstate == "42601"


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN;",
        "begin work;",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
        "COMMIT;",
        "END;",
        "ROLLBACK;",
        "ABORT",
        "PREPARE TRANSACTION 'a';",
        "\\i other.sql",
        "\\connect other",
        "SELECT 2 \\gexec",
        "COPY t (a, b) FROM STDIN WITH CSV;",
        "COPY t FROM stdin;",
        "CREATE INDEX CONCURRENTLY ON t (a);",
        "-- golive: no transaction",
    ],
)
def test_what_golive_will_not_run_is_refused_with_its_line(sql):
    with pytest.raises(Refused) as caught:
        parse(f"SELECT 1;\n{sql}\n", "m.sql")
    assert caught.value.where == "m.sql:2"


@pytest.mark.parametrize(
    "sql",
    [
        "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a;",
        "COPY t FROM '/tmp/a.csv';",
        "COPY t TO STDOUT;",
        'SELECT "begin";',
        "DO $$ BEGIN NULL; END $$;",
    ],
)
def test_what_only_looks_like_a_transaction_command_is_kept(sql):
    assert parse(sql, "m.sql").transactional


@pytest.mark.parametrize("sql", ["", " \n", "-- nothing yet\n", "-- golive: no transaction\n", "SELECT '\0'", "\ufffd"])
def test_a_file_without_a_statement_or_that_is_not_text_is_refused(sql):
    with pytest.raises(Refused, match=r"m\.sql"):
        parse(sql, "m.sql")


def test_a_file_may_ask_for_no_transaction_before_its_first_statement():
    assert parse("SELECT 1;", "m.sql").transactional
    assert not parse("/* a */\n--golive: No Transaction \nSELECT 1;", "m.sql").transactional
    assert parse("SELECT '\n-- golive: no transaction\n';", "m.sql").transactional


def test_a_directive_that_means_nothing_is_refused():
    with pytest.raises(Refused, match="no transactions"):
        parse("-- golive: no transactions\nSELECT 1;", "m.sql")


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("CREATE INDEX CONCURRENTLY a ON t (b)", ("a", "t")),
        (
            'create unique index concurrently if not exists "A b" on only s . "T" using btree (x)',
            ('"A b"', 's."T"'),
        ),
        ("CREATE /* why */ INDEX CONCURRENTLY\n a -- here\n ON t(b)", ("a", "t")),
        ("CREATE INDEX CONCURRENTLY ON t (b)", None),
        ("CREATE INDEX a ON t (b)", None),
        ("CREATE", None),
        ("REINDEX INDEX CONCURRENTLY a", None),
    ],
)
def test_an_index_that_is_built_concurrently_is_recognised(sql, found):
    index = concurrent_index(split(sql)[0])
    assert (index and (index.name, index.table)) == found
