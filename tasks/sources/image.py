"""Versions that are container images."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.domain.docker import Address, Docker
from tasks.domain.errors import CommandFailed, Refused, ReleaseFileError, TimedOut, Unreachable
from tasks.domain.kind import Duration, Size, Strict, no_secret_in
from tasks.domain.release import BUILD_LOG, IMAGE_FILE, check_version
from tasks.domain.target import Target
from tasks.sources import Fetched, Source, no_such_version, place, placed
from tasks.sources.directory import Directory, digest_of
from tasks.sources.git import Git

_TAG = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Build(Strict):
    """How an image is built from the version's code."""

    dockerfile: Annotated[str, Field(pattern=r"^([^/.][^/]*/)*[^/.][^/]*$", examples=["ops/Dockerfile.api"])] = (
        "Dockerfile"
    )
    """The Dockerfile's path in the code, which is the context as a whole."""
    args: dict[Annotated[str, Field(pattern=r"^\w+$")], str] = Field(default_factory=dict)
    """Build arguments; no secrets, because they stay in the image."""

    @model_validator(mode="after")
    def _no_secret(self) -> Build:
        no_secret_in(tuple(self.args.values()))
        return self


class Image(Source):
    """Takes a container image as the version: by its tag, or by its digest given as 64 hexadecimal digits.

    A tag can be moved, so what runs is the image itself: its id is on record when the release is opened, a release is
    refused if the tag leads elsewhere by then, and the platform ``compose`` gets the id as ``{image}``. Each release's
    image has the tag ``golive/SYSTEM:VERSION`` besides, so that nothing tidies it away while the release is kept.
    """

    kind: Literal["image"] = "image"
    """Which kind of source this is."""
    image: Annotated[
        str,
        Field(pattern=r"^[a-z0-9]([\w.-]*(:\d+)?/)?[a-z0-9._/-]*$", examples=["registry.example.org/shop/api"]),
    ]
    """The image's name, without a tag."""
    pull: Literal["missing", "always", "never"] = "missing"
    """Whether the registry is asked: for what the engine does not have, always (for tags that move), or never. The
    login is that of golive's user."""
    files: str = ""
    """A directory whose files, such as the Compose file, go into the release's directory; ``{version}`` may stand in
    it."""
    code: Annotated[Git | Directory, Field(discriminator="kind")] | None = None
    """Another source, from which the release's directory is filled instead, and the image may be built."""
    build: Build | None = None
    """How the image is built from ``code``; without it, it must be there or in the registry. What the builder printed
    is in ``.golive-build.log`` of the release's directory, where a check may look for warnings."""
    max_size: Size | None = None
    """The largest image that may be released."""
    engine: Address = ""
    """The engine's address; the default one of golive's user if empty."""
    timeout: Duration = 900.0
    """After how long a pull or a build is given up."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Image:
        if self.files and self.code:
            raise ValueError("files and code both fill the release's directory; expected one of them")
        if self.build and not self.code:
            raise ValueError("build needs code, the source of what it builds")
        return self

    def identify(self, target: Target, version: str) -> str:
        """Return the image's id, and what identifies the files beside it; of one that is to be built, its code alone.

        Raises `InvalidVersion` if there is no such image, `Refused` if it is too large, `Unreachable` if it cannot be
        pulled.
        """
        self._reference(version)
        beside = ""
        if self.code:
            beside = self.code.identify(_inner(target), version)
        elif self.files:
            beside = digest_of(self._directory(target, version))
        if self.build:
            recipe = hashlib.sha256(self.build.model_dump_json().encode()).hexdigest()[:12]
            return f"{beside} built as {recipe}"
        return f"{self._present(target, version)} {beside}".rstrip()

    def fetch(self, target: Target, version: str) -> Fetched:
        """Bring the image to the engine and its files to ``{root}/releases/VERSION``, and return those.

        A version that was fetched before is also returned while its registry or repository is unreachable.
        """
        try:
            identity = self.identify(target, version)
            inner = self.code.fetch(_inner(target), version) if self.code else None
        except (Unreachable, TimedOut) as error:
            before = placed(target, version)
            if before is None or self._inspect(target, self._recorded(target, before.directory)) is None:
                raise
            target.world.progress(f"{version} is taken from the host as it was fetched before: {error}")
            return before
        host = target.world.host
        image, said = identity.partition(" ")[0], None
        if self.build and inner:
            image, said = self._built(target, version, identity, inner)
        self._docker(target).run("tag", image, _kept(target, version))

        def note(tree: Path) -> None:
            if said is not None:
                host.write(tree / BUILD_LOG, target.world.secrets.mask(said), mode=0o644)
            host.write(tree / IMAGE_FILE, f"{image}\n", mode=0o644)

        def fill(tree: Path) -> None:
            if inner:
                host.copy_tree(inner.directory, tree)
            elif self.files:
                host.send_tree(self._directory(target, version), tree)
            note(tree)

        found = place(target, version, identity, self.image, fill)
        if self._recorded(target, found.directory) != image:  # one that had to be built again
            note(found.directory)
        return found

    def prune(self, target: Target, in_use: Sequence[str]) -> Sequence[str]:
        """Remove the oldest releases beyond ``keep``, with golive's tags of their images; the images' own tags stay."""
        removed = super().prune(target, in_use)
        if self.code:
            self.code.prune(_inner(target), in_use)
        docker, name = self._docker(target), _kept(target, "").rstrip(":")
        for tag in docker.run("image", "ls", "--format", "{{.Tag}}", name).stdout.split():
            if placed(target, tag) is None:
                docker.run("image", "rm", f"{name}:{tag}", ok_exit=(0, 1))  # a container of it may be there still
        return removed

    def _docker(self, target: Target) -> Docker:
        return Docker(target.world.host, self.engine)

    def _reference(self, version: str) -> str:
        if _DIGEST.fullmatch(check_version(version)):
            return f"{self.image}@sha256:{version}"
        if not _TAG.fullmatch(version):
            raise no_such_version(version, (), f"{self.image}, where no tag can be named so")
        return f"{self.image}:{version}"

    def _directory(self, target: Target, version: str) -> Path:
        found = Path(target.at(version=version).fill(self.files)).expanduser().absolute()
        if not found.is_dir():
            raise ReleaseFileError("there is no such directory", where=str(found), do="mend files of the source")
        return found

    def _present(self, target: Target, version: str) -> str:
        """Return the id of a version's image, which is pulled first if need be."""
        reference, docker = self._reference(version), self._docker(target)
        found = None if self.pull == "always" else self._find(target, version)
        if found is None and self.pull != "never":
            try:
                docker.run("pull", "--quiet", reference, timeout=self.timeout)
            except CommandFailed as error:
                raise Unreachable(
                    f"it cannot be pulled: {error.seen}",
                    where=reference,
                    do="check the version, the registry, and the login of golive's user there",
                ) from error
            found = self._inspect(target, reference)
        if found is None:
            known = docker.run("image", "ls", "--format", "{{.Tag}}", self.image).stdout.split()
            raise no_such_version(version, sorted(known), self.image)
        return found

    def _find(self, target: Target, version: str) -> str | None:
        """Return the id of a version's image if the engine has it; an image of no registry is known by its id alone."""
        found = self._inspect(target, self._reference(version))
        return found or (self._inspect(target, f"sha256:{version}") if _DIGEST.fullmatch(version) else None)

    def _inspect(self, target: Target, reference: str) -> str | None:
        """Return an image's id, or None if the engine has none of that name; raises `Refused` if it is too large."""
        docker = self._docker(target)
        told = docker.run(
            *("image", "inspect", "--format", '{"id":{{json .Id}},"size":{{.Size}}}', reference), ok_exit=(0, 1)
        )
        if told.exit_code:
            docker.require()  # the exit code is the same if the engine is away
            return None
        image = json.loads(told.stdout)
        if self.max_size is not None and image["size"] > self.max_size:
            raise Refused(
                f"the image has {image['size'] / 1e6:,.0f} MB",
                expected=f"at most {self.max_size / 1e6:,.0f} MB",
                where=reference,
                do="make it smaller, or raise max_size",
            )
        return str(image["id"])

    def _built(self, target: Target, version: str, identity: str, code: Fetched) -> tuple[str, str | None]:
        """Return the id of the image of the version's code, and what the builder said unless it was built before."""
        build = self.build or Build()
        before = placed(target, version)
        if before and before.identity == identity:
            recorded = self._recorded(target, before.directory)
            if recorded and self._inspect(target, recorded):
                return recorded, None
        at = target.at(version=version)
        words = ["build", "--tag", self._reference(version), "--file", str(code.directory / build.dockerfile)]
        words += [word for name, value in build.args.items() for word in ("--build-arg", f"{name}={at.fill(value)}")]
        done = self._docker(target).run(*words, str(code.directory), timeout=self.timeout)
        return self._present(target, version), f"{done.stdout}\n{done.stderr}"

    def _recorded(self, target: Target, directory: Path) -> str:
        return (target.world.host.read(directory / IMAGE_FILE) or "").strip()


def _inner(target: Target) -> Target:
    """Return the target as the nested source sees it, which keeps its releases apart."""
    return target.at(root=target.root / "code")


def _kept(target: Target, version: str) -> str:
    return f"golive/{target.system}:{version}"
