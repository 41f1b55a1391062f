"""The step that writes a release's report: an HTML file with plots, and a Markdown artifact in Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from tasks.acting import act
from tasks.context import ledger, root_of, world
from tasks.domain import filling
from tasks.reporting.facts import gather
from tasks.reporting.html import write_html
from tasks.reporting.markdown import to_markdown
from tasks.settings import Settings
from tasks.spec import loading


def write_report(release_id: str) -> Path:
    """Write a release's report as a self-contained HTML file and return its path."""
    settings = Settings.from_environment()
    book = ledger(settings)
    row = book.releases.get(release_id)
    root = root_of(loading.parse(row.file_text, row.file), settings)
    path = root / "reports" / f"{release_id}.html"
    write_html(gather(book, release_id), path, world().secrets.mask)
    return path


def told_of(release_id: str) -> str:
    """Return in a line how the checklist of a release stands, nothing if it has none."""
    facts = gather(ledger(Settings.from_environment()), release_id)
    return filling.told(facts.checklist) if facts.checklist else ""


@act
def publish_report(release_id: str) -> str:
    """Write a release's report, put its short form into Prefect as an artifact, and return the file's path.

    A report that cannot be written never hides how the release itself came out.
    """
    try:
        return _publish(release_id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the release's own outcome must come through
        told = world().secrets.mask(f"no report of {release_id}: {type(error).__name__}: {error}")
        world().progress(told)
        return told


def _publish(release_id: str) -> str:
    settings = Settings.from_environment()
    path = write_report(release_id)
    if FlowRunContext.get() is not None:
        text = world().secrets.mask(to_markdown(gather(ledger(settings), release_id)))
        create: Any = create_markdown_artifact  # its stub does not know _sync
        create(
            key=release_id,
            markdown=f"{text}\n\nFull report: `{path}`",
            description=f"Report of {release_id}",
            _sync=True,
        )
    return str(path)
