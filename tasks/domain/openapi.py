"""What clients may rely on in an OpenAPI document, and what of it a later document breaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DEEPEST = 6
Fields = dict[str, dict[str, Any]]
"""Of each field, by its path: the types it may have, and whether it is required."""
Contract = dict[str, dict[str, Any]]
"""Of each operation, as ``GET /tasks/{}``: what a request needs, what is answered."""


def refers_outside(document: Any) -> str | None:
    """Return a reference that leads out of the document, or None; nothing outside is ever fetched."""
    if isinstance(document, Mapping):
        reference = document.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            return reference
        return next(filter(None, map(refers_outside, document.values())), None)
    if isinstance(document, list):
        return next(filter(None, map(refers_outside, document)), None)
    return None


def contract(document: Mapping[str, Any]) -> Contract:
    """Return what clients may rely on: operations, parameters, bodies and answers with their fields."""
    found: Contract = {}
    for path, told in (document.get("paths") or {}).items():
        item = _resolved(document, told)
        for method in METHODS:
            if method in item:
                name = f"{method.upper()} {path}"
                found[name] = _operation(document, item, item[method])
    return found


def _operation(document: Mapping[str, Any], item: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    parameters: Fields = {}
    body: Fields | None = None
    body_required = False
    for one in map(partial(_resolved, document), (*item.get("parameters", ()), *told.get("parameters", ()))):
        if one["in"] == "body":  # Swagger 2
            body, body_required = _below(document, one.get("schema", {})), bool(one.get("required"))
        elif one["in"] != "path":
            schema = one.get("schema", one)
            types = sorted(_types(document, schema))
            parameters[f"{one['in']} {one['name']}"] = {"types": types, "required": bool(one.get("required"))}
    if "requestBody" in told:
        request = _resolved(document, told["requestBody"])
        body, body_required = _below(document, _schema(request)), bool(request.get("required"))
    answers = {
        str(status): _below(document, _schema(_resolved(document, answer)))
        for status, answer in told.get("responses", {}).items()
    }
    return {
        "parameters": parameters,
        "body": body,
        "body_required": body_required,
        "answers": answers,
        "deprecated": bool(told.get("deprecated")),
    }


def _schema(holder: Mapping[str, Any]) -> Any:
    """Return the schema of a body: that of its JSON, or of its first form."""
    content = holder.get("content")
    if not content:
        return holder.get("schema", {})  # Swagger 2
    form = next((form for name, form in content.items() if "json" in name), next(iter(content.values())))
    return form.get("schema", {})


def _resolved(document: Mapping[str, Any], part: Any) -> Any:
    for _ in range(_DEEPEST):
        if not (isinstance(part, Mapping) and isinstance(part.get("$ref"), str)):
            break
        target: Any = document
        for word in part["$ref"].removeprefix("#/").split("/"):
            key = word.replace("~1", "/").replace("~0", "~")
            target = target.get(key, {}) if isinstance(target, Mapping) else {}
        part = target
    return part if isinstance(part, Mapping) else {}


def _variants(document: Mapping[str, Any], schema: Any) -> list[Mapping[str, Any]]:
    """Return the forms that a value may have: those of oneOf and anyOf, each with what allOf adds."""
    schema = _resolved(document, schema)
    choices = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
    if not choices:
        return [schema]
    plain = {key: value for key, value in schema.items() if key not in {"oneOf", "anyOf"}}
    return [{**plain, **_resolved(document, choice)} for choice in choices]


def _types(document: Mapping[str, Any], schema: Any) -> set[str]:
    """Return the types that a value may have; none means any."""
    found: set[str] = set()
    for variant in _variants(document, schema):
        told = variant.get("type")
        types = set(told) if isinstance(told, list) else {told} if told else set()
        if not types and ("properties" in variant or "allOf" in variant):
            types = {"object"}
        if not types:
            return set()
        found |= types | ({"null"} if variant.get("nullable") else set())
    return found


def _below(document: Mapping[str, Any], schema: Any, at: str = "", seen: tuple[str, ...] = ()) -> Fields:
    """Return every field below a schema that stands at a place; one that holds itself is told once."""
    reference = schema.get("$ref", "") if isinstance(schema, Mapping) else ""
    if reference in seen or len(seen) >= _DEEPEST:
        return {}
    return _fields(document, schema, at, (*seen, reference or at))


def _fields(document: Mapping[str, Any], schema: Any, at: str, seen: tuple[str, ...]) -> Fields:
    variants = _variants(document, schema)
    parts = [[variant, *(_resolved(document, one) for one in variant.get("allOf", ()))] for variant in variants]
    found: Fields = {}
    objects = [merged for merged in map(_merged, parts) if merged["properties"] or merged["required"]]
    for merged in objects:
        for name, inner in merged["properties"].items():
            place = f"{at}.{name}" if at else name
            required = all(name in other["required"] for other in objects)
            found.setdefault(place, {"types": sorted(_types(document, inner)), "required": required})
            found |= {key: value for key, value in _below(document, inner, place, seen).items() if key not in found}
    for group in parts:
        for part in group:
            if "items" in part:
                found |= _below(document, part["items"], f"{at}[]", seen)
    return found


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for part in parts:
        properties |= part.get("properties", {})
        required |= set(part.get("required", ()))
    return {"properties": properties, "required": required}


def breaking(before: Contract, after: Contract) -> list[str]:
    """Return what a client of the first contract can no longer rely on under the second, each in one line.

    How a parameter of a path is named does not matter.
    """
    now = {_nameless(name): told for name, told in after.items()}
    found = []
    for name, told in before.items():
        later = now.get(_nameless(name))
        if later is None:
            found.append(f"{name} is gone")
        else:
            found += [f"{name}: {change}" for change in _changes(told, later)]
    return found


def _nameless(operation: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", operation)


def deprecated(before: Contract, after: Contract) -> list[str]:
    """Return the operations that are deprecated under the second contract and were not under the first."""
    old = {_nameless(name) for name, told in before.items() if not told["deprecated"]}
    return [f"{name} is deprecated" for name, told in after.items() if told["deprecated"] and _nameless(name) in old]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from _demands("parameter", before["parameters"], after["parameters"])
    if after["body_required"] and not before["body_required"]:
        yield "the request's body is now required"
    if before["body"] is not None and after["body"] is not None:
        yield from _demands("request field", before["body"], after["body"])
    for status, fields in before["answers"].items():
        if status in after["answers"]:
            yield from _lost(status, fields, after["answers"][status])
        elif status.startswith("2"):
            yield f"answer {status} is gone"


def _demands(what: str, before: Fields, after: Fields) -> Iterator[str]:
    """Tell what a request must now hold that it need not, or may no longer hold."""
    for name, told in after.items():
        if told["required"] and not before.get(name, {}).get("required") and _parent_known(name, before):
            yield f"{what} {name} is now required"
    for name, told in before.items():
        narrowed = set(told["types"]) - set(after[name]["types"]) if name in after and after[name]["types"] else set()
        if narrowed - ({"integer"} if name in after and "number" in after[name]["types"] else set()):
            yield f"{what} {name} may no longer be {' or '.join(sorted(narrowed))}"


def _parent_known(name: str, before: Fields) -> bool:
    """Tell whether what a field stands in was there before; a demand inside something new and optional is none."""
    parent = name.rpartition(".")[0].removesuffix("[]")
    return not parent or parent in before


def _lost(status: str, before: Fields, after: Fields) -> Iterator[str]:
    """Tell what an answer no longer holds, may lack, or may be of another type."""
    for name, told in before.items():
        later = after.get(name)
        if later is None:
            parent = name.rpartition(".")[0].removesuffix("[]")
            if parent not in before or parent in after:  # the loss of what it stands in is told already
                yield f"answer {status} lacks {name}"
            continue
        if told["required"] and not later["required"]:
            yield f"answer {status} may lack {name}"
        widened = set(later["types"]) - set(told["types"]) if told["types"] else set()
        if widened - ({"integer"} if "number" in told["types"] else set()):
            yield f"answer {status}: {name} may now be {' or '.join(sorted(widened))}"
