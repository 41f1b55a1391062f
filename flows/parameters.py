"""What a person gives when starting a flow: each parameter with its form field, its rule and its help."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler

from tasks.domain.release import VERSION_PATTERN
from tasks.settings import FORMS_VARIABLE, Settings
from tasks.spec.loading import systems_in


class Help:
    """The sentence beside a field of Prefect's form, which shows no description given to ``Field``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "description": self.text}


class Offered:
    """Lets the form offer ``more`` and what the release files give when the deployments are registered.

    By default that is the systems. What takes reading the files is ``dear``, and left out unless ``FORMS_VARIABLE``
    says that forms are being made: a schema is made at each import. Any other name is refused by the flow itself,
    which knows the files of now and names the nearest one.
    """

    def __init__(self, *more: str, of: Callable[[Path], list[str]] = systems_in, dear: bool = False) -> None:
        self.more, self.of, self.dear = more, of, dear

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if self.dear and not os.environ.get(FORMS_VARIABLE):
            return dict(handler(core))
        offered = self.of(Settings.from_environment().systems)
        return {**handler(core), **({"enum": [*self.more, *offered]} if offered else {})}


System = Annotated[
    str,
    Field(max_length=100),
    Offered(),
    Help("Which system; each one that has a release file is offered."),
]

Version = Annotated[
    str,
    Field(pattern=VERSION_PATTERN),
    Help("A tag, commit or directory of the system's source, such as v2 or 1.4.0."),
]
Reason = Annotated[str, Field(max_length=500), Help("Why, in a sentence; it stands in every report.")]
Why = Annotated[
    str,
    BeforeValidator(lambda text: text[:500] if isinstance(text, str) else text),
    Help("Why, in a sentence; it stands in every report. A longer text is cut: no rollback fails for its reason."),
]
StartedBy = Annotated[str, Field(max_length=100), Help("Your name; if empty, that of the worker's user.")]
ReleaseId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9-]{0,80}$"),
    Help("Leave it empty to run this alone; a release fills in its own id."),
]
