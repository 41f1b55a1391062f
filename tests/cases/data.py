"""Cases of what a database holds."""

from __future__ import annotations

from tests.cases import Cases

TENANTS = {"role": "pg_read_all_data", "setting": "app.tenant", "tenants": ["a", "b"]}

CASES: Cases = {
    "sql": (
        {"query": "SELECT count(*) FROM task", "equals": 1},
        {"query": "SELECT count(*) FROM task", "at_least": 2},
        {"query": "SELECT id FROM task WHERE false", "equals": 1},
    ),
    "explain": (
        {"query": "SELECT FROM task", "table": "task", "seq_scan": True, "min_rows": 1, "within": "10s"},
        {"query": "SELECT FROM task", "table": "task", "min_rows": 1, "index": "idx_task_made"},
        {"query": "SELECT FROM task", "table": "task", "seq_scan": True},
    ),
    "isolation": (
        {**TENANTS, "query": "SELECT count(*) FROM part WHERE tenant = %(tenant)s"},
        {**TENANTS, "query": "SELECT count(*) FROM leak WHERE tenant = %(tenant)s"},
        {**TENANTS, "tenants": ["a", "c"], "query": "SELECT count(*) FROM part WHERE tenant = %(tenant)s"},
    ),
    "orphans": (
        {"child": "part.task", "parent": "task.id"},
        {"child": "part.other", "parent": "task.id"},
        {"child": "nothing.task", "parent": "task.id"},
    ),
    "nulls": (
        {"table": "part", "columns": ["task"]},
        {"table": "part", "columns": ["task", "other"]},
        {"table": "nothing", "columns": ["task"]},
    ),
    "duplicates": (
        {"table": "part", "columns": ["task", "tenant"]},
        {"table": "part", "columns": ["task"]},
        {"table": "nothing", "columns": ["task"]},
    ),
    "future_timestamps": ({"columns": ["task.made"]}, {"columns": ["part.due"]}, {"columns": ["nothing.at"]}),
}
