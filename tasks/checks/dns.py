"""Names and where they lead."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.errors import NotFound
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


def _network(text: str) -> str:
    ipaddress.ip_network(text)  # its own words are told
    return text


Network = Annotated[str, AfterValidator(_network)]


class Dns(Check):
    """Looks whether names lead to the right addresses, as golive's own machine resolves them."""

    advice: ClassVar[str] = "ask each name server by itself: dig NAME @SERVER"

    kind: Literal["dns"] = "dns"
    """Which kind of check this is."""
    names: Annotated[tuple[str, ...], Field(min_length=1, examples=[["api.example.org"]])]
    """The names."""
    exists: bool = True
    """Whether they must lead anywhere; ``false`` means that there must be no such name."""
    addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(), examples=[["10.0.0.0/8", "::1"]]
    )
    """Addresses, or networks, of which each address found must be one."""
    same_as: str | None = None
    """A name that leads to the same addresses."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if not self.exists and (self.addresses or self.same_as):
            raise ValueError("a name that must not be there has no addresses")
        return self

    def look(self, target: Target) -> Reading:
        """Return which names lead elsewhere or nowhere; if nobody could be asked, that is unknown."""
        same = _addresses(target, self.same_as) if self.same_as else ()
        readings, found = [], {}
        for name in self.names:
            addresses = found[name] = _addresses(target, name)
            shown = f"{name} → {', '.join(addresses) or 'no such name'}"
            readings.append(held(shown, bool(addresses) == self.exists))
            if addresses and self.addresses:
                wrong = [one for one in addresses if not self._is_meant(one)]
                words = f"{name} → {', '.join(wrong or addresses)}"
                readings.append(held(f"{words}, within {', '.join(self.addresses)}", not wrong))
            if self.same_as:
                readings.append(held(f"{shown} = {self.same_as} → {', '.join(same)}", addresses == same))
        return all_of(readings, detail=found)

    def _is_meant(self, address: str) -> bool:
        one = ipaddress.ip_address(address.partition("%")[0])
        return any(one in ipaddress.ip_network(network) for network in self.addresses)


def _addresses(target: Target, name: str) -> tuple[str, ...]:
    try:
        return tuple(target.world.network.addresses(target.fill(name)))
    except NotFound:
        return ()
