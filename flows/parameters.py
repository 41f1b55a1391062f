"""What a person gives when starting a flow: each parameter with its form field, its rule and its help."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, GetJsonSchemaHandler

from tasks.domain.release import VERSION_PATTERN
from tasks.settings import Settings
from tasks.spec.loading import systems_in


class Help:
    """The sentence beside a field of Prefect's form, which shows no description given to ``Field``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:  # noqa: PLW3201
        return {**handler(core), "description": self.text}


if TYPE_CHECKING:
    System = str
else:
    # The form offers the systems that have a release file when the deployments are registered.
    _systems = systems_in(Settings.from_environment().systems)
    System = Annotated[
        StrEnum("System", {name: name for name in _systems}) if _systems else str,
        Help("Which system; each one that has a release file is offered."),
    ]

Version = Annotated[
    str,
    Field(pattern=VERSION_PATTERN),
    Help("A tag, commit or directory of the system's source, such as v2 or 1.4.0."),
]
Reason = Annotated[str, Field(max_length=500), Help("Why, in a sentence; it stands in every report.")]
StartedBy = Annotated[str, Field(max_length=100), Help("Your name; if empty, that of the worker's user.")]
ReleaseId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9-]{0,80}$"),
    Help("Leave it empty to run this alone; a release fills in its own id."),
]
