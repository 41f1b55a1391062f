"""Values as the reference of the release file shows them."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from tasks.spec.describing import as_written


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("30 min", "30 min"),
        ("providers/openai.py", "providers/openai.py"),
        ("{base_url}/health", '"{base_url}/health"'),
        ("true", '"true"'),
        ("1e5", '"1e5"'),
        ("10.0.0.5", '"10.0.0.5"'),
        ("a: b #c", '"a: b #c"'),
        (["a b", 2, True, None], "[a b, 2, true, null]"),
        ({"max": 0.5, "of": ["${env:X}"]}, '{max: 0.5, of: ["${env:X}"]}'),
    ],
)
def test_a_value_is_shown_as_it_may_be_copied_into_a_file(value: Any, shown: str) -> None:
    assert as_written(value) == shown
    assert YAML(typ="safe").load(shown) == value
