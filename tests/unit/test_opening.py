"""Which version is taken for the serving one when a release is opened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.domain.errors import SeveralServe
from tasks.driving import _serving


def file_of(*versions: str) -> Any:
    def serving(_site: object) -> str:
        raise SeveralServe("several", versions=versions)

    return SimpleNamespace(rollout=SimpleNamespace(serving=serving))


def test_a_release_of_a_version_that_serves_in_part_makes_it_one_again():
    site: Any = None
    assert _serving(file_of("v1", "v2"), site, "v2", needed=True) == "v2"
    assert _serving(file_of("v1"), site, "v2", needed=True) == "v1"
    with pytest.raises(SeveralServe):
        _serving(file_of("v1", "v2"), site, "v3", needed=True)
