"""What may be done to a backup: by a disk, by a hand, and by someone who makes the sums agree with it afterwards."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.domain.archive import MANIFEST
from tasks.domain.file_sums import sums

SUMS, RECORD, TOOL, COPY, CONTENTS = "its sums", "the sum on record", "its tool", "the copy", "the contents"
"""The guards, in the order in which a release meets them."""


@dataclass
class Victim:
    """A copy of a backup that is to be damaged, with an older one of the same database."""

    directory: Path
    kind: str
    older: Path
    files: dict[str, Path]
    """The files that hold the data of the tables by their names, and of the one large object."""
    older_files: dict[str, Path]
    parent: Path | None = None
    """A copy of the older one, where this one builds upon that."""

    @property
    def content(self) -> Path:
        return self.directory / self.kind

    def path(self, name: str) -> Path:
        return self.content / self.files.get(name, Path(name))

    def before(self, name: str) -> Path:
        return self.older / self.kind / self.older_files.get(name, Path(name))

    def write(self, name: str, content: bytes | bytearray) -> None:
        """Give a file other content; it is a new file, since the untouched ones are shared with other cases."""
        self.path(name).unlink()
        self.path(name).write_bytes(content)


Damage = Callable[[Victim], object]


def flipped(name: str, at: float = 0.5) -> Damage:
    def damage(victim: Victim) -> None:
        content = bytearray(victim.path(name).read_bytes())
        content[int((len(content) - 1) * at)] ^= 0x41
        victim.write(name, content)

    return damage


def zeroed(name: str, start: float = 0.25, end: float = 0.75) -> Damage:
    def damage(victim: Victim) -> None:
        content = bytearray(victim.path(name).read_bytes())
        first, last = int(len(content) * start), int(len(content) * end)
        content[first:last] = bytes(last - first)
        victim.write(name, content)

    return damage


def cut(name: str, to: float = 0.5) -> Damage:
    def damage(victim: Victim) -> None:
        content = victim.path(name).read_bytes()
        victim.write(name, content[: int(len(content) * to)])

    return damage


def longer(name: str) -> Damage:
    return lambda victim: victim.write(name, victim.path(name).read_bytes() + b"\0")


def gone(name: str) -> Damage:
    return lambda victim: victim.path(name).unlink()


def dangling(name: str) -> Damage:
    def damage(victim: Victim) -> None:
        victim.path(name).unlink()
        victim.path(name).symlink_to("nowhere")

    return damage


def older(name: str) -> Damage:
    return lambda victim: victim.write(name, victim.before(name).read_bytes())


def swapped(one: str, another: str) -> Damage:
    def damage(victim: Victim) -> None:
        first, second = victim.path(one).read_bytes(), victim.path(another).read_bytes()
        victim.write(one, second)
        victim.write(another, first)

    return damage


def added(name: str) -> Damage:
    return lambda victim: (victim.content / name).write_bytes(b"more")


def rows(change: Callable[[list[bytes]], list[bytes]], name: str = "item") -> Damage:
    """Change the rows of a table within a dump, which stays a well-formed file."""

    def damage(victim: Victim) -> None:
        lines, end, rest = gzip.decompress(victim.path(name).read_bytes()).partition(b"\\.\n")
        changed = b"".join(change(lines.splitlines(keepends=True)))
        victim.write(name, gzip.compress(changed + end + rest))

    return damage


def closed(name: str) -> Damage:
    return lambda victim: victim.path(name).chmod(0)


def manifest(change: Callable[[dict[str, Any]], object] | str | bytes | None) -> Damage:
    """Put other content in place of golive's manifest, or change some of it."""

    def damage(victim: Victim) -> None:
        path = victim.directory / MANIFEST
        held = json.loads(path.read_text())
        path.unlink()
        if callable(change):
            change(held)
            path.write_text(json.dumps(held))
        elif change is not None:
            path.write_bytes(change if isinstance(change, bytes) else change.encode())

    return damage


def replaced(victim: Victim) -> None:
    shutil.rmtree(victim.directory)
    shutil.copytree(victim.older, victim.directory)


