"""Guesses of what an imported row is: its phase, its nature, and a kind of check that could decide it."""

from __future__ import annotations

import re

from tasks.domain.checklist import Nature
from tasks.domain.markdown_checklist import THRESHOLD, Ask, Form


def _table(*pairs: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(words, re.IGNORECASE)) for name, words in pairs)


_PHASES = _table(
    ("rollback", r"roll(?:ing)?[- ]?back|\brevert|abort|back[- ]?out"),
    ("backup", r"back(?:ing)?[- ]?up|snapshot|\bdump"),
    ("signoff", r"sign[- ]?off|approval|\bgo[ /-]*no[- ]?go|signature"),
    ("preflight", r"pre[- ]?(?:deploy|flight|release|migration|launch)|prerequisite|preparation|readiness|before"),
    ("monitor", r"monitor|watch|alert|post[- ]launch|first (?:hour|day|week|24)|24[- ]hour|metrics|capacity"),
    ("health", r"post[- ]?(?:deploy|release|migration)|verif|health|smoke|performance|troubleshoot|validation"),
    ("rehearse", r"rehears|staging|dry[- ]run"),
    ("migrate", r"migrat|schema|alembic|\bddl\b"),
    ("deploy", r"deploy|release|roll[- ]?out|go[- ]live|cut[- ]?over|restart|enable"),
    ("report", r"document|communicat|success criteria|lessons|contacts|appendix|support"),
)
_PERSON = re.compile(
    r"\bapprov|sign[- ]?off|\breview(?:ed)? by|trained|training|stakeholder|notif|announce|communicat|\bteam\b|decide|"
    r"feedback|go[ /-]*no[- ]?go",
    re.IGNORECASE,
)
_ALERT = re.compile(r"\balert(?:s|ed)? (?:if|when|on)\b|^\W*alert\b", re.IGNORECASE)
_DOCUMENT = re.compile(
    r"document(?:ed|ation)?\b|runbook|readme|\bguide\b|changelog|release notes|wiki|report\b", re.IGNORECASE
)
_ACT = re.compile(
    r"^\W*(?:back up|apply|archive|build|clean|configure|copy|create|delete|deploy|disable|drop|enable|install|kill|"
    r"merge|migrate|move|pull|push|remove|restart|restore|revert|roll back|rotate|run migrat|scale|send|set|start|stop|"
    r"switch|tag|take|update|upgrade)\b",
    re.IGNORECASE,
)
_SURE = {Form.SIGNATURE: Nature.PERSON, Form.BLANK: Nature.DOCUMENT}
_TELLING = (
    (Nature.ALERT, _ALERT),
    (Nature.METRIC, THRESHOLD),
    (Nature.PERSON, _PERSON),
    (Nature.DOCUMENT, _DOCUMENT),
    (Nature.ACTION, _ACT),
)
_CHANGES = re.compile(
    r"\b(?:INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|TRUNCATE|GRANT|REVOKE|REINDEX|VACUUM)\b|\b(?:rm|mv|cp|kill|pkill|"
    r"pg_dump|pg_basebackup|pg_restore|createdb|dropdb)\s|git (?:checkout|pull|push|merge|revert|tag|reset)|"
    r"(?:restart|stop|start|reload|enable|up|down|build|upgrade|downgrade|install|apply|scale)\b|<\s*\S+\.sql|"
    r"-f\s+\S+\.sql|backup|restore"
)
_READS = re.compile(r"^(?:[^:]*: )?(?:SELECT|SHOW|EXPLAIN|WITH)\b")

_LATENCY = re.compile(r"[<≤]=?\s*\d+(?:\.\d+)?\s*m?s\b|\d\s*ms\b|seconds?\b")

