"""The step that writes a release's report: an HTML file with plots, a Markdown artifact in Prefect, and a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tasks.acting import act
from tasks.context import ledger, root_of, world
from tasks.domain import filling
from tasks.domain.errors import GoliveError
from tasks.domain.messages import Note, evidence_note, files_of, plots_note
from tasks.domain.release import TERMINAL, State
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Message, Release
from tasks.ledger.record import Record
from tasks.reporting.bundle import PAGE, SHORT, Bundle, bundle_of
from tasks.reporting.cards import figures
from tasks.reporting.facts import facts_of, gather
from tasks.reporting.html import render, write_html, write_whole
from tasks.reporting.markdown import to_markdown
from tasks.reporting.pictures import pictures_of
from tasks.reporting.sections import rows_of_checks, tally
from tasks.reporting.values import ReleaseFacts, masked
from tasks.settings import Settings
from tasks.showing import put_markdown, put_table
from tasks.spec import loading
from tasks.spec.release_file import REFERENCE
from tasks.telling import about


def write_report(release_id: str) -> Path:
    """Write a release's report as a self-contained HTML file and return its path."""
    settings = Settings.from_environment()
    book = ledger(settings)
    path = _place(book, settings, release_id, ".html")
    write_html(gather(book, release_id), path, world().secrets.mask)
    return path


def write_bundle(release_id: str, path: Path | None = None) -> tuple[Path, str]:
    """Write the evidence of a release as one file, put its hash on record, and return the path and the hash."""
    settings = Settings.from_environment()
    book = ledger(settings)
    record = book.record(release_id)
    made = bundle_of(record, _mask_all(record.release.file_text))
    path = path or _place(book, settings, release_id, ".zip")
    _keep(book, made, path)
    return path, made.sha256


def _keep(book: Ledger, made: Bundle, path: Path, tell: Sequence[Note] = ()) -> None:
    write_whole(path, made.data)
    findings = {"sha256": made.sha256, "bytes": len(made.data), "as_of": made.manifest["as_of"], "path": str(path)}
    book.evidence.bundled(made.release, findings, tell=tell)


def _notes(record: Record, made: Bundle, path: Path) -> list[Note]:
    """Return the messages that go with the report of a release that has ended: its bundle's hash, and new plots.

    Nothing is told twice, however often the same report is written.
    """
    if any(row.kind == "evidence" and made.sha256 in row.text for row in record.of(Message)):
        return []
    of = about(record.release)
    shown = {one.data for row in record.of(Message) for one in files_of(row.blocks)}
    if made.facts is None:
        return [evidence_note(of, made.sha256, str(path))]
    told = [(one.name.lower(), "; ".join(filter(None, (one.value, one.note)))) for one in figures(made.facts)]
    plots = [one for one in pictures_of(made.facts) if one.data not in shown]
    note = evidence_note(of, made.sha256, str(path), told, made.facts.not_measured)
    return [note, *([plots_note(of, plots)] if plots else [])]


def _has_ended(row: Release) -> bool:
    return row.scope == "release" and State(row.state) in TERMINAL


def _mask_all(file_text: str) -> Callable[[str], str]:
    """Return what masks every secret that a release file names, not only those that this process has used."""
    for reference in dict.fromkeys(REFERENCE.findall(file_text)):
        if not reference.startswith("${block:"):  # those are known where they were used; Prefect need not be there
            with suppress(GoliveError):
                world().secrets.resolve(reference)
    return cache(world().secrets.mask)


def _place(book: Ledger, settings: Settings, release_id: str, suffix: str) -> Path:
    row = book.releases.get(release_id)
    return root_of(loading.parse(row.file_text, row.file), settings) / "reports" / f"{release_id}{suffix}"


def told_of(release_id: str) -> str:
    """Return in a line how the checklist of a release stands, nothing if it has none."""
    facts = gather(ledger(Settings.from_environment()), release_id)
    return filling.told(facts.checklist) if facts.checklist else ""


@act
def publish_report(release_id: str) -> str:
    """Write a release's report, put its short form into Prefect as an artifact, and return the file's path."""
    return publish(release_id)


def publish(release_id: str) -> str:
    """Write a release's report, with its evidence as a bundle if it has ended, and return the report's path.

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
    book = ledger(settings)
    record = book.record(release_id)
    path = _place(book, settings, release_id, ".html")
    if _has_ended(record.release):
        made = bundle_of(record, _mask_all(record.release.file_text))
        place = path.with_suffix(".zip")
        _keep(book, made, place, _notes(record, made, place))
        page, text, facts = made.files[PAGE], made.files[SHORT].decode(), made.facts
    else:
        facts = masked(facts_of(record), cache(world().secrets.mask))
        page, text = render(facts).encode(), to_markdown(facts)
    write_whole(path, page)
    described = _described(facts) if facts is not None else f"Report of {release_id}"
    put_markdown(release_id, f"{text}\n\nFull report: `{path}`", described)
    if facts is not None and facts.checks:
        put_table(f"{release_id}-checks", rows_of_checks(facts), f"Checks of {release_id}: {tally(facts)}")
    return str(path)


def _described(facts: ReleaseFacts) -> str:
    """Return what Prefect's list of artifacts shows beneath the id: where it went, and what came of it."""
    came = f"{facts.previous} → " if facts.previous else ""
    return f"{facts.system} {came}{facts.version}: {facts.verdict.words.lower()}"
