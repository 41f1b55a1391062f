"""What a Compose file comes to, as ``docker compose config`` and ``docker-compose config`` tell it."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from ruamel.yaml import YAML

from tasks.domain.docker import unset_variables
from tasks.domain.errors import Refused
from tasks.domain.ports import Finished


def require_usable(told: Finished, services: Iterable[str], where: str) -> None:
    """Raise `Refused` if a variable would be empty for want of a value, or one of the services is not there."""
    if unset := unset_variables(told):
        raise Refused(
            f"{', '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set and would be empty",
            where=where,
            do="add it to platform.environment, or give it a default in the file: ${NAME:-}",
        )
    file = YAML(typ="safe", pure=True).load(StringIO(told.stdout))
    known = sorted((file or {}).get("services") or {})
    if lacking := [name for name in services if name not in known]:
        raise Refused(
            f"there is no service {', '.join(lacking)}",
            expected=f"one of {', '.join(known)}",
            where=where,
            do="mend platform.services, or add its profile to platform.profiles",
        )
