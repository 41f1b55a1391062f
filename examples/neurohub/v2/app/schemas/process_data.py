"""The rules for what was measured; PROCESS_DATA_VALIDATION.md explains them."""

from datetime import datetime, timezone
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator


class ProcessDataCreate(BaseModel):
    """What was measured, as it may be stored."""

    lot_id: int = Field(gt=0)
    serial_id: int | None = Field(None, gt=0)
    wip_id: int | None = Field(None, gt=0)
    process_id: int = Field(gt=0)
    equipment_id: int = Field(gt=0)
    data_level: Literal["LOT", "WIP", "SERIAL"]
    result: Literal["PASS", "FAIL", "REWORK"]
    measurements: dict[str, Any] | None = None
    defects: list[dict[str, Any]] | None = None
    duration_seconds: int | None = Field(None, ge=0)
    started_at: datetime
    completed_at: datetime | None = None

    @field_validator("defects")
    @classmethod
    def _fit_the_result(cls, defects: Any, info: Any) -> Any:
        result = info.data.get("result")
        if result == "FAIL" and not defects:
            raise ValueError("a FAIL must name at least one defect: add it to defects, or change result")
        if result == "PASS" and defects:
            raise ValueError("a PASS has no defects: remove them, or set result to FAIL or REWORK")
        for defect in defects or ():
            if not str(defect.get("type") or "").strip():
                raise ValueError("each defect needs a type, as in {'type': 'scratch'}")
        return defects

    @field_validator("started_at", "completed_at")
    @classmethod
    def _with_a_zone(cls, at: datetime | None) -> datetime | None:
        """Take a time without a zone as UTC, as the version before did."""
        return at if at is None or at.tzinfo else at.replace(tzinfo=timezone.utc)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data_level == "WIP" and self.wip_id is None:
            raise ValueError("data_level WIP needs wip_id: name what is being worked on")
        if self.data_level == "SERIAL" and self.serial_id is None:
            raise ValueError("data_level SERIAL needs serial_id: name the serial number")
        if self.completed_at and self.completed_at < self.started_at:
            raise ValueError("completed_at is before started_at: see that both name their time zone")
        return self

    @model_validator(mode="before")
    @classmethod
    def _defects_are_judged_when_absent(cls, values: Any) -> Any:
        return {"defects": None, **values} if isinstance(values, dict) else values
