"""Evidence bundles: files in one archive with a manifest of their hashes, such that whatever is changed shows.

The archive is a ZIP file that stores its files as they are, in one order and without times, so that the same files make
the same bytes anywhere; the bundle's hash is that of these bytes, as ``sha256sum`` prints it. Nothing in it is packed,
so that reading one from a stranger cannot fill the memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MANIFEST = "manifest.json"
FORMAT = 1
"""The form of bundles that this golive writes and reads."""
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_LOCAL_HEADER = 30
_NAME_LENGTHS = 26
_PRIVATE = 0o100600 << 16


@dataclass(frozen=True)
class Fault:
    """What is wrong with a bundle: in which file, what was expected there, and what was seen."""

    file: str
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"{self.file}: {self.seen}; expected {self.expected}"


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def as_json(value: Any) -> bytes:
    """Return a value as JSON, always the same for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def pack(contents: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """Return the bundle of some files, with a manifest that tells of them and of what else is ``about`` them."""
    told = {
        **about,
        "bundle": FORMAT,
        "files": {name: {"bytes": len(data), "sha256": digest(data)} for name, data in contents.items()},
    }
    return archive({**contents, MANIFEST: as_json({**told, "seal": digest(as_json(told))})})


def archive(contents: Mapping[str, bytes]) -> bytes:
    """Return the archive of some files, always the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as into:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _FIRST_DAY)
            entry.create_system, entry.external_attr = 3, _PRIVATE
            into.writestr(entry, contents[name])
    return out.getvalue()


def unpack(data: bytes) -> tuple[dict[str, bytes], list[Fault]]:
    """Return the files of an archive by name, and what is wrong with the archive itself.

    Files are read as they lie there, whatever checksum the archive has of them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            entries = found.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        return {}, [Fault("the archive", "a bundle of golive", f"cannot be read: {error}")]
    faults, contents = [], {}
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            faults.append(Fault(entry.filename, "a file stored as it is", "is packed or encrypted"))
        elif entry.filename in contents:
            faults.append(Fault(entry.filename, "once", "stands twice in the archive"))
        else:
            contents[entry.filename] = _stored(data, entry)
    return contents, faults


def _stored(data: bytes, entry: zipfile.ZipInfo) -> bytes:
    lengths = data[entry.header_offset + _NAME_LENGTHS : entry.header_offset + _LOCAL_HEADER]
    start = entry.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", lengths)) if len(lengths) == 4 else len(data)
    return data[start : start + entry.file_size]


def faults_in(contents: Mapping[str, bytes]) -> list[Fault]:
    """Return how the files differ from what the manifest tells of them, and the manifest from itself."""
    try:
        manifest = manifest_of(contents)
        files = {name: (one["sha256"], one["bytes"]) for name, one in manifest["files"].items()}
        told = {key: value for key, value in manifest.items() if key != "seal"}
        seal, form = str(manifest["seal"]), manifest["bundle"]
    except KeyError as error:
        return [Fault(MANIFEST, f"an entry {error}", "there is none")]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return [Fault(MANIFEST, "a manifest of golive", f"cannot be read: {error}")]
    if form != FORMAT:
        return [Fault(MANIFEST, f"form {FORMAT}", f"form {form!r}, by another golive")]
    faults = []
    if contents[MANIFEST] != as_json(manifest) or digest(as_json(told)) != seal:
        faults.append(
            Fault(MANIFEST, f"what its seal {seal[:16]} is for", f"sealed it would be {digest(as_json(told))[:16]}")
        )
    for name in sorted({*files, *contents} - {MANIFEST}):
        if name not in contents:
            faults.append(Fault(name, f"SHA-256 {files[name][0]}", "is missing"))
        elif name not in files:
            faults.append(Fault(name, "no such file", f"was added, SHA-256 {digest(contents[name])}"))
        elif (digest(contents[name]), len(contents[name])) != files[name]:
            seen = f"SHA-256 {digest(contents[name])} of {len(contents[name])} bytes"
            faults.append(Fault(name, f"SHA-256 {files[name][0]} of {files[name][1]} bytes", seen))
    return faults


def manifest_of(contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest of a bundle; raises `ValueError` or `TypeError` if none can be read."""
    if MANIFEST not in contents:
        raise ValueError("there is none")
    found = json.loads(contents[MANIFEST])
    if not isinstance(found, dict):
        raise TypeError("it is no mapping")
    return found


def differences(expected: Any, seen: Any, where: str) -> list[Fault]:
    """Return where two values of JSON differ, each place with both."""
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        keys = sorted({*expected, *seen})
        return [fault for key in keys for fault in differences(expected.get(key), seen.get(key), f"{where}.{key}")]
    return [] if expected == seen else [Fault(where, _short(expected), _short(seen))]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
