"""What the tests of the kinds of checks share: one look by fields as a release file gives them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import Check
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.target import Target

P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN

# Debian's PostgreSQL 15 where it is installed, else the oldest at hand that is not older.
on_an_older_server_too = pytest.mark.parametrize("pg_server", [None, 15], indirect=True, ids=["newest", "15"])


def look(kind: type[Check], target: Target, **fields: Any) -> Reading:
    """Make a check of a kind and look once."""
    return kind.model_validate({"name": "it", **fields}).look(target)
