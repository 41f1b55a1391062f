"""Cases of what is looked at on a machine."""

from __future__ import annotations

from tests.cases import NO_DATABASE, Cases

LONG = "x" * 300

CASES: Cases = {
    "command": (
        {"argv": ["{python}", "-c", "print(1)"], "pattern": "^1$"},
        {"argv": ["{python}", "-c", "raise SystemExit(3)"]},
        {"argv": ["no-such-program"]},
    ),
    "environment": (
        {"variables": ["PATH"]},
        {"variables": ["NO_SUCH_VARIABLE"]},
        {"variables": ["PATH"], "file": "{root}/none"},
    ),
    "port_free": (
        {"ports": [1]},
        {"ports": [1], "AROUND": {"ports": True}},
        {"ports": [1], "AROUND": {"absent": True}},
    ),
    "disk": ({"free": "1kB"}, {"free": "1000000TB"}, {"free": "1kB", "path": "{root}/" + LONG}),
    "tools": ({"programs": ["sh"]}, {"programs": ["no-such-program"]}, {"dsn": NO_DATABASE}),
    "squawk": (
        {"files": ["good.sql"], "AROUND": {"program": "squawk"}},
        {"files": ["*.sql"], "AROUND": {"program": "squawk"}},
        {"files": ["none.sql"], "AROUND": {"program": "squawk"}},
    ),
}