def servers_manifest(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the manifest that pg_basebackup wrote, with its own checksum right again."""

    def damage(victim: Victim) -> None:
        held = json.loads(victim.path("backup_manifest").read_text())
        change(held)
        held.pop("Manifest-Checksum")
        text = json.dumps(held, indent=0)[:-2] + ",\n"
        text += f'"Manifest-Checksum": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'
        victim.write("backup_manifest", text.encode())

    return damage


def agreeing(damage: Damage) -> Damage:
    """Do damage and make golive's manifest agree with it."""

    def both(victim: Victim) -> None:
        damage(victim)

        def agree(held: dict[str, Any]) -> None:
            found = (path for path in victim.directory.rglob("*") if path.is_file())
            held["files"] = {str(path.relative_to(victim.directory)): sums(path).sha256 for path in found}

        manifest(agree)(victim)

    return both


def agreeing_all_through(damage: Damage) -> Damage:
    """Do damage and make the server's manifest and golive's agree with it."""

    def agree(victim: Victim) -> Callable[[dict[str, Any]], None]:
        def change(held: dict[str, Any]) -> None:
            listed = [one for one in held["Files"] if (victim.content / one["Path"]).is_file()]
            for one in listed:
                path = victim.content / one["Path"]
                one["Size"], one["Checksum"] = path.stat().st_size, sums(path).crc32c
            held["Files"] = listed

        return change

    def both(victim: Victim) -> None:
        damage(victim)
        servers_manifest(agree(victim))(victim)

    return agreeing(both)


def of_the_parent(damage: Damage) -> Damage:
    """Do damage to the backup that this one builds upon."""

    def below(victim: Victim) -> None:
        assert victim.parent is not None
        damage(replace(victim, directory=victim.parent, files=victim.older_files))

    return below


LARGEST = "the largest file"
PLAIN: dict[str, Damage] = {
    "a bit flipped in the middle": flipped(LARGEST),
    "a bit flipped in the first byte": flipped(LARGEST, 0),
    "a bit flipped in the last byte": flipped(LARGEST, 1),
    "a block of zeros": zeroed("item"),
    "cut in half": cut(LARGEST),
    "one byte cut off": cut(LARGEST, 0.99999),
    "emptied": cut(LARGEST, 0),
    "one byte longer": longer(LARGEST),
    "a file lost": gone(LARGEST),
    "a link to nowhere instead of a file": dangling(LARGEST),
    "a table's file flipped": flipped("item"),
    "a table's file emptied": cut("item", 0),
    "two tables' files swapped": swapped("item", "other"),
    "a table's file of an older backup": older("item"),
    "a table's file lost": gone("item"),
    "a file more": added("9999.dat.gz"),
    "an empty file more": lambda victim: (victim.content / "empty").touch(),
    "a second manifest": added(MANIFEST),
    "the content lost": lambda victim: shutil.rmtree(victim.content),
    "the manifest lost": manifest(None),
    "the manifest cut": lambda victim: manifest((victim.directory / MANIFEST).read_bytes()[:-20])(victim),
    "the manifest emptied": manifest(""),
    "the manifest a list": manifest("[]"),
    "the manifest null": manifest("null"),
    "the manifest without keys": manifest("{}"),
    "the manifest of no files": manifest('{"files": [], "tables": {}}'),
    "the manifest of no tables": manifest('{"files": {}, "tables": 5}'),
    "the manifest of another form": manifest('{"files": "x", "tables": {}}'),
    "the manifest of an older backup": lambda v: manifest((v.older / MANIFEST).read_bytes())(v),
    "all of it lost": lambda victim: shutil.rmtree(victim.directory),
}
"""Damage that any disk or hand may do, to every kind: the sums of the files tell."""

PLAIN_OF: dict[str, dict[str, Damage]] = {
    "dump": {
        "toc.dat flipped": flipped("toc.dat"),
        "toc.dat of an older backup": older("toc.dat"),
        "a blob flipped": flipped("large object"),
        "a blob lost": gone("large object"),
        "a row lost from a dump": rows(lambda lines: lines[1:]),
    },
    "physical": {
        "pg_control flipped": flipped("global/pg_control"),
        "pg_control of an older backup": older("global/pg_control"),
        "backup_manifest flipped": flipped("backup_manifest"),
        "backup_manifest lost": gone("backup_manifest"),
        "backup_manifest of an older backup": older("backup_manifest"),
        "the log flipped": flipped("the log", 0.001),
        "the log cut": cut("the log"),
        "the log lost": gone("the log"),
        "a blob's page zeroed": zeroed("large object", 0, 1),
        "PG_VERSION emptied": cut("PG_VERSION", 0),
        "the commit log lost": lambda victim: shutil.rmtree(victim.content / "pg_xact"),
        "settings edited": lambda victim: victim.write("postgresql.auto.conf", b"archive_command = 'true'\n"),
    },
    "incremental": {
        "backup_manifest of the one before": older("backup_manifest"),
        "what changed in a table lost": gone("item"),
    },
}

# What finds it although the sums agree, if it were not for the sum on record.
EDITED: dict[str, tuple[Damage, str]] = {
    "another hash in the manifest": (
        manifest(lambda held: held["tables"]["public.item"].update(hash="1")), CONTENTS,
    ),
    "a table left out of the manifest": (manifest(lambda held: held["tables"].pop("public.third")), CONTENTS),
    "the whole of an older backup": (replaced, RECORD),
}  # fmt: skip

EDITED_OF: dict[str, dict[str, tuple[Damage, str]]] = {
    "dump": {
        "sums agree with a flip": (agreeing(flipped("item")), COPY),
        "sums agree with zeros": (agreeing(zeroed("item")), COPY),
        "sums agree with a cut": (agreeing(cut("item")), COPY),
        "sums agree with an emptied file": (agreeing(cut("item", 0)), CONTENTS),
        "sums agree with a lost file": (agreeing(gone("item")), COPY),
        "sums agree with swapped tables": (agreeing(swapped("item", "other")), CONTENTS),
        "sums agree with an older file": (agreeing(older("item")), CONTENTS),
        "sums agree with a lost row": (agreeing(rows(lambda lines: lines[1:])), CONTENTS),
        "sums agree with a doubled row": (
            agreeing(rows(lambda lines: [*lines, lines[0].replace(b"1", b"2001", 1)])), CONTENTS,
        ),
        "sums agree with a changed value": (
            agreeing(rows(lambda lines: [lines[0].replace(b"c4ca", b"c4cb"), *lines[1:]])), CONTENTS,
        ),
        "sums agree with all rows lost": (agreeing(rows(lambda _lines: [])), CONTENTS),
        "sums agree with a cut toc.dat": (agreeing(cut("toc.dat")), TOOL),
        "sums agree with an emptied toc.dat": (agreeing(cut("toc.dat", 0)), TOOL),
        "sums agree with another toc.dat": (agreeing(older("toc.dat")), COPY),
        "sums agree with a flipped blob": (agreeing(flipped("large object")), COPY),
        "sums agree with another blob": (
            agreeing(lambda victim: victim.write("large object", gzip.compress(b"another object"))), CONTENTS,
        ),
        "sums agree with no blobs": (agreeing(cut("blobs", 0)), CONTENTS),
        "sums agree with a file more": (agreeing(added("9999.dat.gz")), RECORD),
        "fewer rows in the manifest": (
            manifest(lambda held: held["tables"]["public.item"].update(rows=1999)), CONTENTS,
        ),
        "a table more in the manifest": (
            manifest(lambda held: held["tables"].update(more={"rows": 1, "hash": "1"})), CONTENTS,
        ),
        "another version in the manifest": (manifest(lambda held: held.update(server_version=10000)), RECORD),
        "a sequence elsewhere in the manifest": (
            manifest(lambda held: held["sequences"].update({"public.number": [9, 9]})), CONTENTS,
        ),
    },
    "physical": {
        "sums agree with a flip": (agreeing(flipped("item")), TOOL),
        "sums agree with a cut": (agreeing(cut("item")), TOOL),
        "sums agree with a lost file": (agreeing(gone("item")), TOOL),
        "sums agree with swapped tables": (agreeing(swapped("item", "other")), TOOL),
        "sums agree with an older file": (agreeing(older("item")), TOOL),
        "sums agree with pg_control flipped": (agreeing(flipped("global/pg_control", 0)), TOOL),
        "sums agree with a file more": (agreeing(added("base/more")), TOOL),
        "sums agree with a flipped backup_manifest": (agreeing(flipped("backup_manifest")), TOOL),
        "sums agree with a backup_manifest of no files": (
            agreeing(servers_manifest(lambda held: held.update(Files=[]))), TOOL,
        ),
        "sums agree with a cut log": (agreeing(cut("the log")), TOOL),
        "sums agree with a lost log": (agreeing(gone("the log")), TOOL),
        "sums agree with a log of zeros": (agreeing(zeroed("the log", 0, 1)), COPY),
        "another version in the manifest": (manifest(lambda held: held.update(server_version=10000)), COPY),
        "all sums agree with a flip": (agreeing_all_through(flipped("item")), CONTENTS),
        "all sums agree with an emptied table": (agreeing_all_through(cut("item", 0)), CONTENTS),
        "all sums agree with an older table": (agreeing_all_through(older("item")), CONTENTS),
        "all sums agree with a lost table": (agreeing_all_through(gone("item")), CONTENTS),
        "all sums agree with swapped tables": (agreeing_all_through(swapped("item", "other")), CONTENTS),
        "all sums agree with pg_control flipped": (agreeing_all_through(flipped("global/pg_control", 0)), COPY),
    },
    "incremental": {
        "sums agree with a flip": (agreeing(flipped("item")), TOOL),
        "sums agree with a lost file": (agreeing(gone("item")), TOOL),
        "it names nothing that it builds upon": (manifest(lambda held: held.update(chain=[])), COPY),
        "all sums agree with a flip": (agreeing_all_through(flipped("item")), CONTENTS),
        # Not one that is but cut: at its end pg_combinebackup 18.4 reads on by copy_file_range until its time is over.
        "all sums agree with an emptied file": (agreeing_all_through(cut("item", 0)), COPY),
        "all sums agree with a lost file": (agreeing_all_through(gone("item")), CONTENTS),
    },
}  # fmt: skip

OF_THE_PARENT: dict[str, Damage] = {
    "a flip": of_the_parent(flipped("item")),
    "zeros": of_the_parent(zeroed("item")),
    "a cut": of_the_parent(cut("item")),
    "a lost file": of_the_parent(gone("item")),
    "a file more": of_the_parent(added("more")),
    "its manifest lost": of_the_parent(manifest(None)),
    "sums that agree with a flip": of_the_parent(agreeing(flipped("item"))),
    "all sums agreeing with a flip": of_the_parent(agreeing_all_through(flipped("item"))),
    "all of it lost": of_the_parent(lambda victim: shutil.rmtree(victim.directory)),
}
"""What may be done to the backup that another builds upon; the tool's guard, of the whole chain, tells."""

IN_THE_COPY = {
    "a row lost in the copy": ("DELETE FROM item WHERE n = 7", "INSERT INTO item VALUES (7, md5('7'))"),
    "a row doubled in the copy": ("INSERT INTO item VALUES (0, 'x')", "DELETE FROM item WHERE n = 0"),
    "a value changed in the copy": (
        "UPDATE item SET word = 'x' WHERE n = 7", "UPDATE item SET word = md5('7') WHERE n = 7",
    ),
    "two values swapped in the copy": (
        "UPDATE item SET word = md5((9 - n)::text) WHERE n IN (4, 5)",
        "UPDATE item SET word = md5(n::text) WHERE n IN (4, 5)",
    ),
    "a table renamed in the copy": ("ALTER TABLE third RENAME TO fourth", "ALTER TABLE fourth RENAME TO third"),
    "a table lost in the copy": ("DROP TABLE third", "CREATE TABLE third AS SELECT 3 AS n"),
    "a table more in the copy": ("CREATE TABLE more (n int)", "DROP TABLE more"),
    "a large object changed in the copy": (
        "SELECT lo_put(4711, 2, 'L')", "SELECT lo_put(4711, 2, 'l')",
    ),
}  # fmt: skip
