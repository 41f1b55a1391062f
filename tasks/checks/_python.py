"""The Python that a release runs in, asked through its own interpreter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.domain.errors import CommandFailed
from tasks.domain.ports import Command
from tasks.domain.target import Target

INTERPRETER = "{release_dir}/.venv/bin/python"
"""Where a release has its own interpreter, unless it says otherwise."""

_MARK = "golive-answer:"


def ask(target: Target, python: str, script: str, question: Any, *, environment: dict[str, str], timeout: float) -> Any:
    """Run a script in the release's interpreter and directory, with a question on stdin, and return what it answers.

    The script finds the question as ``question`` and calls ``answer``; what the release's code prints is left aside.
    """
    whole = (
        "import json, sys\nquestion = json.load(sys.stdin)\n"
        f"def answer(found): sys.__stdout__.write('\\n{_MARK}' + json.dumps(found) + '\\n'); sys.__stdout__.flush()\n"
        f"{script}"
    )
    command = Command(
        (target.fill(python), "-B", "-c", whole),
        cwd=Path(target.release_dir),
        secret_env={name: target.fill(value) for name, value in environment.items()},
        stdin=json.dumps(question).encode(),
        timeout=timeout,
    )
    ended = target.world.host.run(command)
    line = next((line for line in ended.stdout.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise CommandFailed("it ended without an answer", where=command.argv[0])
    return json.loads(line.removeprefix(_MARK))
