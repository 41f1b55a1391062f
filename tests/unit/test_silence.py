"""What a release file says of silences."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.domain.silence import Silence, parsed


@pytest.mark.parametrize(
    ("matcher", "name", "value", "is_regex", "is_equal"),
    [
        ('service="shop"', "service", "shop", False, True),
        (' service =~ "shop|web.*" ', "service", "shop|web.*", True, True),
        ('severity!="page"', "severity", "page", False, False),
        (r'path!~"/a\.b\"c"', "path", r'/a\.b"c', True, False),
        (r'note="a \"b\" \\"', "note", 'a "b" \\', False, True),
    ],
)
def test_matchers_are_read_as_alertmanager_writes_them(
    matcher: str, name: str, value: str, is_regex: bool, is_equal: bool
) -> None:
    assert parsed(matcher) == {"name": name, "value": value, "isRegex": is_regex, "isEqual": is_equal}


@pytest.mark.parametrize(
    "wrong",
    [
        {"matchers": []},
        {"matchers": ["service=shop"]},
        {"matchers": ['severity!="page"']},
        {"matchers": ['service=~".*"']},
        {"matchers": ['service="shop"'], "for": "25h"},
        {"matchers": ['service="shop"'], "comment": "x"},
    ],
)
def test_what_would_silence_everything_or_for_long_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Silence.model_validate({"url": "http://127.0.0.1:9093", **wrong})
