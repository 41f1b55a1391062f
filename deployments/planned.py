"""The command that tells what a release would do."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import Any

import typer

from deployments.commands import AsJson, System, Version, command, connect_prefect, print_json, require_known, settings
from deployments.output import console, masked


@command("plan")
def plan(system: System, version: Version, *, as_json: AsJson = False) -> None:
    """Tell what a release would do, step by step, touching what, without changing anything."""
    require_known(system, version)
    with TemporaryDirectory(prefix="golive-prefect-") as nowhere:
        found = _found(system, version, nowhere)
    if as_json:
        print_json(found)
        return
    from tasks.reporting.plan import to_markdown

    text = masked(to_markdown(found))
    if not (screen := console()).is_terminal:
        typer.echo(text, nl=False)
        return
    from rich.markdown import Markdown

    screen.print(Markdown(text))


def _found(system: str, version: str, nowhere: str) -> dict[str, Any]:
    _prepare_prefect(system, nowhere)
    from deployments.serving import running_ledger
    from flows.release import BACK, PHASES
    from tasks.planning import plan_of

    return plan_of(system, version, PHASES, BACK, running_ledger(settings()))


def _prepare_prefect(system: str, nowhere: str) -> None:
    """Let Prefect be imported without a server or files of its own, unless a secret of the release file lies there."""
    from tasks.spec.loading import find_release_file, read_text

    if "${block:" in read_text(find_release_file(settings().systems, system)):
        connect_prefect()
    os.environ.setdefault("PREFECT_HOME", nowhere)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
