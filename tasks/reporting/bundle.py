"""The evidence of a release as one file: the record, and the reports that are made from it and nothing else."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from importlib.metadata import version
from typing import Any

from tasks.domain import bundle as archive
from tasks.domain import filling
from tasks.domain.bundle import Fault
from tasks.domain.errors import NotGenuine
from tasks.domain.outcome import Outcome
from tasks.ledger.ledger import Ledger
from tasks.ledger.record import BUNDLE, Record, from_values
from tasks.reporting.facts import facts_of
from tasks.reporting.html import render
from tasks.reporting.markdown import to_markdown
from tasks.reporting.values import ReleaseFacts
from tasks.spec.release_file import REFERENCE

EVIDENCE, PAGE, SHORT, ROWS = "evidence.json", "report.html", "report.md", "checklist.csv"
"""The files of a bundle, besides its manifest."""
COLUMNS = ("id", "phase", "section", "item", "nature", "stands", "seen", "by", "when (UTC)", "because", "note")
"""The columns of the checklist that is filled in."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Bundle:
    """A bundle with its hash, its files, what its manifest tells, and what is wrong with it."""

    data: bytes
    sha256: str
    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]
    facts: ReleaseFacts | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def release(self) -> str:
        """The id of the release that it is of."""
        return str(self.manifest.get("release", ""))


def bundle_of(record: Record, mask: Callable[[str], str]) -> Bundle:
    """Return the bundle of a record, in which every text is masked; the same record always makes the same bytes."""
    values = record.before_bundles().values(mask)
    values["release"]["file_text"] = _masked_file(record.release.file_text, mask)
    contents, about, facts = _made_from(archive.as_json(values))
    data = archive.pack(contents, {**about, "made_with": _made_with()})
    files = archive.unpack(data)[0]
    return Bundle(data, archive.digest(data), files, archive.manifest_of(files), facts)


def verified(data: bytes) -> Bundle:
    """Return a bundle with all that is wrong with it, found without anything but itself.

    Where the very versions that made it are at hand, the reports are made once more from the record and held against
    those in it; else only their hashes and the figures are.
    """
    contents, faults = archive.unpack(data)
    if contents:
        faults += archive.faults_in(contents)
        if not faults and archive.archive(contents) != data:
            faults.append(Fault("the archive", "the bytes that its files make", "others stand between or behind them"))
    try:
        manifest = archive.manifest_of(contents)
    except (ValueError, TypeError, RecursionError):
        manifest = {}
    if EVIDENCE in contents and manifest:
        faults += _against_evidence(contents, manifest)
    return Bundle(data, archive.digest(data), contents, manifest, faults=tuple(dict.fromkeys(faults)))


def on_record(book: Ledger, bundle: Bundle) -> str:
    """Return since when the ledger has a bundle on record.

    Raises `NotFound` if it does not know the release at all, and `NotGenuine` if it knows of no such bundle of it.
    """
    book.releases.get(bundle.release)
    known = book.evidence.looks(bundle.release, BUNDLE)
    for one in known:
        if one.findings["sha256"] == bundle.sha256:
            return f"{one.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    hashes = ", ".join(one.findings["sha256"][:16] for one in known[-3:]) or "none at all"
    raise NotGenuine(
        f"the ledger knows of no bundle {bundle.sha256[:16]} of {bundle.release}",
        expected=f"one that it has on record: {hashes}",
        do="take another copy, or find out who has made this one: golive report ID --bundle makes one on record",
    )


def made_elsewhere(manifest: Mapping[str, Any]) -> bool:
    """Tell whether other versions made a bundle, so that its reports cannot be made once more here to the byte."""
    return manifest.get("made_with") != _made_with()


def _against_evidence(contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> list[Fault]:
    try:
        made, about, _ = _made_from(contents[EVIDENCE])
    except Exception as error:  # noqa: BLE001 - whatever a stranger's record does to the reports, it is a fault of it
        return [Fault(EVIDENCE, "the record of a release", f"cannot be read: {type(error).__name__}: {error}")]
    told = {key: manifest.get(key) for key in about}
    faults = archive.differences(about, told, archive.MANIFEST)
    if not made_elsewhere(manifest):
        faults += [
            Fault(
                name, f"what {EVIDENCE} makes, SHA-256 {archive.digest(made[name])}", f"SHA-256 {archive.digest(data)}"
            )
            for name, data in contents.items()
            if name in made and data != made[name]
        ]
    return faults


def _made_from(evidence: bytes) -> tuple[dict[str, bytes], dict[str, Any], ReleaseFacts]:
    """Return the files that the evidence makes, itself among them, what the manifest tells of it, and the facts."""
    record = from_values(json.loads(evidence))
    facts = facts_of(record)
    files = {
        EVIDENCE: evidence,
        PAGE: render(facts).encode(),
        SHORT: to_markdown(facts).encode(),
        ROWS: checklist_csv(facts.checklist).encode(),
    }
    about = {
        "release": facts.id,
        "system": facts.system,
        "version": facts.version,
        "as_of": record.as_of.isoformat(),
        "figures": figures_of(facts),
    }
    return files, about, facts


def _made_with() -> dict[str, str]:
    return {name: version(name) for name in ("golive", "matplotlib", "jinja2")}


def figures_of(facts: ReleaseFacts) -> dict[str, Any]:
    """Return the numbers that a report rests on."""
    looks = Counter[str]()
    for check in facts.checks:
        looks[check.outcome.value] += check.times
    return {
        "verdict": facts.verdict.words,
        "why": facts.verdict.why,
        "state": facts.state,
        "checks": {outcome.value: looks[outcome.value] for outcome in Outcome},
        "probes": facts.probing.counted,
        "failed probes": facts.probing.failed,
        "outages": len(facts.probing.outages),
        "steps": len(facts.steps),
        "signatures": len(facts.signatures),
        "decisions": len(facts.decisions),
        "messages": len(facts.messages),
        "checklist": {standing.value: number for standing, number in filling.tally(facts.checklist).items()},
    }


def checklist_csv(rows: Iterable[filling.Filled]) -> str:
    """Return the checklist filled in, as CSV; no cell is one that a spreadsheet would run."""
    out = io.StringIO(newline="")
    write = csv.writer(out, lineterminator="\n")
    write.writerow(COLUMNS)
    for row in rows:
        seen = "; ".join(one.found.seen for one in row.entries)
        by = "; ".join(one.who for one in row.entries)
        at = f"{row.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if row.at else ""
        cells = (
            row.id,
            row.phase,
            row.section,
            row.item,
            row.nature,
            row.standing,
            seen,
            by,
            at,
            row.because,
            row.note,
        )
        write.writerow([f"'{cell}" if str(cell).startswith(_FORMULA) else str(cell) for cell in cells])
    return out.getvalue()


def _masked_file(text: str, mask: Callable[[str], str]) -> str:
    """Return a release file's text masked, but for the names of secrets, without which it could not be read again."""
    lines = []
    for line in text.splitlines(keepends=True):
        nameless = REFERENCE.sub("", line)
        lines.append(line if mask(nameless) == nameless else mask(line))
    return "".join(lines)
