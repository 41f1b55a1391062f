"""Connection strings: reading them, changing their database, showing them without their secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tasks.domain.errors import UserError

_URI = re.compile(
    r"(?P<scheme>postgres(?:ql)?)(?:\+\w+)?://(?P<authority>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?",
    flags=re.DOTALL,
)
_OPTIONS = pq.Conninfo.parse(b"")
SECRETS = frozenset(o.keyword.decode() for o in _OPTIONS if o.dispchar == b"*") | {
    "scram_client_key",
    "scram_server_key",
}
"""The connection options whose values must never be shown, as libpq marks them."""
ENVIRONMENT: Mapping[str, str] = {o.keyword.decode(): o.envvar.decode() for o in _OPTIONS if o.envvar}
"""The environment variable of each connection option that has one."""


def for_libpq(dsn: str) -> str:
    """Return the DSN as libpq takes it: ``postgresql+psycopg://…``, as SQLAlchemy writes it, loses its driver."""
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", dsn)


def options(dsn: str) -> dict[str, str]:
    """Return the connection options that a DSN sets, its password among them; raises `UserError`."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(for_libpq(dsn)).items()}
    except ProgrammingError:
        # The library's message quotes parts of the DSN, so it is neither shown nor chained.
        raise UserError(
            "the database's DSN cannot be read",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE or 'host=… dbname=…'",
            do="write '@', '/', '?' and '%' within a user, password or database as %40, %2F, %3F and %25",
        ) from None


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database on the same server, in the same notation; raises `UserError`."""
    options(dsn)
    match = _URI.fullmatch(dsn)
    if not match:
        return make_conninfo(dsn, dbname=name)
    query = "&".join(p for p in (match["query"] or "").split("&") if p and not p.startswith("dbname="))
    # libpq takes an empty path as "no name given", and an authority may itself be empty.
    return f"{dsn[: match.end('authority')]}/{quote(name, safe='')}" + (f"?{query}" if query else "")


def name_of(dsn: str) -> str:
    """Return the database that a DSN leads to, with libpq's defaults: PGDATABASE, else the user's name."""
    given = options(dsn)
    defaults = {o.keyword: (o.val or b"").decode() for o in pq.Conninfo.get_defaults()}
    return given.get("dbname") or defaults[b"dbname"] or given.get("user") or defaults[b"user"]


def address_of(dsn: str) -> tuple[str, int]:
    """Return the host and the port that a DSN leads to, with libpq's defaults; of several the first."""
    given = {o.keyword.decode(): (o.val or b"").decode() for o in pq.Conninfo.get_defaults()} | options(dsn)
    host = given.get("hostaddr") or given.get("host") or "127.0.0.1"
    return host.split(",")[0], int((given.get("port") or "5432").split(",")[0])


def login_of(dsn: str) -> tuple[str, str]:
    """Return the user of a DSN, with libpq's default, and the password that it holds, which may be none."""
    given, defaults = options(dsn), {o.keyword: (o.val or b"").decode() for o in pq.Conninfo.get_defaults()}
    return given.get("user") or defaults[b"user"], given.get("password", "")


def with_address(dsn: str, host: str, port: int) -> str:
    """Return the DSN that leads to the same database by another host and port, in the same notation."""
    given = options(dsn)
    match = _URI.fullmatch(dsn)
    if not match:
        kept = {key: value for key, value in given.items() if key != "hostaddr"}
        return make_conninfo("", **kept | {"host": host, "port": str(port)})
    user, at, _place = match["authority"].rpartition("@")
    elsewhere = ("host=", "hostaddr=", "port=")
    query = "&".join(p for p in (match["query"] or "").split("&") if p and not p.startswith(elsewhere))
    tail = dsn[match.end("authority") :].partition("?")[0]
    return f"{dsn[: match.start('authority')]}{user}{at}{host}:{port}{tail}" + (f"?{query}" if query else "")


def redacted(dsn: str) -> str:
    """Return the DSN without any secret; one that cannot be read is not shown at all."""
    try:
        given = options(dsn)
    except UserError:
        return "(a DSN that cannot be read)"
    match = _URI.fullmatch(dsn)
    if not match:
        return make_conninfo("", **{key: value for key, value in given.items() if key not in SECRETS})
    user, at, place = match["authority"].rpartition("@")
    shown = f"{match['scheme']}://{user.partition(':')[0]}{at}{place}"
    if match["database"]:
        shown += f"/{match['database']}"
    query = [p for p in (match["query"] or "").split("&") if p and unquote(p.partition("=")[0]) not in SECRETS]
    return shown + (f"?{'&'.join(query)}" if query else "")
