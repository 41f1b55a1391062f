"""Release: a system goes from one version to the next, and comes back by itself if that does not hold."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow

from flows.answer import answer
from flows.backup import backup
from flows.deploy import deploy
from flows.health import health
from flows.migrate import migrate
from flows.parameters import Help, Reason, ReleaseId, StartedBy, System, Version
from flows.preflight import preflight
from flows.rehearse import rehearse
from flows.rollback import rollback
from tasks.acting import perform
from tasks.domain.release import State
from tasks.driving import advance, driving, shown
from tasks.guard import see_to_guard
from tasks.monitor import look_right_after
from tasks.planning import Phase
from tasks.release import go_live, has_touched_production, must_roll_back, open_or_resume, reached, seek_go, stop
from tasks.report import publish_report
from tasks.show_plan import show_plan
from tasks.silencing import end_silences

BEFORE: dict[State, Any] = {State.PREFLIGHT: preflight, State.BACKUP: backup, State.REHEARSE: rehearse}
"""The phases that leave production as it is."""

IN_PRODUCTION: dict[State, Any] = {State.MIGRATE: migrate, State.DEPLOY: deploy, State.HEALTH: health}
"""The phases after which production may differ."""

PHASES = (
    *(Phase(state.value, flow, changes_production=False) for state, flow in BEFORE.items()),
    *(Phase(state.value, flow) for state, flow in IN_PRODUCTION.items()),
)
"""All phases in their order, as a plan tells them."""
BACK = Phase("rollback", rollback)
"""The way back, as a plan tells it."""

Supersede = Annotated[bool, Help("End the watch of the release that is live now, so that this one may begin.")]
Resume = Annotated[ReleaseId, Help("Leave it empty; or the id of a release that a dead process left behind, to go on.")]


@flow(name="release", flow_run_name="{system} {version} → live")
async def release(
    system: System,
    version: Version,
    reason: Reason = "",
    started_by: StartedBy = "",
    supersede: Supersede = False,
    resume: Resume = "",
) -> str:
    """Take a system to a version through all phases, and return its id and state.

    A failure before production is touched stops the release; one after that rolls it back. The 24 hours that follow
    are watched by the guard and the monitor.
    """
    opened = open_or_resume(system, version, reason=reason, started_by=started_by, supersede=supersede, resume=resume)
    with driving(opened) as claim:
        try:
            show_plan(claim, PHASES, BACK)
            for state, phase in BEFORE.items():
                if not reached(claim, state):
                    advance(claim, state)
                    await phase(system, version, started_by, claim.release_id)
            show_plan(claim, PHASES, BACK)
            if not has_touched_production(claim) and (missing := seek_go(claim)):
                return f"{claim.release_id} awaits {', '.join(missing)}"
            for state, phase in IN_PRODUCTION.items():
                if not reached(claim, state):
                    advance(claim, state)
                    await perform(phase, system, version, started_by, claim.release_id)
            go_live(claim)
        except BaseException as error:
            if must_roll_back(claim, error):
                await perform(
                    rollback, system, shown(claim, error), started_by, automatic=True, release=claim.release_id
                )
            else:
                stop(claim, error)
            raise
        finally:
            end_silences(claim.release_id)
            publish_report(claim.release_id)
        see_to_guard(claim)
    looked = look_right_after(claim)
    if looked is not None and looked.fired is not None:
        return await answer(looked.fired)
    return f"{claim.release_id} is live and watched"
