"""The providers: what each is, what it returns, and which there are."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

log = logging.getLogger("pilot2.providers")
Act = Callable[[str, Mapping[str, Any], Mapping[str, str]], Any]
"""What a provider does: an action, its parameters and the user's credentials make an output."""


@dataclass(frozen=True)
class ProviderResult:
    """How one step ended."""

    status: str
    output: Any = None
    error: str | None = None
    latency_ms: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class ProviderRegistry:
    """Holds the providers by their names."""

    def __init__(self) -> None:
        self.providers: dict[str, Act] = {}

    def register(self, name: str, act: Act) -> None:
        """Add a provider; raises `ValueError` if there is one of that name."""
        if name in self.providers:
            raise ValueError(f"there is a provider {name} already")
        self.providers[name] = act

    def load(self, package: Any) -> None:
        """Register each module of a package by its own name, as far as it is there."""
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
            self.register(module, importlib.import_module(f"{package.__name__}.{module}").act)

    def execute(
        self, name: str, action: str, params: Mapping[str, Any], credentials: Mapping[str, str]
    ) -> ProviderResult:
        """Let a provider act; what it raises is the error of the result."""
        began = time.perf_counter()
        try:
            if name not in self.providers:
                raise LookupError(f"there is no provider {name}")
            output = self.providers[name](action, params, credentials)
        except Exception as error:  # noqa: BLE001 - whatever a provider raises is the outcome of the step
            # A step that failed is told by its log entry; the log of the service is for what nobody expects.
            log.info("provider %s failed: %s", name, error)
            return ProviderResult("error", None, f"{type(error).__name__}: {error}", _since(began))
        return ProviderResult("success", output, None, _since(began))


def _since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 3)
