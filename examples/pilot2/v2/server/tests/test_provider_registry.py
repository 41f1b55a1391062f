"""The registry and its providers: ``python tests/test_provider_registry.py`` names each test that passes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from provider_registry import ProviderRegistry, ProviderResult
from providers import registry


def greet(action: str, params: Mapping[str, Any], _credentials: Mapping[str, str]) -> str:
    """Greet, or fail as asked."""
    if action == "fail":
        raise RuntimeError("as asked")
    return f"{action} {params['name']}"


def serialization() -> None:
    """A result comes through JSON as it is."""
    result = ProviderResult("success", {"text": "grün"}, None, 1.5)
    assert ProviderResult(**json.loads(json.dumps(result.to_dict()))) == result


def registration() -> None:
    """A name is taken once, and those of the package are there."""
    mine = ProviderRegistry()
    mine.register("greeter", greet)
    try:
        mine.register("greeter", greet)
    except ValueError:
        assert list(mine.providers) == ["greeter"]
    else:
        raise AssertionError("a name was taken twice")
    assert {"logic", "openai", "groq", "webhook"} <= set(registry.providers)


def execution() -> None:
    """A provider's output is the result's."""
    result = registry.execute("logic", "transform", {"template": "Test 1"}, {})
    assert (result.status, result.output, result.error) == ("success", "Test 1", None)
    assert result.latency_ms >= 0


def errors() -> None:
    """What a provider raises is the result's error, and a provider that is not there is one."""
    mine = ProviderRegistry()
    mine.register("greeter", greet)
    failed = mine.execute("greeter", "fail", {}, {})
    assert (failed.status, failed.error) == ("error", "RuntimeError: as asked")
    assert mine.execute("nobody", "greet", {}, {}).status == "error"
    assert "api_key of openai" in str(registry.execute("openai", "chat_completion", {}, {}).error)


if __name__ == "__main__":
    for name, test in {
        "ProviderResult serialization": serialization,
        "Provider registration": registration,
        "Provider execution": execution,
        "Provider error handling": errors,
    }.items():
        test()
        sys.stdout.write(f"✓ {name}\n")
