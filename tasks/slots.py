"""Shows in Prefect's UI which systems have a release under way: the limit ``golive:SYSTEM`` has its one slot taken."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

from tasks.acting import alone, prefect_answers
from tasks.context import ledger
from tasks.domain.release import limit_name
from tasks.settings import Settings


def show_slot(system: str) -> None:
    """Set the limit's taken slots to what the ledger says of the system.

    It is a view: the ledger's database holds the rule, so a server that is away or does not know the limit is fine.
    """
    if alone() or not prefect_answers():  # Prefect's own client asks a server that is silent for minutes
        return
    taken = ledger(Settings.from_environment()).releases.active(system) is not None
    try:
        with get_client(sync_client=True) as client:
            client.update_global_concurrency_limit(
                limit_name(system), GlobalConcurrencyLimitUpdate(active_slots=int(taken))
            )
    except Exception:  # noqa: BLE001 - whatever keeps the view from being drawn must not keep a release from going on
        return
