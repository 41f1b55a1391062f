"""The OpenAPI document of a service, and what a release breaks of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.asking import Controlled, Request, answer_or_blame
from tasks.domain.condition import all_of
from tasks.domain.errors import Inconclusive
from tasks.domain.openapi import Contract, breaking, contract, deprecated, refers_outside
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target

_MOST_TOLD = 5
_MOST_KEPT = 200

Operation = Annotated[str, Field(pattern=r"^(GET|PUT|POST|DELETE|OPTIONS|HEAD|PATCH|TRACE) /\S*$")]


class Openapi(Request, Controlled, Check):
    """Reads a service's OpenAPI document: it must be valid, and break nothing that clients of the old one rely on."""

    kind: Literal["openapi"] = "openapi"
    """Which kind of check this is."""
    url: Annotated[str, Field(min_length=1)] = "{base_url}/openapi.json"
    """The address of the document, in JSON or YAML."""
    against: Literal["running", "file", "nothing"] = "running"
    """What it must not fall behind: what the version before served, ``file``, or nothing."""
    file: str | None = None
    """A document of the release, relative to the version's code, for ``against: file``."""
    equal: bool = False
    """Whether it must also hold nothing that clients could rely on and the other document does not tell."""
    deprecated: Literal["allow", "deny"] = "allow"
    """Whether operations may be deprecated that were not."""
    operations: tuple[Operation, ...] = Field(default=(), examples=[["PUT /api/tasks/{task_id}/status"]])
    """Operations that must be there."""
    allow: tuple[str, ...] = Field(default=(), examples=[["DELETE /legacy/*", "*answer 200 may lack note"]])
    """Changes that are meant, as they are told, where ``*`` stands for anything."""

    @property
    def compares(self) -> bool:
        """Whether it is held against what the version before served."""
        return self.against == "running"

    def look(self, target: Target) -> Reading:
        """Return what the document breaks; one that cannot be compared with anything is unknown."""
        answer = answer_or_blame(self.filled(target), target, self.timeout, self.control)
        if isinstance(answer, Reading):
            return answer
        if answer.status != 200:
            return failed(f"status {answer.status} = 200", detail={"status": answer.status})
        document = _read(answer.body)
        wrong = _wrong(document)
        if wrong is not None:
            return wrong
        now = contract(document)
        if not now:
            return failed("the document tells of no operation")
        readings = [passed(f"valid, {len(now)} operations")]
        readings += [failed(f"{name} is not there") for name in self.operations if breaking({name: _NONE}, now)]
        changes: list[str] = []
        if self.against != "nothing":
            before = self._before(target)
            if isinstance(before, Reading):
                return all_of([*readings, before])
            changes = self._changes(before, now)
            readings.append(_told(changes))
        version = (document.get("info") or {}).get("version")
        return all_of(
            readings, value=len(changes), unit="changes", limit=0,
            detail={"version": version, "operations": len(now), "changes": changes[:_MOST_KEPT]},
        )  # fmt: skip

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return what clients may rely on of the version that serves; raises `Inconclusive` if it cannot be read."""
        if self.against != "running":
            return {}
        answer = self.filled(target).send(target, self.timeout)
        document = _read(answer.body) if answer.status == 200 else None
        found = contract(document) if document is not None and _wrong(document) is None else None
        if not found:
            raise Inconclusive(
                f"status {answer.status} and no OpenAPI document that can be read",
                where=self.name,
                do="let the version that serves now have one, or set against: file or nothing",
            )
        return {"contract": found}

    def _before(self, target: Target) -> Contract | Reading:
        if self.against == "running":
            recorded: Contract | None = target.baseline.get(self.name, {}).get("contract")
            return recorded or unknown("no document is on record; it is recorded while the old version serves")
        path = target.release_dir / target.fill(self.file or "openapi.json")
        text = target.world.host.read(Path(path))
        if text is None:
            return unknown(f"there is no file {self.file or 'openapi.json'}")
        document = _read(text.encode())
        wrong = _wrong(document)
        return unknown(f"{path.name}: {wrong.seen}") if wrong is not None else contract(document)

    def _changes(self, before: Contract, now: Contract) -> list[str]:
        found = breaking(before, now)
        if self.equal:
            found += [f"not in the other document: {change}" for change in breaking(now, before)]
        if self.deprecated == "deny":
            found += deprecated(before, now)
        return [change for change in found if not any(fnmatchcase(change, meant) for meant in self.allow)]


_NONE: dict[str, Any] = {"parameters": {}, "body": None, "body_required": True, "answers": {}, "deprecated": False}


def _told(changes: Sequence[str]) -> Reading:
    if not changes:
        return passed("nothing that clients rely on is broken")
    more = f"; and {len(changes) - _MOST_TOLD} more" if len(changes) > _MOST_TOLD else ""
    return failed(f"{len(changes)} breaking changes: {'; '.join(changes[:_MOST_TOLD])}{more}")


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        pass
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(body.decode(errors="replace"))
    except YAMLError:
        return None


def _wrong(document: Any) -> Reading | None:
    """Return why a document is none of OpenAPI; one that leads to others is not read, and so unknown."""
    if not isinstance(document, dict) or not ({"openapi", "swagger"} & document.keys()):
        return failed("the answer is no OpenAPI document")
    outside = refers_outside(document)
    if outside is not None:
        return unknown(f"the document refers to {outside}, which is not read; bundle it into one")
    from openapi_spec_validator import validate
    from openapi_spec_validator.validation.exceptions import OpenAPIValidationError, ValidatorDetectError

    try:
        validate(document)
    except ValidatorDetectError:
        return unknown("the document is of a version of OpenAPI that is not known")
    except OpenAPIValidationError as error:
        place = "/".join(str(part) for part in getattr(error, "absolute_path", ()))
        return failed(f"the document is not valid: {str(error.args[0] if error.args else error)[:200]} at /{place}")
    return None
