"""Commands within containers: what they get from outside, and what their end tells."""

from __future__ import annotations

from dataclasses import replace

from tasks.domain.errors import CommandFailed, ToolMissing
from tasks.domain.ports import Command, Finished
from tasks.platforms._docker import Engine

_OF_DOCKER = 125
_NO_PROGRAM = (126, 127)


def options(command: Command) -> tuple[str, ...]:
    """Return how Docker and Compose are told a command's directory and environment, of which words hold names alone."""
    # Compose v1 knows no --env, and shows its usage with exit code 0.
    names = sorted({*command.env, *command.secret_env})
    place = ("--workdir", str(command.cwd)) if command.cwd else ()
    return (*(word for name in names for word in ("-e", name)), *place)


def look_in(engine: Engine, container: str, command: Command) -> Finished:
    """Run a command in a container that runs.

    Raises `Unreachable` if the engine does not answer, `CommandFailed` where Docker itself has failed, `ToolMissing` if
    the container has no such program, and what `Host.run` raises.
    """
    words = ("docker", "exec", *options(command), container, *command.argv)
    ended = engine.host.run(
        replace(command, argv=words, cwd=None, env={**command.env, **engine.env}, ok_exit=tuple(range(-64, 256)))
    )
    if ended.exit_code:
        engine.require()
    if ended.exit_code in _NO_PROGRAM:
        raise ToolMissing(
            f"{command.argv[0]} cannot be run in the container: {_last(ended, command)}", do="mend the command"
        )
    return _judged(ended, command, (_OF_DOCKER,))


def run_once(engine: Engine, make: Command, container: str, command: Command) -> Finished:
    """Let Compose make a container for a command, wait for its end, and remove it, however that ends.

    What it printed and its exit code are asked of the engine: Compose's own exit code is 1 also where it could not make
    the container, and what a short command prints may be over before v1 listens.
    """
    try:
        made = engine.host.run(
            replace(
                make,
                env={**make.env, **command.env, **engine.env},
                secret_env={**make.secret_env, **command.secret_env},
                timeout=command.timeout,
            )
        )
        left = max(0.1, command.timeout - made.took)
        ended = engine.run("wait", container, timeout=left)
        printed = engine.run("logs", container)
    finally:
        engine.run("rm", "--force", "--volumes", container, ok_exit=(0, 1))
    code, took = int(ended.stdout), made.took + ended.took
    return _judged(Finished(code, printed.stdout, printed.stderr, took), command)


def _judged(ended: Finished, command: Command, never: tuple[int, ...] = ()) -> Finished:
    if ended.exit_code in never or ended.exit_code not in command.ok_exit:
        raise CommandFailed(f"exit code {ended.exit_code}: {_last(ended, command)}", where=command.argv[0])
    return ended


def _last(ended: Finished, command: Command) -> str:
    said = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-15:])
    for value in sorted(command.secret_env.values(), key=len, reverse=True):
        said = said.replace(value, "•••") if value else said
    return said
