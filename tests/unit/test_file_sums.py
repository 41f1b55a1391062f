"""The sums of files: right, and taken again whenever a file may have changed."""

from __future__ import annotations

import hashlib
import os
import time

import google_crc32c
import pytest

from tasks.domain import file_sums
from tasks.domain.file_sums import Sums, summed_along, sums, sums_of


def of(content: bytes) -> Sums:
    return Sums(hashlib.sha256(content).hexdigest(), google_crc32c.Checksum(content).digest()[::-1].hex())


def test_the_sums_are_those_that_everybody_takes(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"123456789")
    assert sums(path).crc32c == "839206e3"  # the check value of CRC-32C, E3069283, from its lowest byte on
    assert sums(path).sha256 == "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"


@pytest.mark.parametrize("sync", [False, True])
def test_each_file_has_its_sums(tmp_path, sync):
    paths = [tmp_path / str(number) for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * number)
    assert sums_of(paths, sync=sync) == {path: of(b"x" * number) for number, path in enumerate(paths)}


def test_a_file_that_is_changed_at_once_is_read_again(tmp_path):
    path = tmp_path / "one"
    for content in (b"before", b"behind", b"beside"):
        path.write_bytes(content)
        assert sums(path) == of(content)


def test_a_file_that_is_changed_later_is_read_again_even_if_its_time_is_put_back(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"before")
    old = time.time() - 100
    os.utime(path, (old, old))
    time.sleep(0.6)
    assert sums(path) == of(b"before")
    path.write_bytes(b"behind")
    os.utime(path, (old, old))
    assert sums(path) == of(b"behind")


def wait_until_known(path):
    deadline = time.monotonic() + 30
    while file_sums._key(path.stat()) not in file_sums._KNOWN:
        assert time.monotonic() < deadline, f"the sums of {path} are not taken"
        time.sleep(0.02)


def test_files_are_summed_while_others_are_written_and_again_if_they_change_after_all(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    first, second = below / "first", below / "second"
    with summed_along(tmp_path):
        first.write_bytes(b"before")
        second.write_bytes(b"stays")
        wait_until_known(first)
        wait_until_known(second)
        first.write_bytes(b"behind")
        (below / "last").write_bytes(b"last")
    assert sums_of([first, second, below / "last"]) == {
        first: of(b"behind"),
        second: of(b"stays"),
        below / "last": of(b"last"),
    }


def test_what_vanishes_while_sums_are_taken_along_holds_nobody_up(tmp_path):
    gone, kept = tmp_path / "gone", tmp_path / "kept"
    gone.mkdir()
    (gone / "one").write_bytes(b"one")
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    with pytest.raises(ZeroDivisionError), summed_along(tmp_path):  # noqa: PT012
        wait_until_known(gone / "one")
        (gone / "one").unlink()
        gone.rmdir()
        kept.write_bytes(b"kept")
        wait_until_known(kept)
        raise ZeroDivisionError
