"""Switches of a release file: parts of a system that can be taken out of service without a rollback of all of it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.domain.kind import Argv, Duration, Strict
from tasks.domain.release_files import RelativePath

SWITCH_PATTERN = r"^[a-z][a-z0-9_-]{0,59}$"


class Rename(Strict):
    """A file or directory that bears another name while a switch is off, so that the system does not find it."""

    from_: Annotated[RelativePath, Field(alias="from", examples=["providers/openai.py"])]
    """Its path while the switch is on, within the switch's ``directory``."""
    to: Annotated[RelativePath, Field(examples=["providers/openai.py.off"])]
    """Its path while the switch is off, on the same disk."""

    @model_validator(mode="after")
    def _two_names(self) -> Self:
        if self.from_ == self.to:
            raise ValueError(f"both names are {self.to!r}; expected two")
        return self


class Switch(Strict):
    """A feature or a provider that can be switched off, and on again.

    All that it does must bear being repeated: what was broken off midway is mended by switching once more.
    """

    name: Annotated[str, Field(pattern=SWITCH_PATTERN, examples=["openai"])]
    """What it is called in ``golive disable SYSTEM NAME``."""
    description: str = ""
    """What is out of service while it is off, in a sentence."""
    rename: Rename | None = None
    """What is renamed first, and back."""
    off: tuple[Argv, ...] = Field(default=(), examples=[[["systemctl", "restart", "shop"]]])
    """The commands that switch it off, in this order and without a shell; after the renaming."""
    on: tuple[Argv, ...] = Field(default=(), examples=[[["systemctl", "restart", "shop"]]])
    """The commands that undo just that; after the renaming back."""
    directory: str = "{release_dir}"
    """Where the commands run and the renamed file lies; by default the code of the version that serves, so that a later
    version comes with the switch on."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    """Variables that the commands get besides PATH, HOME, LANG, TZ and TMPDIR; masked wherever they would be shown."""
    timeout: Duration = 60.0
    """How long each command may take."""
    check: str
    """The name of the check that must pass once it is off, and once it is on again."""
    covers: tuple[Annotated[str, Field(pattern=r"^\S{1,60}$")], ...] = Field(default=(), examples=[["P2-145"]])
    """Ids of the checklist rows that turning it does; no release is short of them while nobody turns it."""

    @model_validator(mode="after")
    def _can_be_undone(self) -> Self:
        if bool(self.off) != bool(self.on):
            raise ValueError("off and on go together: each undoes the other")
        if not self.off and self.rename is None:
            raise ValueError("switches nothing; expected rename, or off and on")
        return self
