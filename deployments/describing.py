"""The commands about release files: begin one, check them, print their schema and reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from deployments.commands import System, app, command, settings
from deployments.output import say, show_error
from tasks.domain.errors import ReleaseFileError, UserError


@command("init")
def init(system: System) -> None:
    """Write a release file for a new system, to be filled in."""
    from deployments.new_system import write_release_file

    path = write_release_file(settings().systems, system)
    say(f"wrote {path}")
    say(f"fill it in, then: golive validate {system}, and golive up to offer it in Prefect's form", "dim")


@command("validate")
def validate(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="SYSTEM|PATH", help="By default all systems.", show_default=False)
    ] = None,
) -> None:
    """Check release files; each fault comes with its path and line."""
    from tasks.spec import loading

    systems = settings().systems
    names = what or loading.systems_in(systems)
    if not names:
        raise UserError("no release file", where=str(systems), do="make one with: golive init NAME")
    bad = 0
    for name in names:
        try:
            path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else None
            path = path or loading.find_release_file(systems, name)
            file = loading.load(path)
            if path.name == loading.FILE_NAME and path.absolute().parent.name != file.system:
                raise ReleaseFileError(f"system is {file.system!r}", expected=path.parent.name, where=str(path))
        except UserError as error:
            bad += 1
            show_error(str(error))
            continue
        checks = len(list(file.checks.every()))
        say(f"ok: {path}: {file.system}, {checks} checks, {len(file.rollback.when)} triggers")
    if bad:
        raise typer.Exit(UserError.exit_code)


@command("schema")
def schema() -> None:
    """Print the JSON schema of the release file."""
    from deployments.reference import release_file_schema

    typer.echo(json.dumps(release_file_schema(), indent=2, ensure_ascii=False))


@command("reference")
def reference(
    topic: Annotated[Literal["release-file", "cli"], typer.Argument(help="Of what.")] = "release-file",
) -> None:
    """Print the reference of the release file, or of the command line, as Markdown."""
    from deployments.reference import cli_reference, release_file_reference

    typer.echo(cli_reference(app) if topic == "cli" else release_file_reference(), nl=False)
