"""The schema of a database as text that is equal for equal schemas, whichever pg_dump wrote it."""

from __future__ import annotations

import re

_VERSIONS = re.compile(r"-- (Dumped (from|by)|Started on|Completed on) .*")
# Sent by every pg_dump of 17 and later, whatever the server.
_SETTING = "SET transaction_timeout = 0;"
# PostgreSQL made the schema itself; that its owner or grants were changed, which are left out here, alone is told.
_PUBLIC = (
    "--\n-- Name: public; Type: SCHEMA; Schema: -; Owner: -\n--\n\n-- *not* creating schema, since initdb creates it\n"
)


def normalised(schema: str) -> str:
    """Return what pg_dump wrote of a schema without what differs between its versions and runs."""
    lines = schema.splitlines()
    key = next((line.removeprefix("\\restrict ") for line in lines if line.startswith("\\restrict ")), None)
    dropped = {_SETTING} | ({f"\\restrict {key}", f"\\unrestrict {key}"} if key else set())
    kept = "\n".join(line for line in lines if line not in dropped and not _VERSIONS.fullmatch(line))
    return re.sub(r"\n{3,}", "\n\n", kept.replace(_PUBLIC, "")).strip() + "\n"
