"""The sums of files: right, and taken again whenever a file may have changed."""

from __future__ import annotations

import hashlib
import os
import time

from tasks.domain.file_sums import sha256, sha256_of


def of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_each_file_has_its_sum(tmp_path):
    paths = [tmp_path / str(number) for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * number)
    assert sha256_of(paths) == {path: of(b"x" * number) for number, path in enumerate(paths)}


def test_a_file_that_is_changed_at_once_is_read_again(tmp_path):
    path = tmp_path / "one"
    for content in (b"before", b"behind", b"beside"):
        path.write_bytes(content)
        assert sha256(path) == of(content)


def test_a_file_that_is_changed_later_is_read_again_even_if_its_time_is_put_back(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"before")
    old = time.time() - 100
    os.utime(path, (old, old))
    time.sleep(0.6)
    assert sha256(path) == of(b"before")
    path.write_bytes(b"behind")
    os.utime(path, (old, old))
    assert sha256(path) == of(b"behind")