_STEPS = _table(
    ("restore_database", r"\bpg_restore\b|restore.*\.sh"),
    ("take_backup", r"\bpg_dump\b|\bpg_basebackup\b|back[- ]?up.*\.sh|^\W*back up"),
    ("take_schema_back", r"alembic downgrade"),
    ("migrate_production", r"alembic upgrade|flyway|liquibase|psql\b.*(?:<|-f)\s*\S+\.sql|manage\.py migrate"),
    ("fetch", r"git (?:checkout|pull|clone|fetch)"),
    ("start", r"(?:systemctl|service|supervisorctl)\b.*\b(?:re)?start|docker[- ]compose\b.*\bup\b|uvicorn|gunicorn"),
    ("stop_old", r"(?:systemctl|service|supervisorctl)\b.*\bstop|docker[- ]compose\b.*\b(?:down|stop)\b|\bp?kill\b"),
)
_KINDS = _table(
    ("explain", r"\bEXPLAIN\b|query plan"),
    ("load", r"\b(?:ab|wrk|hey|k6|locust)\s|requests? (?:per|/) ?s|throughput|\bp9[59]\b|concurren|latency"),
    ("http", r"\bcurl\b|\bwget\b|https?://|endpoint|(?-i:\bGET\b|\bPOST\b|\bPUT\b)|/health|\bapi\b|status code"),
    ("alertmanager", r"alertmanager|firing alert|active alert"),
    ("prometheus", r"prometheus|promql"),
    ("grafana", r"grafana|dashboard"),
    ("openapi", r"openapi|swagger"),
    ("kafka", r"kafka|consumer lag"),
    ("redis", r"\bredis\b"),
    ("compose_config", r"compose.*\bconfig|resource limit"),
    ("container", r"docker (?:ps|inspect)|\bcontainers?\b"),
    ("scheduler_jobs", r"scheduled jobs?|scheduler"),
    ("isolation", r"row[- ]level|\brls\b|tenant isolation"),
    ("policy", r"\bpolic(?:y|ies)\b"),
    ("index", r"\bindex(?:es)?\b"),
    ("constraint", r"foreign key|\bconstraint|\bunique\b"),
    ("extension", r"\bextension"),
    ("function", r"\bfunctions?\b.*\b(?:exist|created)|pg_proc"),
    ("sequence", r"\bsequence"),
    ("orphans", r"orphan"),
    ("duplicates", r"duplicate"),
    ("table", r"\btables? (?:exist|created|structure)|\\d[t+]? |\bcolumns?\b|information_schema"),
    ("sql", r"\bpsql\b|\bSELECT\b|\bpg_stat|\brows?\b|row count"),
    ("port_free", r"\bports?\b.*\b(?:free|available|open)"),
    ("disk", r"disk|\bdf -|storage|free space"),
    ("environment", r"environment variable|env(?:ironment)? var|\.env\b|_KEY\b|_URL\b|_TOKEN\b|api key"),
    ("command", r"\bpytest\b|\btests?\b|\bnpm\b|\blint|\bruff\b|\bmypy\b|\bbuild\b|coverage"),
    ("tools", r"client tools|pg_dump version"),
    ("database", r"database (?:connect|reach|access|version)|postgres(?:ql)? version|pg_isready"),
)  # fmt: skip


def phase_of(ask: Ask) -> str:
    """Return the phase that the nearest heading with a telling word suggests, else the item, else preflight."""
    for said in (*reversed(ask.section), ask.item):
        if found := _first(_PHASES, said):
            return found
    return "preflight"


def nature_of(ask: Ask) -> Nature:
    """Return what the item seems to ask for."""
    if ask.form in _SURE:
        return _SURE[ask.form]
    if ask.form in (Form.QUERY, Form.COMMAND):
        changes = not _READS.match(ask.item) if ask.form is Form.QUERY else _CHANGES.search(ask.item)
        return Nature.ACTION if changes else Nature.CHECK
    found = next((nature for nature, words in _TELLING if words.search(ask.item)), None)
    return found or (Nature.METRIC if ask.form is Form.TABLE_ROW else Nature.CHECK)


def how_of(ask: Ask, nature: Nature) -> str:
    """Return what could decide the item: a signature, a part of the report, a step of golive's, or a kind of check."""
    if nature is Nature.PERSON:
        return "signed: a role of sign_off"
    if nature is Nature.ACTION and (step := _first(_STEPS, ask.item)):
        return f"step: {step}"
    if nature is Nature.DOCUMENT and ask.form is Form.BLANK:
        return "document: a part of the report"
    if nature is Nature.METRIC and _LATENCY.search(ask.item):
        return "check: load"
    kind = _first(_KINDS, ask.item) or _first(_KINDS, " ".join(ask.section))
    return f"check: {kind or 'command'}"


def _first(table: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str:
    return next((name for name, words in table if words.search(text)), "")


SUGGESTED_KINDS = frozenset(name for name, _ in _KINDS)
SUGGESTED_STEPS = frozenset(name for name, _ in _STEPS)
