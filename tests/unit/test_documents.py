"""What the documents say: each command of golive in them exists, each link leads somewhere."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from deployments.cli import app
from deployments.new_system import TEMPLATE
from deployments.reference import commands_of
from tasks.domain.outcome import Outcome
from tasks.spec.loading import parse
from tasks.spec.release_file import ReleaseFile
from tests.documents import DOCS, ROOT, SHELL, blocks_of, golive_commands

WRITTEN = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("how-to/*.md"))]
COMMANDS: dict[str, Any] = dict(commands_of(typer.main.get_command(app)))
EVERYWHERE = {"--help", "--version", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_each_command_and_each_option_in_a_document_exists(document: Path) -> None:
    faults = [f"{where}: {' '.join(words)}" for where, words in golive_commands(document) if not _exists(words[1:])]
    assert not faults


def _exists(words: list[str]) -> bool:
    if not words or words[0] in EVERYWHERE or words[0].isupper():
        return True
    name = _name(words)
    if name is None:
        return False
    options = {option for one in COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)} | EVERYWHERE
    return all(word.partition("=")[0] in options for word in words if re.match(r"--[a-z]", word))


def _name(words: list[str]) -> str | None:
    able = (" ".join(words[:2]), *words[:1], f"{' '.join(words[:1])} show")
    return next((one for one in able if one in COMMANDS), None)


def test_each_command_in_a_block_is_understood_as_it_stands() -> None:
    """Its arguments are as many as it takes, what it must be given is given, and each value is one that it knows."""
    shown = [one for document in WRITTEN for one in golive_commands(document, between_lines=False)]
    assert len(shown) > 50
    faults = [f"{where}: {' '.join(words)}: {fault}" for where, words in shown if (fault := _misunderstood(words[1:]))]
    assert not faults


def _misunderstood(words: list[str]) -> str:
    name = _name(words)
    if name is None:
        return "no such command"
    given = words[len(name.removesuffix(" show").split()) :]
    try:
        COMMANDS[name].make_context(name, [one for one in given if one != "show"])
    except Exception as error:  # noqa: BLE001 - typer keeps the errors of its click to itself
        return str(error)
    return ""


def test_each_command_that_a_document_shows_is_run_by_a_test() -> None:
    shown = {_name(words[1:]) or "" for document in WRITTEN for _where, words in golive_commands(document)} - {""}
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    tests += "".join(block.text for block in blocks_of(DOCS / "tutorial.md") if block.language == "sh")

    def is_run(name: str) -> bool:
        call = r'(?:golive|as_json|run|invoke|main|cli"|cli_)[(,][^"\n]*"' + r'"[,\s]+"'.join(name.split()) + '"'
        return bool(re.search(call, tests) or re.search(rf"golive {name}\b", tests))

    assert [name for name in sorted(shown) if not is_run(name)] == []


def test_help_is_broken_where_the_terminal_ends_and_names_arguments_as_the_documents_do() -> None:
    broken = {name for name, one in COMMANDS.items() if any("\n" in part for part in (one.help or "").split("\n\n"))}
    assert broken == set()
    arguments = [(name, one) for name, command in COMMANDS.items() for one in command.params if one.nargs == 1]
    assert [name for name, one in arguments if one.param_type_name == "argument" and not one.metavar] == []


NOT_FOLLOWED = {
    "docs/tutorial.md": "test_tutorial.py runs it as one script",
    "docs/runbook.md": "test_runbook.py gives each of its commands in its trouble",
    "docs/how-to/several-machines.md": "test_several_machines.py sets machines up by its commands",
    "docs/how-to/a-service-you-did-not-write.md": "it tells what somebody did with services of PyPI and npm in an hour",
}
"""Documents with blocks that no test follows from one to the next, each with the reason."""


def test_a_test_follows_each_document_with_blocks_to_be_run() -> None:
    tests = (ROOT / "tests" / "integration").glob("test_*.py")
    followed = {name for path in tests for name in re.findall(r'Page\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))}
    shown = {
        str(document.relative_to(ROOT))
        for document in WRITTEN
        if any(block.language in {*SHELL, "yaml"} for block in blocks_of(document))
    }
    assert shown - followed == NOT_FOLLOWED.keys() & shown
    assert all((ROOT / name).exists() for name in NOT_FOLLOWED)


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_each_link_within_the_documents_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


HOW_TOS = [path for path in sorted(DOCS.glob("how-to/*.md")) if path.name != "bring-your-checklist.md"]
"""Those whose parts of a release file stand for themselves; a checklist's rows need the checklist."""


@pytest.mark.parametrize("document", HOW_TOS, ids=lambda path: path.name)
def test_what_a_how_to_shows_of_a_release_file_is_valid(document: Path) -> None:
    plain = TEMPLATE.replace("@NAME@", "shop").replace("@UPPER@", "SHOP")
    for shown in re.findall(r"^```yaml\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        file = YAML(typ="safe").load(plain)
        part = YAML(typ="safe").load(shown)
        if not isinstance(part, dict) or not part.keys() <= file.keys() | ReleaseFile.model_fields.keys():
            continue  # a part of a section, or another file
        for section in ("checks", "watch"):
            file[section] |= part.pop(section, None) or {}
        assert parse(json.dumps(file | part), document.name)


def test_what_a_how_to_shows_of_a_check_is_one() -> None:
    text = (DOCS / "how-to" / "write-a-check.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(program, "queue_depth.py", "exec"), made)
    made["QueueDepth"].model_rebuild(_types_namespace=made)
    check = made["QueueDepth"](name="few wait", query="SELECT 1", most=3)
    waiting = SimpleNamespace(value=lambda _query: 4)
    world = SimpleNamespace(databases=SimpleNamespace(session=lambda *_a, **_k: nullcontext(waiting)))
    assert check.look(SimpleNamespace(world=world, dsn="")).outcome is Outcome.FAILED
