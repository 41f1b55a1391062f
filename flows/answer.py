"""Answer: what follows when a trigger fires, whoever has seen it."""

from __future__ import annotations

from flows.rollback import rollback
from tasks.acting import perform
from tasks.guard import ask_person, state_of
from tasks.watching import Fired, told


async def answer(fired: Fired) -> str:
    """Roll the release back, or ask a person where golive may not, and say what came of it; raises nothing.

    Whoever comes second finds it answered. A rollback that fails has asked a person by itself.
    """
    try:
        if not fired.automatic:
            return told(fired, ask_person(fired))
        served = await perform(rollback, fired.system, fired.seen, fired.by, automatic=True, release=fired.release_id)
    except Exception as error:  # noqa: BLE001 - one release's trouble must not end the watch over the others
        return told(fired, f"is {state_of(fired)}", error)
    return told(fired, f"was rolled back to {served}")
