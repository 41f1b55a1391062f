"""Cases of what a database is made of."""

from __future__ import annotations

from tests.cases import NO_DATABASE, Cases

CASES: Cases = {
    "database": ({}, {"at_least": 99}, {"dsn": NO_DATABASE}),
    "table": (
        {"table": "task", "columns": {"made": "timestamptz", "title": {"type": "varchar(20)", "nullable": False}}},
        {"table": "task", "columns": {"metadata": "jsonb"}},
        {"table": "task", "dsn": NO_DATABASE},
    ),
    "index": (
        {"index": "idx_task_made", "table": "task"},
        {"index": "idx_none"},
        {"index": "idx_task_made", "dsn": NO_DATABASE},
    ),
    "constraint": (
        {"table": "part", "type": "foreign_key", "columns": ["task"], "references": "task"},
        {"table": "part", "type": "unique"},
        {"table": "none", "type": "unique"},
    ),
    "policy": ({"tables": ["part"]}, {"tables": ["task"]}, {"column": "no_such_column"}),
    "function": (
        {"function": "twice(int)", "language": "sql", "volatility": "immutable"},
        {"function": "twice", "security_definer": True},
        {"function": "twice", "dsn": NO_DATABASE},
    ),
    "role": (
        {"role": "pg_monitor", "login": False, "member_of": ["pg_read_all_stats"]},
        {"role": "pg_monitor", "grants": [{"table": "task", "may": ["select"]}]},
        {"role": "pg_monitor", "grants": [{"table": "none", "may_not": ["select"]}]},
    ),
    "extension": (
        {"extension": "plpgsql", "at_least": "1.0"},
        {"extension": "plpgsql", "at_least": "99"},
        {"extension": "plpgsql", "dsn": NO_DATABASE},
    ),
    "sequence": (
        {"sequences": ["part_id_seq"]},
        {"sequences": ["none_seq"]},
        {"sequences": ["part_id_seq"], "dsn": NO_DATABASE},
    ),
}
