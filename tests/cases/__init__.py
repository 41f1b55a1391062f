"""For each kind of check, the fields of one that passes, one that fails, and one that comes out unknown.

One file per group of kinds, found by its file, with its ``CASES``. The key AROUND, which is no field, changes what a
check looks at: ``with`` is a function of the target that gives, as a context manager, more fields and the target.
"""

from __future__ import annotations

from typing import Any

Cases = dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]

NO_DATABASE = "postgresql://u@127.0.0.1:1/none"
SILENT = "http://0.0.0.0:1/"  # refuses, and does not look like this machine
