"""What a checklist's row may be decided by besides checks and signatures: phases, steps and parts of the report."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.domain.release import Phase, State


@dataclass(frozen=True)
class Mark:
    """A phase, or one step, of golive's own: how a release file names it, and by what it is known on record.

    ``state`` is a phase's; a step has the names, or beginnings of names, under which ``phases`` put it on record, or
    the name of a check that golive makes by itself. ``only_back`` says that a release that goes well never does it.
    """

    name: str
    about: str
    state: State | None = None
    phases: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    check: str = ""
    only_back: bool = False


def _phase(name: str, about: str, state: State, *, only_back: bool = False) -> Mark:
    return Mark(name, about, state=state, phases=(name,), only_back=only_back)


def _step(name: str, about: str, phase: str, *steps: str, only_back: bool = False) -> Mark:
    return Mark(name, about, phases=(phase,), steps=steps, only_back=only_back)


_PRE, _BACKUP, _REHEARSE, _DEPLOY, _BACK = Phase.PREFLIGHT, Phase.BACKUP, Phase.REHEARSE, Phase.DEPLOY, Phase.ROLLBACK

MARKS: tuple[Mark, ...] = (
    _phase("preflight", "The whole phase: all that a release rests on.", State.PREFLIGHT),
    _step("window", "The change window is open.", _PRE, "check the change window"),
    _step("ports", "The ports of the rollout are free.", _PRE, "check the ports"),
    _step("hosts", "Every host can be reached and has what it needs.", _PRE, "check the hosts"),
    _step("platform_possible", "The platform can run it.", _PRE, "check that the platform can run it"),
    _step("clients_counted", "The clients' requests are counted.", _PRE, "check that requests are counted"),
    _step("fetch", "The version's code is brought to the host, and is what its source says.", _PRE, "fetch the code"),
    Mark("tools", "The client tools fit the server.", check="golive: the client tools fit the server"),
    Mark(
        "database",
        "The database answers golive's role and grants what a release needs.",
        check="golive: the database answers and grants what a release needs",
    ),
    Mark(
        "room",
        "There is room for the backup and its scratch copy.",
        check="golive: there is room for the backup and its scratch copy",
    ),
    _step("backup_possible", "A backup can be made and kept.", _PRE, "check that a backup can be made"),
    _step("migration_possible", "The migration can be run.", _PRE, "check that the migration can be run"),
    _phase("backup", "The whole phase: a backup, restored, compared, kept.", State.BACKUP),
    _step("take_backup", "Production is backed up.", _BACKUP, "take the backup"),
    _step("restore_copy", "The backup is restored beside production.", _BACKUP, "restore into the scratch database"),
    _step("compare_copy", "Every table of the restored copy is compared.", _BACKUP, "compare every table"),
    _step("keep_backup", "The proven backup is kept, encrypted and stored as asked.", _BACKUP, "keep the backup"),
    _step("retire_backups", "Backups beyond those to keep are removed.", _BACKUP, "retire old backups"),
    _phase("rehearse", "The whole phase: the migration and both versions on the copy.", State.REHEARSE),
    _step("review", "The migration's SQL is reviewed.", _REHEARSE, "review the migration's SQL"),
    _step("rehearse_load", "The migration is run on a copy under load.", _REHEARSE, "migrate a copy under load"),
    _step(
        "record_alone",
        "What the old version does alone on the copy is recorded, where a check of the rehearsal compares with it.",
        _REHEARSE,
        "record what the old version does on the copy",
    ),
    _step(
        "rehearse_migration",
        "The migration is run on the copy up, down and up, and must come out the same.",
        _REHEARSE,
        "migrate the copy up, down and up",
    ),
    _step(
        "rehearse_versions",
        "Old and new version are run on the migrated copy.",
        _REHEARSE,
        "run both versions on the migrated copy",
    ),
    _step(
        "restore_possible",
        "Where a restore is the only way back, it is seen that one could be made.",
        _REHEARSE,
        "see that a restore could be made",
    ),
    _phase("go", "Go or no-go: every role has signed and the window is open.", State.AWAITING_GO),
    _phase("migrate", "The whole phase: production is migrated as rehearsed.", State.MIGRATE),
    _step("hold_migration", "Requests are held back while production is migrated.", "migrate",
          "hold requests back while the schema changes"),
    _step("let_go", "Requests that were held back go on.", "migrate", "let requests go on"),
    _step("migrate_production", "The migration is run on production.", "migrate", "migrate production"),
    _step("verify_schema", "Production's schema is the rehearsed one.", "migrate", "verify the schema"),
    _step("compare_rehearsal", "Its seconds and locks are held against those rehearsed.", "migrate",
          "compare with the rehearsal"),
    _phase("deploy", "The whole phase: the new version takes over.", State.DEPLOY),
    _step("push", "The version is pushed to the branch that others deploy from.", _DEPLOY, "push "),
    _step("start", "The new version is started.", _DEPLOY, "start "),
    _step("ready", "The new version answers before it is sent requests.", _DEPLOY, "wait until "),
    _step("switch", "Requests go to the new version.", _DEPLOY, "switch the router to ", "send "),
    _step("replace", "Each instance is replaced in its turn.", _DEPLOY, "replace "),
    _step("instances", "Every instance runs the new version.", _DEPLOY, "look at every instance"),
    _step("canary", "The new version is probed with a share of the requests.", _DEPLOY, "probe "),
    _step("hold", "Requests are held back while the versions change.", _DEPLOY, "hold requests back"),
    _step("background", "Background work is handed over.", _DEPLOY, "hand the background work over"),
    # Before the migration where that asks for it; at the end of the watch by a rollout that keeps it for a while.
    Mark("stop_old", "The old version is stopped.", phases=("migrate", _DEPLOY, "watch"),
         steps=("stop the old version",)),
    _step("confirm", "The version that serves is the released one.", _DEPLOY, "confirm which version serves"),
    _step("show_current", "The link to what serves leads to it.", _DEPLOY, "show which version is current"),
    _step("prune", "Old releases are removed from the host.", _DEPLOY, "remove old releases"),
    _phase("health", "The whole phase: what every version must pass, and the health checks.", State.HEALTH),
    _phase("watch", "The whole watch: the guard's probes and the monitor's looks.", State.WATCHING),
    _phase("rollback", "The whole way back.", State.ROLLING_BACK, only_back=True),
    _step("stop_new", "The failed version is stopped.", _BACK, "stop the old version", only_back=True),
    _step("take_schema_back", "The schema is taken back.", _BACK, "take the schema back", only_back=True),
    _step("hold_back", "Requests are held back while the schema is taken back.", _BACK,
          "hold requests back while the schema changes", only_back=True),
    _step("let_go_back", "Requests that were held back go on.", _BACK, "let requests go on", only_back=True),
    _step("restore_database", "The backup is restored over the database.", _BACK, "restore the database",
          only_back=True),
    _step("start_previous", "The previous version is started again.", _BACK, "start ", only_back=True),
    _step("route_back", "Requests go to the previous version again.", _BACK, "switch the router to ",
          "send ", only_back=True),
    _step("push_back", "The previous version is pushed once more.", _BACK, "push ", only_back=True),
    _step("archive", "What failed is archived.", _BACK, "archive the release", only_back=True),
)  # fmt: skip
"""The phases and steps that golive puts on record, in their order; a release file may name no others."""

DOCUMENTS: dict[str, str] = {
    "release": "The release's id, its system, the version and the one before.",
    "started": "When it was started, by whom, and why.",
    "phases": "When each phase began, how long it took, how it ended.",
    "verdict": "How the release ended, and why.",
    "checks": "Every check with what was seen.",
    "issues": "All that failed or stayed unknown.",
    "baseline": "The answer times before the release and now.",
    "locks": "What the migration locked, and for how long.",
    "backup": "The backup with its proof.",
    "rehearsal": "What the rehearsal measured.",
    "way_back": "The proven way back.",
    "outages": "The probes of the watch, outages and error share.",
    "looks": "The monitor's reports of the watch.",
    "stages": "The verdict on each stage of the watch, once the last one is over.",
    "status_reports": "The status reports of the watch's later stages, once the last one is over.",
    "steps": "Every step with its evidence.",
    "signatures": "Who signed, when, for what.",
    "decisions": "Who or what decided, when, and why.",
    "messages": "The messages that were sent.",
}
"""The parts of the report that may cover a row; a release file may name no others."""
