"""Stores for backups: a server that speaks S3 on loopback, and backups of a few files to be kept there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import s3fs
from moto.server import ThreadedMotoServer
from pyrage import x25519

from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.ports import World


@dataclass
class LocalS3:
    """A store that speaks S3, with an empty bucket."""

    server: ThreadedMotoServer
    bucket: str

    @property
    def options(self) -> dict[str, Any]:
        """What golive needs to reach it."""
        host, port = self.server.get_host_and_port()
        client = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
        return {"key": "AKIAGOLIVETESTS", "secret": "the-secret-of-the-store", "client_kwargs": client}

    @cached_property
    def direct(self) -> s3fs.S3FileSystem:
        """The store as someone else reaches it."""
        return s3fs.S3FileSystem(**self.options, skip_instance_cache=True, use_listings_cache=False)

    @property
    def impatient(self) -> dict[str, Any]:
        """What golive needs to reach it, without trying again for long."""
        return {**self.options, "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2}}

    def names(self) -> list[str]:
        """Return the paths of all objects in the bucket."""
        return sorted(path.removeprefix(f"{self.bucket}/") for path in self.direct.find(self.bucket))

    def damage(self, path: str, content: bytes) -> bytes:
        """Replace an object and return what it held."""
        direct, at = self.direct, f"{self.bucket}/{path}"
        before: bytes = direct.cat_file(at)
        direct.pipe_file(at, content)
        return before


@contextmanager
def local_s3() -> Iterator[LocalS3]:
    """Run a store on loopback until the block ends."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        store = LocalS3(server, f"backups-{secrets.token_hex(4)}")
        store.direct.call_s3("create_bucket", Bucket=store.bucket)
        yield store
    finally:
        server.stop()


def a_key() -> tuple[str, str]:
    """Return a new public key and its secret one, as age-keygen writes it into a file."""
    key = x25519.Identity.generate()
    return str(key.to_public()), f"# created: 2026-01-01T00:00:00Z\n# public key: {key.to_public()}\n{key}\n"


CONTENT: Mapping[str, bytes] = {"toc.dat": b"contents", "deep/1.dat.gz": bytes(range(256)) * 5000, "deep/empty": b""}


def a_backup(world: World, directory: Path, content: Mapping[str, bytes] = CONTENT) -> Archive:
    """Make a backup of a few files, with an empty directory."""

    def save(into: Path) -> Mapping[str, Any]:
        (into / "hollow").mkdir(parents=True)
        for path, data in content.items():
            (into / path).parent.mkdir(exist_ok=True)
            (into / path).write_bytes(data)
        return {"tables": {"public.item": {"rows": 1, "hash": "5"}}, "server_version": 160000, "tools": {}}

    return archive.take(world, directory, "dump", save, {"system": "shop"})


def lies_at(directory: Path) -> dict[str, bytes | None]:
    """Return the content of all below a directory by path; None for a directory."""
    below = directory.rglob("*")
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in below}
