"""The rules for what was measured."""

import pytest
from app.schemas.process_data import ProcessDataCreate
from pydantic import ValidationError

SOUND = {
    "lot_id": 1, "serial_id": 1, "process_id": 1, "equipment_id": 1, "data_level": "SERIAL", "result": "PASS",
    "measurements": {"torque": 1.5}, "duration_seconds": 30, "started_at": "2026-01-01T10:00:00+00:00",
    "completed_at": "2026-01-01T10:00:30+00:00",
}  # fmt: skip
SCRATCH = [{"type": "scratch"}]
ACCEPTED = [
    {}, {"result": "FAIL", "defects": SCRATCH}, {"result": "REWORK"}, {"result": "REWORK", "defects": SCRATCH},
    {"defects": []}, {"defects": None}, {"data_level": "LOT", "serial_id": None}, {"data_level": "LOT"},
    {"data_level": "WIP", "wip_id": 1}, {"data_level": "WIP", "wip_id": 1, "serial_id": None}, {"wip_id": 7},
    {"measurements": None}, {"measurements": {}}, {"measurements": {"deep": {"list": [1, None, "ä"]}}},
    {"duration_seconds": 0}, {"duration_seconds": None}, {"completed_at": None},
    {"completed_at": "2026-01-01T10:00:00+00:00"}, {"completed_at": "2026-01-01T12:00:00+02:00"},
    {"started_at": "2026-01-01T10:00:00"}, {"started_at": "2026-03-29T01:59:59+01:00", "completed_at": None},
    {"result": "FAIL", "defects": [{"type": "dent", "depth": 2}, {"type": "scratch"}]},
]  # fmt: skip
REFUSED = [
    ("defects", {"result": "FAIL", "defects": None}, "at least one defect"),
    ("defects", {"result": "FAIL"}, "at least one defect"),
    ("defects", {"result": "FAIL", "defects": []}, "at least one defect"),
    ("defects", {"defects": SCRATCH}, "PASS has no defects"),
    ("defects", {"result": "FAIL", "defects": [{}]}, "needs a type"),
    ("defects", {"result": "FAIL", "defects": [{"type": " "}]}, "needs a type"),
    ("defects", {"result": "REWORK", "defects": [{"type": None}]}, "needs a type"),
    ("defects", {"result": "FAIL", "defects": "scratch"}, "list"),
    ("defects", {"result": "FAIL", "defects": ["scratch"]}, "dictionary"),
    ("result", {"result": "OK"}, "PASS"), ("result", {"result": "pass"}, "PASS"), ("result", {"result": None}, "PASS"),
    ("data_level", {"data_level": "BOX"}, "SERIAL"), ("data_level", {"data_level": ""}, "SERIAL"),
    ("", {"data_level": "WIP"}, "needs wip_id"), ("", {"serial_id": None}, "needs serial_id"),
    ("duration_seconds", {"duration_seconds": -1}, "greater than or equal"),
    ("duration_seconds", {"duration_seconds": "long"}, "integer"),
    ("duration_seconds", {"duration_seconds": 1.5}, "integer"),
    ("", {"completed_at": "2026-01-01T09:59:59+00:00"}, "before started_at"),
    ("", {"completed_at": "2026-01-01T11:00:00+02:00"}, "before started_at"),
    ("started_at", {"started_at": None}, "datetime"), ("started_at", {"started_at": "soon"}, "datetime"),
    ("completed_at", {"completed_at": "soon"}, "datetime"), ("measurements", {"measurements": "1.5"}, "dictionary"),
    ("measurements", {"measurements": [1]}, "dictionary"), ("lot_id", {"lot_id": None}, "integer"),
    ("lot_id", {"lot_id": 0}, "greater than"), ("process_id", {"process_id": -1}, "greater than"),
    ("equipment_id", {"equipment_id": 0}, "greater than"), ("wip_id", {"wip_id": 0}, "greater than"),
]  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED)
def test_what_is_sound_is_accepted(changes):
    ProcessDataCreate.model_validate({**SOUND, **changes})


@pytest.mark.parametrize(("where", "changes", "told"), REFUSED)
def test_what_is_wrong_is_refused_with_where_and_why(where, changes, told):
    with pytest.raises(ValidationError) as caught:
        ProcessDataCreate.model_validate({**SOUND, **changes})
    told_of = {".".join(map(str, one["loc"][:1])): one["msg"] for one in caught.value.errors()}
    assert told in told_of[where]


def test_a_time_without_a_zone_is_taken_as_utc():
    made = ProcessDataCreate.model_validate({**SOUND, "started_at": "2026-01-01T10:00:00"})
    assert made.started_at.isoformat() == "2026-01-01T10:00:00+00:00"
