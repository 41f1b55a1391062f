"""Evidence bundles: made from a ledger, held against themselves and against it, and spoiled in every way."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.context import ledger as ledger_of
from tasks.context import world
from tasks.domain import bundle as archive
from tasks.domain.errors import NotFound, NotGenuine
from tasks.domain.messages import files_of, parts_of
from tasks.ledger import models
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Note
from tasks.reporting.bundle import EVIDENCE, bundle_of, on_record, verified
from tests.recorded import SECRET, mask, rolled_back_release, stable_release

SYSTEM = Path(__file__).parents[2] / "deployments" / "systems" / "glad-labs"
FILES = ("checklist.csv", "evidence.json", "manifest.json", "report.html", "report.md")


@pytest.fixture(scope="module")
def recorded(pg_server: Any) -> Iterator[tuple[Ledger, str, bytes]]:
    """A ledger with a release that went well and one that did not, the first one's id, and its bundle."""
    from tests.systems import new_database

    dsn = new_database(pg_server, "bundle_*")
    book = Ledger(dsn)
    book.ensure_ready()
    texts = {
        "file_text": (SYSTEM / "release.yaml").read_text(),
        "checklist_text": (SYSTEM / "checklist.csv").read_text(),
    }
    release_id = stable_release(dsn, book, **texts)
    rolled_back_release(dsn, book, **texts)
    try:
        yield book, release_id, bundle_of(book.record(release_id), mask).data
    finally:
        book.close()


