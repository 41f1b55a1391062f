"""The commands that take, show, restore and drill backups, without a release."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from deployments.commands import (
    AsJson,
    By,
    Reason,
    System,
    book,
    command,
    connect_prefect,
    print_json,
    require_known,
    settings,
    systems_like,
    tell,
)
from deployments.output import console, say
from tasks.domain.errors import UserError

HANDED_OVER = "GOLIVE_RESTORE_TO"
"""The variable by which a DSN of the command line reaches the flow, whose parameters Prefect keeps in clear."""

AnySystem = Annotated[
    str, typer.Argument(metavar="SYSTEM", help="By default all.", show_default=False, autocompletion=systems_like)
]


@command("backup")
def backup(
    system: System,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="By default the one that serves.", show_default=False)
    ] = "",
    *,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Take a backup of a system's database now and prove it, as a release does."""
    require_known(system, version)
    version = version or _serving(system)
    connect_prefect()
    from deployments import looking
    from deployments import starting as flows

    location = flows.run(flows.backup(system, version, by))
    one = next(one for one in looking.backups_of(book(), system) if one["location"] == location)
    if as_json:
        print_json(one)
        return
    from tasks.domain.units import show_bytes, show_seconds

    say(f"backup {one['id']} of {system}: {one['kind']}, {show_bytes(one['bytes'])}, in {show_seconds(one['took'])}")
    say(f"where: {one['location']}")
    say(f"proven: {looking.proof_of(one)}")


def _serving(system: str) -> str:
    """Return the version that serves; raises `UserError` if none does."""
    from tasks.context import production, site_of, world
    from tasks.spec import loading

    file = loading.load(loading.find_release_file(settings().systems, system))
    target = production(file, settings(), world(), "")
    serving = file.rollout.serving(site_of(file, settings(), target))
    if not serving:
        raise UserError(
            f"no version of {system} serves", do=f"name the version whose data it is: golive backup {system} VERSION"
        )
    return serving


@command("backups")
def backups(system: AnySystem = "", *, as_json: AsJson = False) -> None:
    """List the backups that are kept, what has proven them, and which releases need them."""
    from deployments import looking

    found = looking.backups_of(book(), system or None)
    if system and not found:
        require_known(system)
    if as_json:
        print_json(found)
    elif found:
        console().print(looking.backups_table(found))
    else:
        say(f"no backup of {system}" if system else "no backup yet")


@command("restore")
def restore(
    backup_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, help="The number of the backup, as backups lists it.")
    ],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DSN",
            help="The database: '${env:NAME}', '${file:PATH}', '${block:NAME}', a DSN without a password, or a system.",
            show_default=False,
        ),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace one that is not empty, after a proven safety backup of it.")
    ] = False,
    reason: Reason = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Restore a proven backup into any database; that stays as it is unless all goes well."""
    named = _without_a_secret(to)
    book().evidence.backup(backup_id)
    connect_prefect()
    from deployments import starting as flows

    tell(flows.run(flows.restore(str(backup_id), named, replace, reason, by)), as_json=as_json)


def _without_a_secret(to: str) -> str:
    """Return how the flow is told of the database: by a name, never by a DSN, which may hold a resolved secret.

    Raises `UserError` for a DSN with a password, which every user of the machine could read in the process list.
    """
    from tasks.adapters import dsn as dsns
    from tasks.destination import PATTERN
    from tasks.spec.release_file import REFERENCE

    if re.fullmatch(PATTERN[1:-1], to):
        return to
    given = dsns.options(REFERENCE.sub(_NAMED, to))
    if any(given.get(key, _NAMED) != _NAMED for key in dsns.SECRETS):
        raise UserError(
            "the DSN holds a password, and a command line can be read by everybody on this machine",
            expected="a DSN without one, or a reference to it",
            where="--to",
            do="export it and say --to '${env:NAME}', or write it to a file (0600) and say --to '${file:PATH}', or "
            "leave it out and let libpq find it in ~/.pgpass; and change this one, which has been seen",
        )
    from tasks.context import world

    os.environ[HANDED_OVER] = world().secrets.resolve(to)
    return f"${{env:{HANDED_OVER}}}"


_NAMED = "named"


@command("drill")
def drill(
    system: AnySystem = "",
    *,
    newest_within: Annotated[
        int, typer.Option("--newest-within", metavar="DAYS", min=1, max=3650, help="How old the newest backup may be.")
    ] = 8,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Restore the newest backup of each system once more in a scratch place, and compare all of it."""
    if system:
        require_known(system)
    connect_prefect()
    from deployments import looking
    from deployments import starting as flows

    before = {one["id"]: one["drill"] for one in looking.backups_of(book(), system or None)}
    said = flows.run(flows.restore_drill(system, newest_within, by))
    if as_json:
        drilled = [one for one in looking.backups_of(book(), system or None) if one["drill"] != before.get(one["id"])]
        print_json({"said": said, "backups": drilled})
    else:
        say(said)
