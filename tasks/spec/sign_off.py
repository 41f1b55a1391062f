"""The section of the release file that says who signs, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator

from tasks.domain.kind import Duration, Strict

Role = Annotated[str, Field(min_length=1, max_length=60, examples=["dba"])]
Name = Annotated[str, Field(min_length=1, max_length=100, examples=["alice"])]


class Signers(Strict):
    """A role that signs; its name alone stands for one signature."""

    role: Role
    """The role's name."""
    count: Annotated[int, Field(ge=1, le=20)] = 1
    """How many different people sign in it."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"role": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        as_mapping = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 60}, as_mapping]}


def wanted(signers: Iterable[Signers]) -> dict[str, int]:
    """Return how many people sign in each role."""
    roles: dict[str, int] = {}
    for one in signers:
        roles[one.role] = roles.get(one.role, 0) + one.count
    return roles


class SignOff(Strict):
    """Who signs at which gate, for exactly what was shown there. Later stages of the watch have gates of their own."""

    go: tuple[Signers, ...] = ()
    """Roles that sign before production is touched, with the evidence and the measured rollback plan before them."""
    live: tuple[Signers, ...] = ()
    """Roles that sign once the new version serves and has passed its health checks. The watch goes on meanwhile and its
    triggers stay armed; a no takes the release back, or asks a person where ``rollback.automatic`` is off."""
    stable: tuple[Signers, ...] = ()
    """Roles that sign at the end of the watch. Until they do the release is not stable, and is watched on; after
    ``expires`` a person is asked. A no asks a person at once."""
    expires: Duration = 86400.0
    """After how long a signature for a gate that still waits no longer counts, and a request is made anew."""
    remind: Duration = 0.0
    """After how long those who are asked are told again, until they sign; never if 0. golive looks each hour, or each
    minute where ``golive slack`` runs."""
    acknowledged: Duration = 14400.0
    """For how long an acknowledgement in Slack stops reminders."""
    starter_may_sign: bool = True
    """Whether the person who started the release may sign, or waive a signature, too."""
    people: dict[Role, tuple[Name, ...]] = Field(default_factory=dict)
    """Who may sign in a role, by name; in a role that is not listed anybody may."""
    waivers: tuple[Name, ...] = ()
    """Who may waive a role's signature with a reason. If left out anybody may, except for the roles in ``people``."""

    def of(self, gate: str) -> Mapping[str, int]:
        """Return how many people sign in each role at ``go``, ``live`` or ``stable``."""
        return wanted({"go": self.go, "live": self.live, "stable": self.stable}.get(gate, ()))

    @model_validator(mode="after")
    def _enough_people(self) -> Self:
        for gate in ("go", "live", "stable"):
            for role, count in self.of(gate).items():
                if role in self.people and len(set(self.people[role])) < count:
                    raise ValueError(
                        f"{gate} asks for {count} signatures of {role!r}, and people names {len(self.people[role])}; "
                        "expected at least as many people"
                    )
        return self
