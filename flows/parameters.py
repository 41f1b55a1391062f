"""What a person gives when starting a flow: each parameter with its form field, its rule and its help."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.domain.release import VERSION_PATTERN
from tasks.settings import Settings
from tasks.spec.loading import systems_in

if TYPE_CHECKING:
    System = str
else:
    # The form offers the systems that have a release file when the deployments are registered.
    _systems = systems_in(Settings.from_environment().systems)
    System = StrEnum("System", {name: name for name in _systems}) if _systems else str

Version = Annotated[
    str, Field(pattern=VERSION_PATTERN, description="A tag, commit or directory of the system's source.")
]
Reason = Annotated[str, Field(max_length=500, description="Why, in a sentence; it stands in every report.")]
StartedBy = Annotated[str, Field(max_length=100, description="Your name; by default that of the worker's user.")]
ReleaseId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9-]{0,80}$", description="Only within a release: its id. Leave it empty to run this alone."),
]
