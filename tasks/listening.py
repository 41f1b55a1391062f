"""Listens to the buttons of every Slack app that the release files name, and keeps the gates meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tasks.adapters.slack import SlackChat
from tasks.adapters.slack_socket import SlackSocket
from tasks.context import world
from tasks.domain.errors import GoliveError, NotFound
from tasks.domain.ports import ChatApi, Press
from tasks.gatekeeping import see_to_gates
from tasks.notifiers.slack import Slack
from tasks.pressing import heed
from tasks.settings import Settings
from tasks.signing import observed
from tasks.spec import loading
from tasks.telling import courier_for

SEE_TO_GATES_EVERY = 60.0
"""Seconds between two looks for who must be reminded."""


@dataclass(frozen=True)
class App:
    """A Slack app, by the reference to its token and where its Web API is."""

    app_token: str
    base_url: str


def apps(settings: Settings) -> list[App]:
    """Return the Slack apps that the release files name, each once; a file that cannot be read names none."""
    found: dict[App, None] = {}
    for system in loading.systems_in(settings.systems):
        try:
            file = loading.load(loading.find_release_file(settings.systems, system))
        except GoliveError as error:
            world().progress(f"{system} is not listened for: {error}")
            continue
        for one in file.notify:
            if isinstance(one, Slack) and one.app_token is not None:
                found[App(one.app_token, one.base_url)] = None
    return list(found)


def chat_of(notifier: Slack) -> ChatApi:
    """Return what speaks as the bot of a notifier."""
    return SlackChat(world().secrets.resolve(notifier.token), notifier.base_url, notifier.timeout)


def listen(stop: threading.Event, *, ping: float = 10.0, every: float = SEE_TO_GATES_EVERY) -> None:
    """Listen until ``stop`` is set; raises `NotFound` where no release file names an app, or `SecretMissing`."""
    named = apps(Settings.from_environment())
    if not named:
        raise NotFound(
            "no release file names a Slack app",
            expected="app_token in a notifier of kind slack",
            do="see docs/how-to/sign-and-slack.md",
        )
    tell = world().progress
    sockets = [
        SlackSocket(world().secrets.resolve(app.app_token), app.base_url, _heeding(app), tell, ping=ping)
        for app in named
    ]
    threads = [threading.Thread(target=one.run, args=(stop,), name="slack", daemon=True) for one in sockets]
    for thread in threads:
        thread.start()
    tell(f"listening to the buttons of {len(named)} Slack app{'s' if len(named) > 1 else ''}")
    while not stop.wait(every):
        keep()
    for thread in threads:
        thread.join(10)


def keep() -> None:
    """See to the gates and deliver what that says; trouble is told, and passes."""
    try:
        said = see_to_gates()
        for release in dict.fromkeys(line.partition(":")[0] for line in said):
            courier_for(observed(release)).flush(10.0)
    except GoliveError as error:
        world().progress(f"the gates could not be seen to: {world().secrets.mask(str(error))}")


def _heeding(app: App) -> Callable[[Press], object]:
    def heard(press: Press) -> None:
        said = heed(press, app.app_token, chat_of)
        world().progress(f"{press.user} pressed {press.act}: {said or 'done'}")

    return heard


def is_wanted(settings: Settings) -> bool:
    """Tell whether a release file names a Slack app whose token there is."""
    for app in apps(settings):
        try:
            world().secrets.resolve(app.app_token)
        except GoliveError:
            continue
        return True
    return False
