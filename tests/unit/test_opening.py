"""Which version is taken for the serving one when a release is opened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.domain.errors import SeveralServe
from tasks.driving import _serving
from tasks.platforms import Running, Status
from tests.stage import KINDS, a_rollout


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_that_is_about_to_be_up_is_the_one_to_come_back_to(kind):
    rollout = a_rollout(kind)
    names: Any = SimpleNamespace(host_names=("",))
    slots = sorted({place.slot for place in rollout.places(names)})
    used = slots if kind == "rolling" else slots[-1:]
    at: dict[str, Status] = {slot: Status(Running.STARTING, f"v{slots.index(slot)}") for slot in slots}
    site: Any = SimpleNamespace(
        host_names=("",),
        hosts={},
        on=lambda host: host,
        at_router=None,
        router=SimpleNamespace(current=lambda _at: SimpleNamespace(slots=used)),
        platform=SimpleNamespace(status=lambda _target, slot: at[slot]),
    )
    file: Any = SimpleNamespace(rollout=rollout)
    if len(used) > 1:
        with pytest.raises(SeveralServe, match="v0, v1 are starting"):
            _serving(file, site, "v9", needed=True)
        at |= dict.fromkeys(slots, at[used[-1]])
    assert _serving(file, site, "v9", needed=True) == at[used[-1]].version
    at |= dict.fromkeys(slots, Status(Running.DOWN, "v1"))
    assert _serving(file, site, "v9", needed=True) is None
