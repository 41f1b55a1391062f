from __future__ import annotations

import pytest

from tasks.domain.relation import quoted
from tasks.twin import beside


@pytest.mark.parametrize("name", ["shop", "F2X_NeuroHub", "x" * 63, "база данных " * 6, "😀" * 20])
def test_two_names_beside_one_stay_apart_although_postgresql_cuts_them(name: str) -> None:
    made = [beside(name, f"{word}_20261122030000") for word in ("restored", "before")]
    assert all(len(one.encode()) <= 63 for one in made)
    assert len(set(made)) == 2
    assert all(one.startswith(name[:5]) and one.endswith("_20261122030000") for one in made)


def test_a_name_is_quoted_whatever_it_holds() -> None:
    assert quoted('two words; and a " quote') == '"two words; and a "" quote"'
