"""The runbook, with each of its commands given in the trouble for which it is written down."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.domain.release import State
from tests.documents import DOCS, blocks_of, inline_commands
from tests.flows import SmallSystem
from tests.nursery import Nursery
from tests.parts import require_part
from tests.reading import Page, Reader, Word, a_reader, rest
from tests.waiting import end_active, waiting_for_go
from tests.watched import live_under_watch

pytestmark = pytest.mark.timeout(600)
RUNBOOK = DOCS / "runbook.md"
SWITCH = {"name": "mails", "check": "items can be read", "off": [["true"]], "on": [["true"]]}
WATCHED = {
    "checks.watch": [{"kind": "http", "name": "API answers", "url": "{base_url}/items"}],
    "watch.probe": {"every": "30s", "check": "API answers"},
    "rollback": {"when": [{"kind": "down", "for": "10m"}]},
}

Make = Callable[["Trouble"], str]


@dataclass
class Trouble:
    """Makes what the runbook is opened for; each function returns the release that it is about."""

    shop: SmallSystem
    nursery: Nursery
    reader: Reader
    version: str = "v1"
    number: int = 1
    release: str = ""
    at_hand: Make | None = None
    """What was made, if no command has changed it."""
    given: set[tuple[Make, str]] = field(default_factory=set)
    """Which commands were given in which trouble: what two places of the runbook say alike is done once."""

    def make(self, wanted: Make) -> None:
        """Make it anew, unless it is at hand."""
        if self.at_hand is not wanted:
            rest(self.shop)
            self.shop.write({"switches": [SWITCH], **WATCHED})
            self.release = wanted(self)
            self.at_hand = wanted

    def next_version(self) -> str:
        self.number += 1
        self.version = f"v{self.number}"
        return self.version

    def migrating(self) -> str:
        """Add a version with a migration, and return it."""
        version, column = self.next_version(), f"c{self.number}"
        up, down = (f"ALTER TABLE note {act};\n" for act in (f"ADD COLUMN {column} text", f"DROP COLUMN {column}"))
        self.shop.add_version(version, up={f"{self.number}_grow": up}, down={f"{self.number}_grow": down})
        return version

    def none(self) -> str:
        return ""

    def live(self) -> str:
        return live_under_watch(self.shop, self.next_version())

    def ended(self, state: State) -> str:
        release = self.live()
        self.shop.ledger.releases.let_go(self.shop.ledger.releases.seize(release, State.WATCHING, state, "the test"))
        return release

    def stable(self) -> str:
        return self.ended(State.STABLE)

    def rolled_back(self) -> str:
        release = self.live()
        end_active(self.shop)
        return release

    def needs_person(self) -> str:
        return self.ended(State.NEEDS_PERSON)

    def killed(self, *at: str, flow: str = "release") -> str:
        version = self.migrating()
        self.nursery.forget()
        assert self.nursery.run(flow, at, system="shop", version=version)
        return str(self.shop.latest().id)

    def killed_in_the_middle(self) -> str:
        return self.killed("to deploy")

    def killed_at_the_beginning(self) -> str:
        return self.killed("preflight")

    def killed_deployment(self) -> str:
        return self.killed("stop the old version", flow="deploy")

    def killed_deployment_that_changed_nothing(self) -> str:
        return self.killed("fetch the code", flow="deploy")

    def killed_rollback(self) -> str:
        release = self.live()
        self.nursery.forget()
        assert self.nursery.run("rollback", ["rollback"], system="shop", release=release)
        return release

    def awaiting_go(self) -> str:
        self.shop.write({"sign_off": {"go": ["dba", "technical_lead"]}})
        return waiting_for_go(self.shop, self.migrating())

    def killed_when_all_was_ready(self) -> str:
        return self.killed("to awaiting_go")

    def backed_up(self) -> str:
        self.reader.runs("golive backup shop")
        return ""

    def blocked(self) -> str:
        self.version = "v1"
        self.shop.ledger.releases.block("shop", "v1", by="ann", reason="it was slow")
        return ""

    def words(self) -> dict[str, Word]:
        """Return what whoever is on call fills in."""
        return {
            "[SYSTEM]": "shop",
            "SYSTEM": "shop",
            "ID": lambda: self.release,
            "VERSION": lambda: self.version,
            "SWITCH": str(SWITCH["name"]),
            "ROLE": "dba",
            "NAME": "ann",
            "NUMBER": lambda: max(one.id for one in self.shop.ledger.evidence.backups("shop")),
            "PATH": "evidence.zip",
            "…": "seen",
        }


T = Trouble
TROUBLE: dict[str, Make | dict[str, Make]] = {
    "Runbook for 03:00": T.stable,
    "`stable`, and an alert of a later stage": T.stable,
    '"too little is known for a verdict: extended until …"': T.live,
    "`rolling_back`": T.killed_rollback,
    "`rolled_back`": T.rolled_back,
    "`needs_person`": T.needs_person,
    "`migrate`, `deploy`, `health` for long, and an alert that nobody drives it": T.killed_in_the_middle,
    "`running` for long, and an alert that nobody drives it": {
        "stop": T.killed_deployment_that_changed_nothing,
        "": T.killed_deployment,
    },
    "`awaiting_go`": {"resume": T.killed_when_all_was_ready, "": T.awaiting_go},
    "any state before `migrate` whose process is dead": {
        "resume": T.killed_when_all_was_ready,
        "": T.killed_at_the_beginning,
    },
    "Roll back now": T.live,
    "One feature or provider is the trouble": T.none,
    "Get data back without a rollback": T.backed_up,
    "A drill has failed": T.backed_up,
    "A disk is full": T.live,
    "An auditor asks for the evidence of a release": T.stable,
    "A backup that lies elsewhere": T.backed_up,
    "A run of `release` failed or crashed in Prefect": T.killed_when_all_was_ready,
    "A run was cancelled in Prefect": T.killed_rollback,
    "Slack does not answer": T.live,
    "Alertmanager or Grafana does not answer": T.live,
    "Was it right to take it back?": T.live,
    "A backup builds upon one that cannot be used": T.none,
    "The same version again": T.blocked,
}
"""What each of its places is about, where need be by the command's name."""
LOOKS = {"status", "watch", "doctor", "history", "report", "check", "backups", "replay", "verify", "drill", "restore"}
"""Commands after which the trouble is what it was."""
LEADS_TO = {
    "rollback": {State.ROLLED_BACK},
    "accept": {State.STABLE, State.DONE},
    "stop": {State.STOPPED},
    "resume": {State.WATCHING, State.ROLLED_BACK},
    "waive": {State.AWAITING_GO},
    "approve": {State.AWAITING_GO},
}
"""Where a release stands after a command: of two roles that sign, one is still missing."""
NOT_RUN = {
    "golive up": "test_cli.py runs it, also after a secret has changed: it takes a Prefect server of its own",
    "golive down": "so does it that",
    "golive release ID, silence N": "it is no command but a comment in Alertmanager",
}
MENTIONED = {"golive enable", "golive accept", "golive rollback", "golive backup", "golive resume"}
"""Names of commands without what they need."""


