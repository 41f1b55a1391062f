"""The commands about release files: begin one, check them, print their schema and reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.commands import AsJson, app, command, print_json, settings, systems_like
from deployments.output import note, say, show_error
from tasks.domain.errors import ReleaseFileError, UserError

if TYPE_CHECKING:
    from deployments.beginning.tables import TableSeen


@command("init")
def init(
    what: Annotated[
        str,
        typer.Argument(metavar="DIRECTORY|NAME", help="The service's code, as in . or ./shop; or a system's name."),
    ] = ".",
    *,
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="What the system is called; by default as its directory or project."
        ),
    ] = "",
    dsn: Annotated[
        str,
        typer.Option("--dsn", metavar="REFERENCE", help="Look at a database too: '${env:NAME}' or '${file:PATH}'."),
    ] = "",
    checklist: Annotated[
        Path | None,
        typer.Option("--checklist", metavar="FILE.md", help="Make its checklist.csv from this document too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a release file for a new system: from what its code shows, or for a NAME alone one to be filled in.

    Nothing is overwritten. What the code does not show is marked with FILL IN; the file is valid as it is.
    """
    from deployments import new_system
    from deployments.checklists import import_document, tell_of

    text, seen = "", list[str]()
    if new_system.is_directory(what):
        system, text, seen = _from_code(Path(what), name, dsn)
    else:
        system = what
        if Path(what).is_dir():
            note(f"the directory {what} was not looked at; for that: golive init ./{what}")
    path = new_system.write_release_file(settings().systems, system, text)
    fill_in = _to_fill_in(text)
    if not as_json:
        for line in seen:
            note(f"seen: {line}")
        for one in fill_in:
            say(f"line {one['line']}: {one['text']}")
        say(f"wrote {path}")
    imported = import_document(checklist, path.with_name("checklist.csv")) if checklist is not None else None
    if as_json:
        rows = asdict(imported) if imported else None
        print_json({"system": system, "file": str(path), "seen": seen, "fill_in": fill_in, "checklist": rows})
        return
    if imported:
        tell_of(imported)
    say(f"fill it in, then: golive validate {system}, and golive up to offer it in Prefect's form", "dim")


def _from_code(directory: Path, name: str, dsn: str) -> tuple[str, str, list[str]]:
    """Return a system's name, the text of its release file, and what its code and database showed."""
    from deployments import new_system
    from deployments.beginning.facts import facts_of
    from deployments.beginning.repository import Repository
    from deployments.beginning.writing import text_of
    from tasks.spec import loading

    repository = Repository(directory.expanduser().absolute())
    facts = facts_of(repository, _tables(dsn) if dsn else None)
    system = name or new_system.name_for(facts.title)
    text = text_of(system, facts)
    loading.parse(text, f"the release file begun for {system}")
    return system, text, list(facts.told())


def _to_fill_in(text: str) -> list[dict[str, Any]]:
    from deployments.beginning.draft import FILL_IN

    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if FILL_IN in line and number > 3]
    return [{"line": number, "text": line.strip().removeprefix("# ")} for number, line in lines]


def _tables(dsn: str) -> Sequence[TableSeen]:
    from deployments.beginning.tables import tables_of
    from tasks.context import world
    from tasks.spec.naming_secrets import ADVICE, holds_password

    if holds_password(dsn, dsn=True):
        raise UserError(ADVICE, where="--dsn", do="and change this one, which everybody on this machine could read")
    return tables_of(world(), world().secrets.resolve(dsn))


@command("validate")
def validate(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYSTEM|PATH", help="By default all systems.", show_default=False, autocompletion=systems_like
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check release files; each fault comes with its path and line."""
    from tasks.spec import loading

    systems = settings().systems
    names = what or loading.systems_in(systems)
    if not names:
        raise UserError("no release file", where=str(systems), do="make one with: golive init NAME")
    found = [_validated(systems, name) for name in names]
    if as_json:
        print_json(found)
    else:
        for one in found:
            if one["fault"]:
                show_error(one["fault"])
            else:
                say(f"ok: {one['path']}: {one['system']}, {one['checks']} checks, {one['triggers']} triggers")
    if any(one["fault"] for one in found):
        raise typer.Exit(UserError.exit_code)


def _validated(systems: Path, name: str) -> dict[str, Any]:
    from tasks.spec import loading

    try:
        path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else None
        path = path or loading.find_release_file(systems, name)
        file = loading.load(path)
        if path.name == loading.FILE_NAME and path.absolute().parent.name != file.system:
            raise ReleaseFileError(f"system is {file.system!r}", expected=path.parent.name, where=str(path))
    except UserError as error:
        return {"system": name, "path": None, "checks": None, "triggers": None, "fault": str(error)}
    checks = len(list(file.checks.every()))
    told = {"system": file.system, "path": str(path), "checks": checks, "triggers": len(file.rollback.when)}
    return {**told, "fault": None}


@command("schema")
def schema() -> None:
    """Print the JSON schema of the release file."""
    from deployments.reference import release_file_schema

    typer.echo(json.dumps(release_file_schema(), indent=2, ensure_ascii=False))


@command("reference")
def reference(
    topic: Annotated[
        Literal["release-file", "cli"], typer.Argument(metavar="TOPIC", help="Of what: release-file or cli.")
    ] = "release-file",
) -> None:
    """Print the reference of the release file, or of the command line, as Markdown."""
    from deployments.reference import cli_reference, release_file_reference

    typer.echo(cli_reference(app) if topic == "cli" else release_file_reference(), nl=False)
