from __future__ import annotations

from typing import Any

import pytest

from tasks.domain.openapi import breaking, contract, deprecated, refers_outside

TASK: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "integer"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "parent": {"$ref": "#/components/schemas/Task"},
    },
}


def document(task: Any = TASK, method: str = "get", path: str = "/tasks/{id}", **operation: Any) -> dict[str, Any]:
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}}}
    told = {"responses": {"200": answer, "404": {"description": "none"}}, **operation}
    return {"openapi": "3.1.0", "paths": {path: {method: told}}, "components": {"schemas": {"Task": task}}}


def changed(**properties: Any) -> dict[str, Any]:
    return {**TASK, "properties": {**TASK["properties"], **properties}}


def broken(after: dict[str, Any], before: dict[str, Any] | None = None) -> list[str]:
    found = breaking(contract(before or document()), contract(after))
    return [change.removeprefix("GET /tasks/{id}: ") for change in found]


def test_the_same_document_breaks_nothing_also_where_a_schema_holds_itself():
    assert broken(document()) == []
    fields = contract(document())["GET /tasks/{id}"]["answers"]["200"]
    assert set(fields) == {"id", "note", "tags", "tags[].name", "parent"}
    assert fields["note"] == {"types": ["null", "string"], "required": False}


def test_what_is_new_breaks_nothing():
    assert broken(document(changed(more={"type": "string"}))) == []
    more = document()
    more["paths"]["/other"] = {"get": {"responses": {"200": {"description": "x"}}}}
    assert broken(more) == []
    assert broken(document(parameters=[{"in": "query", "name": "q", "schema": {"type": "string"}}])) == []


def test_how_a_parameter_of_a_path_is_named_does_not_matter():
    assert broken(document(path="/tasks/{task_id}")) == []


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (document(path="/jobs/{id}"), "GET /tasks/{id} is gone"),
        (document(method="put"), "GET /tasks/{id} is gone"),
        (document(responses={"404": {"description": "x"}}), "answer 200 is gone"),
        (document({**TASK, "required": []}), "answer 200 may lack id"),
        (document(changed(id={"type": ["integer", "null"]})), "answer 200: id may now be null"),
        (document(changed(id={"type": "integer", "nullable": True})), "answer 200: id may now be null"),
        (document(changed(tags={"type": "array", "items": {"type": "object"}})), "answer 200 lacks tags[].name"),
        (document(parameters=[{"in": "query", "name": "q", "required": True}]), "parameter query q is now required"),
        (
            document(requestBody={"required": True, "content": {"application/json": {"schema": {}}}}),
            "the request's body is now required",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_each_thing_that_clients_rely_on_is_told_when_it_breaks(after, told):
    assert broken(after) == [told]


def test_the_loss_of_a_field_is_told_without_what_stood_in_it():
    fewer = {name: one for name, one in TASK["properties"].items() if name != "tags"}
    assert broken(document({**TASK, "properties": fewer})) == ["answer 200 lacks tags"]


def body(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": properties}
    return document(requestBody={"content": {"application/json": {"schema": schema}}})


def test_a_request_may_not_ask_for_more_and_may_take_more():
    before = body(title={"type": "string"}, rank={"type": "number"})
    assert broken(body(("title",), title={"type": "string"}, rank={"type": "number"}), before) == [
        "request field title is now required"
    ]
    assert broken(body(title={"type": "integer"}, rank={"type": "number"}), before) == [
        "request field title may no longer be string"
    ]
    wider = body(title={"type": ["string", "null"]}, rank={"type": "number"})
    assert broken(wider, before) == []
    nested = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    assert broken(body(title={"type": "string"}, rank={"type": "number"}, more=nested), before) == []
    whole = body(title={"type": "string"}, rank={"type": "integer"})
    assert broken(body(title={"type": "string"}, rank={"type": "number"}), whole) == []


def test_parts_that_are_put_together_are_seen_as_one():
    both = {"allOf": [{"properties": {"id": {"type": "integer"}}, "required": ["id"]}, changed()]}
    assert broken(document(both)) == []
    either = {"oneOf": [TASK, {"type": "object", "properties": {"id": {"type": "integer"}}}]}
    assert broken(document(either)) == ["answer 200 may lack id"]


def test_a_document_of_the_older_form_is_understood():
    old = {
        "swagger": "2.0",
        "paths": {
            "/tasks": {
                "post": {
                    "parameters": [{"in": "body", "name": "b", "schema": {"properties": {"t": {"type": "string"}}}}],
                    "responses": {"200": {"schema": {"properties": {"id": {"type": "integer"}}}}},
                }
            }
        },
    }
    told = contract(old)["POST /tasks"]
    assert told["body"] == {"t": {"types": ["string"], "required": False}}
    assert told["answers"] == {"200": {"id": {"types": ["integer"], "required": False}}}


def test_newly_deprecated_operations_are_told():
    assert deprecated(contract(document()), contract(document(deprecated=True))) == ["GET /tasks/{id} is deprecated"]
    assert deprecated(contract(document(deprecated=True)), contract(document(deprecated=True))) == []


def test_a_reference_out_of_the_document_is_found_wherever_it_stands():
    assert refers_outside(document()) is None
    assert refers_outside({"a": [{"b": {"$ref": "other.yaml#/x"}}]}) == "other.yaml#/x"
