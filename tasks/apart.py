"""Work on a system apart from any release of it: on record like a release, with the release file of then."""

from __future__ import annotations

from tasks.context import holder, ledger, world
from tasks.domain.errors import GoliveError
from tasks.domain.release import new_release_id
from tasks.driving import person
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.releases import Claim, Opening
from tasks.settings import Settings
from tasks.spec import loading

NO_VERSION = "–"
"""What stands for the version where none is known."""


def open_apart(
    system: str,
    scope: str,
    *,
    version: str,
    started_by: str,
    reason: str,
    alone: bool = False,
    database: str = "",
) -> Claim:
    """Put an operation on record that neither needs the code of a version nor brings one, and take hold of it.

    With ``alone`` no release of the system may be under way, nor begin meanwhile; raises `ActiveRelease`. ``database``
    is a secret reference to another database that all its steps shall take for the system's.
    """
    settings = Settings.from_environment()
    book = ledger(settings)
    path, text = file_of(book, settings, system)
    row = book.releases.open(
        Opening(
            id=new_release_id(system, world().clock.now()),
            system=system,
            version=version,
            scope=scope,
            mutates=alone,
            started_by=person(started_by),
            reason=reason.strip(),
            file=path,
            file_text=loading.with_database(text, database) if database else text,
        )
    )
    return book.releases.take(row.id, holder())


def file_of(book: Ledger, settings: Settings, system: str) -> tuple[str, str]:
    """Return path and text of a system's release file, or of its last valid one on record if it cannot be read now.

    Raises `UnknownSystem` or `ReleaseFileError` where there is none on record either.
    """
    try:
        path = loading.find_release_file(settings.systems, system)
        loading.load(path)
        return str(path), path.read_text(encoding="utf-8")
    except GoliveError:
        last = last_of(book, system)
        if last is None:
            raise
        return last.file, last.file_text


def last_of(book: Ledger, system: str) -> Release | None:
    """Return the newest release or operation of a system that is about itself."""
    # A restore's record holds the release file as led to another database.
    return next((row for row in book.releases.latest(system, limit=100) if row.scope != "restore"), None)