@pytest.fixture
def golive(recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The command line with that ledger."""
    monkeypatch.setenv("GOLIVE_LEDGER_URL", recorded[0].dsn)
    monkeypatch.setenv("GOLIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GOLIVE_SYSTEMS", str(SYSTEM.parent))
    ledger_of.cache_clear()
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    ledger_of.cache_clear()
    world.cache_clear()


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return {name: found.read(name) for name in found.namelist()}


def repacked(files: dict[str, bytes]) -> bytes:
    """Return the archive of some files with the manifest as it is."""
    return archive.archive(files)


def forged(files: dict[str, bytes]) -> bytes:
    """Return a bundle of some files, in which every hash is right again."""
    about = json.loads(files[archive.MANIFEST])
    del about["files"], about["seal"], about["bundle"]
    return archive.pack({name: data for name, data in files.items() if name != archive.MANIFEST}, about)


def faulty(data: bytes) -> list[str]:
    return [fault.file for fault in verified(data).faults]


def test_a_bundle_holds_the_reports_the_evidence_and_the_checklist_filled_in(recorded: Any) -> None:
    _, release_id, data = recorded
    files = contents(data)
    assert tuple(sorted(files)) == FILES
    found = verified(data)
    assert found.faults == ()
    assert found.release == release_id
    figures = found.manifest["figures"]
    assert (figures["verdict"], figures["probes"], figures["failed probes"]) == ("Live and stable", 2800, 8)
    evidence = json.loads(files[EVIDENCE])
    assert {name for name, rows in evidence["rows"].items() if rows} >= {
        *("move", "step", "measurement", "probe", "look", "backup", "baseline", "rehearsal", "approval", "message")
    }
    assert evidence["rows"]["approval"][0]["plan_hash"]
    assert evidence["rows"]["backup"][0]["proof"]["manifest_sha256"]
    rows = files["checklist.csv"].decode().splitlines()
    assert rows[0].startswith("id,phase,section,item,nature,stands,seen")
    assert len(rows) > 100
    assert b"Live and stable" in files["report.html"]
    assert b"Live and stable" in files["report.md"]


def test_the_same_record_makes_the_same_bytes_also_once_people_were_told_of_it(recorded: Any) -> None:
    book, release_id, data = recorded
    assert bundle_of(book.record(release_id), mask).data == data
    findings = {"sha256": archive.digest(data)}
    assert book.evidence.bundled(release_id, findings, tell=[Note("evidence", "made", {})])
    assert not book.evidence.bundled(release_id, findings)
    assert bundle_of(book.record(release_id), mask).data == data
    assert [one.kind for one in book.outbox.messages(release_id)].count("evidence") == 1


def test_no_secret_is_in_a_bundle_and_nothing_that_lets_anybody_sign(recorded: Any) -> None:
    book, _, data = recorded
    nonce, button = "a-nonce-of-a-gate", "a-nonce-in-a-button"
    other = "glad-labs-20261122-0205-m2x8"
    request = Note("request", "sign", {"blocks": [{"value": button}], "nonce": nonce})
    book.releases.tell(other, request)
    with LedgerEngine(book.dsn).transaction() as session:
        session.add(models.GateEvent(release_id=other, gate="go", event="opened", nonce=nonce))
    made = bundle_of(book.record(other), mask).data
    assert b'"gate": "go"' in made
    assert nonce.encode() not in made
    assert button.encode() not in made
    assert SECRET.encode() not in data
    assert "golive:•••@db".encode() in data
    assert b"${env:" in data, "the names of secrets stay"


@pytest.mark.parametrize("name", FILES)
def test_a_byte_changed_in_any_file_is_found_and_named_with_both_hashes(recorded: Any, name: str) -> None:
    data = bytearray(recorded[2])
    with zipfile.ZipFile(io.BytesIO(recorded[2])) as found:
        entry = found.getinfo(name)
    data[entry.header_offset + 30 + len(name) + entry.file_size // 2] ^= 1
    faults = [fault for fault in verified(bytes(data)).faults if fault.file == name]
    assert faults
    if name != archive.MANIFEST:
        assert faults[0].expected.startswith(f"SHA-256 {archive.digest(contents(recorded[2])[name])}")
        assert faults[0].seen.startswith("SHA-256 ")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_named(recorded: Any, name: str) -> None:
    files = contents(recorded[2])
    del files[name]
    assert name in faulty(repacked(files))


def test_a_file_that_was_added_and_files_that_were_exchanged_are_named(recorded: Any) -> None:
    files = contents(recorded[2])
    assert faulty(repacked({**files, "notes.txt": b"all is well"})) == ["notes.txt"]
    swapped = {**files, "report.md": files["report.html"], "report.html": files["report.md"]}
    assert {"report.html", "report.md"} <= set(faulty(repacked(swapped)))


def test_what_stands_outside_the_files_of_an_archive_is_found(recorded: Any) -> None:
    data = recorded[2]
    assert faulty(data + b"more") == ["the archive"]
    assert faulty(data[: len(data) // 2]) == ["the archive"]
    assert faulty(b"") == ["the archive"]
    twice = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as into:
        into.writestr("report.md", b"another one")
    assert "report.md" in faulty(twice.getvalue())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("bomb", b"\0" * 1_000_000)
    assert "bomb" in faulty(packed.getvalue())


def test_a_record_that_was_changed_with_all_hashes_made_right_does_not_agree_with_its_reports(recorded: Any) -> None:
    files = contents(recorded[2])
    evidence = json.loads(files[EVIDENCE])
    evidence["rows"]["probe"] = [row for row in evidence["rows"]["probe"] if row["outcome"] != "failed"]
    files[EVIDENCE] = archive.as_json(evidence)
    found = {fault.file: fault for fault in verified(forged(files)).faults}
    assert (
        found["manifest.json.figures.failed probes"].expected,
        found["manifest.json.figures.failed probes"].seen,
    ) == (
        "0",
        "8",
    )
    assert {"report.html", "report.md"} <= set(found)


def test_a_report_that_was_changed_with_all_hashes_made_right_is_not_what_the_evidence_makes(recorded: Any) -> None:
    files = contents(recorded[2])
    files["report.md"] = files["report.md"].replace(b"Live and stable", b"Live and perfect")
    assert faulty(forged(files)) == ["report.md"]


def test_evidence_that_is_no_record_is_a_fault_and_no_crash(recorded: Any) -> None:
    files = contents(recorded[2])
    for evidence in (b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"rows": {"move": [{}]}, "release": {}, "as_of": "now"}'):
        assert EVIDENCE in faulty(forged({**files, EVIDENCE: evidence}))


def test_a_bundle_that_other_versions_made_is_held_against_its_figures_only(recorded: Any) -> None:
    files = contents(recorded[2])
    manifest = json.loads(files[archive.MANIFEST])
    manifest["made_with"] = {"golive": "0.0.1", "matplotlib": "1", "jinja2": "1"}
    files = {**files, archive.MANIFEST: archive.as_json(manifest), "report.html": b"as it looked then"}
    assert faulty(forged(files)) == []


def test_the_ledger_knows_its_bundles_and_no_other(recorded: Any) -> None:
    book, release_id, data = recorded
    book.evidence.bundled(release_id, {"sha256": archive.digest(data)})
    assert on_record(book, verified(data)).endswith(" UTC")
    files = contents(data)
    evidence = json.loads(files[EVIDENCE])
    with pytest.raises(NotGenuine, match="knows of no bundle"):
        on_record(book, verified(forged({**files, EVIDENCE: archive.as_json({**evidence, "more": 1})})))
    evidence["release"]["id"] = "another-1"
    with pytest.raises(NotFound):
        on_record(book, verified(archive.pack({EVIDENCE: b""}, {"release": "another-1"})))


def test_the_command_line_makes_a_bundle_and_holds_it_against_itself_and_the_ledger(
    recorded: Any, golive: Any, tmp_path: Path
) -> None:
    book, release_id = recorded[0], "glad-labs-20261122-0205-m2x8"
    path = tmp_path / "evidence.zip"
    made = golive("report", release_id, path, "--bundle")
    assert made.exit_code == 0, made.output
    sha256 = archive.digest(path.read_bytes())
    assert f"{sha256}  {path}" in made.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert "evidence" not in {one.kind for one in book.outbox.messages(release_id)}, "a person has asked, and knows"
    for words in ((), ("--against-ledger",)):
        checked = golive("verify", path, *words)
        assert checked.exit_code == 0, checked.output
        assert "ledger: has it on record since" in checked.stdout
    assert "ledger: not asked" in golive("verify", path, "--offline").stdout
    said = json.loads(golive("verify", path, "--json").stdout)
    assert (said["sha256"], said["faults"]) == (sha256, [])

    data = bytearray(path.read_bytes())
    data[data.rindex(b"Rolled back")] ^= 1
    path.write_bytes(data)
    spoiled = golive("verify", path)
    assert spoiled.exit_code == NotGenuine.exit_code
    assert "SHA-256" in spoiled.output


def test_a_release_that_has_ended_is_told_with_the_hash_of_its_bundle_and_with_plots_once(
    recorded: Any, golive: Any, tmp_path: Path
) -> None:
    from tasks.report import publish

    book, release_id = recorded[0], "glad-labs-20261122-0205-m2x8"
    page = Path(publish(release_id))
    assert page.read_bytes() == contents(page.with_suffix(".zip").read_bytes())["report.html"]
    told = {one.kind: one for one in book.outbox.messages(release_id)}
    assert archive.digest(page.with_suffix(".zip").read_bytes()) in told["evidence"].text
    assert "; missing: " in told["evidence"].text
    figures = {one["name"]: one["value"] for one in parts_of(told["evidence"].blocks)[0]["pairs"]}
    assert list(figures) == ["took", "downtime", "failed probes", "way back"]
    shown = files_of(told["plots"].blocks)
    assert [one.data[:8] for one in shown] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert [one.title for one in shown] == ["latency and errors of the probes", "answer times before and now"]
    assert "at most 10% errors" in shown[0].alt
    publish(release_id)
    assert [one.kind for one in book.outbox.messages(release_id)].count("plots") == 1


def test_a_bundle_is_verified_where_there_is_no_ledger(
    recorded: Any, golive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "evidence.zip"
    path.write_bytes(recorded[2])
    monkeypatch.delenv("GOLIVE_LEDGER_URL")
    checked = golive("verify", path)
    assert checked.exit_code == 0, checked.output
    assert "ledger: not asked: there is none here" in checked.stdout
    assert not (tmp_path / "home").exists()
    assert golive("verify", tmp_path / "nothing.zip").exit_code == NotFound.exit_code
    assert golive("report", "x", path).exit_code == 2
