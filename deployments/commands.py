"""What the commands of ``golive`` share: the application, arguments, the way to the ledger and to Prefect."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.output import masked, note, reported, say
from tasks.domain.errors import GoliveError
from tasks.domain.release import check_version
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.ledger.ledger import Ledger

app = typer.Typer(
    name="golive",
    help="Take a PostgreSQL-backed service from one version to the next, and back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def systems_like(incomplete: str) -> list[str]:
    """Return the systems whose names begin so, for the shell's completion."""
    from tasks.spec.loading import systems_in

    return [name for name in systems_in(Settings.from_environment().systems) if name.startswith(incomplete)]


def releases_like(incomplete: str) -> list[str]:
    """Return the newest releases whose ids begin so, for the shell's completion; a ledger that is away offers none."""
    from deployments.serving import running_ledger

    ledger = running_ledger(Settings.from_environment())
    if ledger is None:
        return []
    try:
        return [row.id for row in ledger.releases.latest(limit=200) if row.id.startswith(incomplete)]
    except GoliveError:
        return []
    finally:
        ledger.close()


def either_like(incomplete: str) -> list[str]:
    """Return the systems and the releases that begin so, for the shell's completion."""
    return [*systems_like(incomplete), *releases_like(incomplete)]


System = Annotated[
    str,
    typer.Argument(
        metavar="SYSTEM",
        help="The system, by the name of its directory.",
        show_default=False,
        autocompletion=systems_like,
    ),
]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="A tag, commit or directory of its source.", show_default=False)
]
ReleaseId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The id of the release.", show_default=False, autocompletion=releases_like),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it; by default the user who runs it.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in a sentence.")]
MustBy = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it.", show_default=False)]
MustReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in a sentence.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(name: str, among: typer.Typer = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command that reports its errors as golive does, and whose help fits the terminal."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        among.command(name, help=flowing(inspect.getdoc(function) or ""))(reported(function))
        return function

    return register


def flowing(text: str) -> str:
    """Return a text whose paragraphs are one line each, to be broken where the terminal ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"golive {installed_version('golive')}")
        raise typer.Exit


@app.callback()
def _golive(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take a PostgreSQL-backed service from one version to the next, and back."""


def settings() -> Settings:
    """Return the settings of this installation."""
    return Settings.from_environment()


def require_known(system: str, version: str = "") -> None:
    """Raise `UnknownSystem`, `ReleaseFileError` or `InvalidVersion` before anything is started."""
    from tasks.spec import loading

    loading.load(loading.find_release_file(settings().systems, system))
    if version:
        check_version(version)


def book() -> Ledger:
    """Return the ledger, starting the embedded one if need be."""
    from tasks.context import ledger

    return ledger(settings())


def connect_prefect(*, quiet: bool = True) -> None:
    """Connect this process to Prefect's API; only then may `deployments.starting` be imported."""
    from deployments.serving import connect

    connect(settings(), note, quiet=quiet)


def connect_prefect_if_it_answers(*, quiet: bool = True, within: float | None = None) -> None:
    """Connect this process to Prefect's API for what is done without it too; say so where it is not to be had.

    ``within`` are the seconds that this installation's own server gets to answer.
    """
    from deployments.server import UP_WITHIN
    from deployments.serving import connect

    try:
        connect(settings(), note, quiet=quiet, within=UP_WITHIN if within is None else within)
    except GoliveError as error:
        note(f"without Prefect: {error}")


def tell(said: str, *, as_json: bool, release: str | None = None) -> None:
    """Print what came of an act; as JSON beside how the release stands, by default the one that this process drove."""
    if not as_json:
        say(said)
        return
    from deployments.looking import facts_of
    from tasks.context import holder

    row = book().releases.get(release) if release else book().releases.moved_last_by(holder())
    print_json({"said": said, "release": facts_of(book(), row) if row is not None else None})


def print_json(value: Any) -> None:
    """Print a value as JSON, masked."""
    typer.echo(masked(json.dumps(value, indent=2, ensure_ascii=False)))
