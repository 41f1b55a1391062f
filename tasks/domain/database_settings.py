"""What a database and its roles are set to: no dump of the contents holds it, and programs depend on it."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.domain.ports import Session
from tasks.domain.relation import literal, quoted

_LISTS = frozenset({"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"})
"""Settings that PostgreSQL keeps as a list whose elements are quoted already."""
_MEANING = frozenset(
    {"search_path", "timezone", "datestyle", "intervalstyle", "default_transaction_isolation", "bytea_output"}
    | {"standard_conforming_strings", "default_text_search_config", "xmloption", "extra_float_digits"}
)
"""Settings by which a statement means something else, or is answered otherwise; those of applications have a dot."""

# The last of a name counts, as the server itself has it: what is set for a role goes before what is for a database.
_IN_FORCE = """
    SELECT unnest(s.setconfig) AS setting FROM pg_db_role_setting s
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = %s))
    ORDER BY s.setrole <> 0, s.setdatabase <> 0
"""


def set_to(setting: str) -> str:
    """Return ``name=value``, as the server keeps a setting, as ALTER … SET takes it."""
    name, _, value = setting.partition("=")
    return f"{quoted(*name.split('.'))} TO {value if name in _LISTS else literal(value)}"


def in_force(session: Session, role: str) -> Sequence[str]:
    """Return what the session's database, or a role, is set to, as far as statements mean something else by it."""
    found = {row["setting"].partition("=")[0]: row["setting"] for row in session.query(_IN_FORCE, (role,))}
    return [setting for name, setting in found.items() if name.lower() in _MEANING or "." in name]