@pytest.fixture(scope="module")
def trouble(running_v1: SmallSystem, golive_programs: Path, one_nursery: Nursery) -> Iterator[Trouble]:
    with running_v1.in_environment(), a_reader(running_v1, golive_programs) as reader:
        yield Trouble(running_v1, one_nursery, reader)


@pytest.mark.timeout(60)
def test_systemd_takes_the_unit_of_the_runbook(tmp_path: Path) -> None:
    (unit,) = [block.text for block in blocks_of(RUNBOOK) if block.language == "ini"]
    for word, here in (
        ("/opt/golive/.venv/bin/golive", "/bin/true"),
        ("/etc/golive/environment", str(tmp_path / "environment")),
    ):
        assert word in unit
        unit = unit.replace(word, here)
    (tmp_path / "environment").touch()
    (tmp_path / "golive.service").write_text(unit)
    words = [str(require_part("systemd-analyze")), "verify", "--recursive-errors=no", str(tmp_path / "golive.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def places() -> dict[str, list[str]]:
    """Return the commands that are to be run, by the place where they stand."""
    found: dict[str, list[str]] = {}
    for place, command in inline_commands(RUNBOOK):
        if command not in {*NOT_RUN, *MENTIONED}:
            found.setdefault(place, []).append(command)
    return found


def test_all_that_is_declared_stands_in_the_runbook() -> None:
    commands = {command for _place, command in inline_commands(RUNBOOK)}
    assert {*NOT_RUN, *MENTIONED} - commands == set()
    assert set(TROUBLE) == set(places())


@pytest.mark.parametrize("place", places())
def test_each_command_does_in_its_trouble_what_it_is_given_for(trouble: Trouble, database: str, place: str) -> None:
    reader, makes = trouble.reader, TROUBLE[place]
    reader.runs(f"export TARGET_DSN='{database}'")
    # Nobody works for the Prefect server of the tests, and the doctor says so.
    page = Page("docs/runbook.md", words=trouble.words(), ends={"golive doctor": {4}})
    for command in places()[place]:
        verb = command.split()[1]
        make = makes if callable(makes) else makes.get(verb, makes[""])
        if (make, command) in trouble.given:
            continue
        trouble.given.add((make, command))
        trouble.make(make)
        reader.types(page, command)
        if verb in LEADS_TO:
            assert trouble.shop.ledger.releases.get(trouble.release).state in LEADS_TO[verb], command
        if verb not in LOOKS:
            trouble.at_hand = None
