"""What holds for every kind of every package: one file, one class, one name, described, in the schema."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from tasks import checks
from tasks.domain.kind import Kind
from tasks.spec import kinds as finding
from tasks.spec.describing import describe_fields
from tasks.spec.kinds import PACKAGES, kinds_in, union_of
from tasks.spec.release_file import ReleaseFile

ALL = [
    pytest.param(package, info.name, id=f"{package.__name__.removeprefix('tasks.')}.{info.name}")
    for package in PACKAGES
    for info in pkgutil.iter_modules(package.__path__)
    if not info.name.startswith("_")
]
every_kind = pytest.mark.parametrize(("package", "name"), ALL)


def models_in(annotation: Any, seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    seen = set() if seen is None else seen
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation, seen)
    for inner in get_args(annotation):
        yield from models_in(inner, seen)


def test_every_package_of_kinds_is_known():
    folder = Path(finding.__file__).parents[1]
    having = {
        path.parent.name
        for path in folder.glob("*/__init__.py")
        if re.search(r"^class \w+\(Kind\)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert having == {package.__name__.rpartition(".")[2] for package in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_package_has_kinds_and_each_is_found_by_its_file(package):
    files = {path.stem for path in Path(package.__path__[0]).glob("[!_]*.py")}
    assert set(kinds_in(package)) == files
    assert files


@every_kind
def test_a_file_holds_one_public_class_that_fulfils_the_contract_of_its_package(package, name):
    module = importlib.import_module(f"{package.__name__}.{name}")
    public = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Kind)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    assert len(public) == 1, public
    assert issubclass(public[0], PACKAGES[package])
    assert not inspect.isabstract(public[0]), public[0].__abstractmethods__


@every_kind
def test_its_kind_is_the_name_of_its_file_and_nothing_else(package, name):
    field = kinds_in(package)[name].model_fields["kind"]
    assert field.default == name
    assert get_origin(field.annotation) is Literal
    assert get_args(field.annotation) == (name,)


@every_kind
def test_it_and_its_file_say_what_they_are_in_a_sentence(package, name):
    kind = kinds_in(package)[name]
    for described in (kind, importlib.import_module(kind.__module__)):
        first = (described.__doc__ or "").strip().splitlines()[0]
        assert first[:1].isupper(), first
        assert first.endswith("."), first


@every_kind
def test_every_field_of_it_is_described(package, name):
    describe_fields()
    for model in models_in(kinds_in(package)[name]):
        lacking = [field for field, info in model.model_fields.items() if not info.description]
        assert not lacking, f"{model.__name__}: {lacking} need a docstring"


@every_kind
def test_an_unknown_key_of_it_is_refused_and_its_values_do_not_change(package, name):
    kind = kinds_in(package)[name]
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["frozen"] is True
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind.model_validate({"kind": name, "no_such_key": 1})


@cache
def defined() -> dict[str, Any]:
    """The parts of the release file's schema."""
    parts: dict[str, Any] = ReleaseFile.model_json_schema(by_alias=True)["$defs"]
    return parts


@every_kind
def test_it_appears_in_the_schema_of_the_release_file(package, name):
    kind = kinds_in(package)[name]
    found = [node for node in defined().values() if node.get("properties", {}).get("kind", {}).get("const") == name]
    assert any(node["description"].startswith((kind.__doc__ or "").splitlines()[0]) for node in found)


ARGVS = (
    "argv",
    "command",
    "test",
    "reload",
    "pending",
    "upgrade",
    "downgrade",
    "set",
    "get",
    "start",
    "stop",
    "status",
)
"""What a field is named that holds a program and its arguments."""


def argvs_of(kind: type[BaseModel]) -> list[tuple[type[BaseModel], str]]:
    """Return each field of a kind, and of what it is made of, that holds a command's words."""
    hints = ((model, field, info) for model in models_in(kind) for field, info in model.model_fields.items())
    return [(model, field) for model, field, info in hints if field in ARGVS and info.annotation == tuple[str, ...]]


@every_kind
@pytest.mark.parametrize("word", ["${env:KEY}", "--key=${file:/run/key}", "{dsn}", "--dsn={dsn}"])
def test_a_secret_in_a_command_of_it_is_refused_because_the_process_list_shows_it(package, name, word):
    for model, field in argvs_of(kinds_in(package)[name]):
        with pytest.raises(ValidationError, match="process list"):
            model.model_validate({"kind": name, "name": "it", field: ["program", word]})


def test_the_commands_of_all_kinds_are_looked_at():
    found = {
        (model.__name__, field)
        for package in PACKAGES
        for kind in kinds_in(package).values()
        for model, field in argvs_of(kind)
    }
    assert found >= {
        ("Command", "argv"), ("Squawk", "argv"), ("Process", "command"), ("Alembic", "command"),
        ("Unit", "command"), ("SlotCommands", "start"), ("SlotCommands", "stop"), ("SlotCommands", "status"),
        ("Nginx", "test"), ("Nginx", "reload"), ("Haproxy", "test"), ("Haproxy", "reload"),
        ("Commands", "pending"), ("Commands", "upgrade"), ("Commands", "downgrade"),
    }  # fmt: skip


def package_with(monkeypatch: pytest.MonkeyPatch, directory: Path, **files: str) -> types.ModuleType:
    package = types.ModuleType("kinds_of_a_test")
    package.__path__ = [str(directory)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
    monkeypatch.setitem(PACKAGES, package, checks.Check)
    return package


KIND = """
from typing import Literal
from tasks.checks import Check
from tasks.domain.outcome import Reading, passed
class Own(Check):
    kind: Literal["{0}"] = "{0}"
    def look(self, target) -> Reading:
        return passed("seen")
"""


def test_a_new_file_is_all_that_a_new_kind_needs(tmp_path, monkeypatch):
    package = package_with(monkeypatch, tmp_path, moon=KIND.format("moon"))
    assert list(kinds_in(package)) == ["moon"]
    assert union_of(package) is kinds_in(package)["moon"]


@pytest.mark.parametrize(
    "text",
    [KIND.format("sun"), "x = 1", KIND.format("moon") + KIND.format("moon").replace("Own", "Other")],
    ids=["named otherwise", "no kind", "two kinds"],
)
def test_a_file_that_does_not_hold_just_its_own_kind_is_refused(text, tmp_path, monkeypatch):
    package = package_with(monkeypatch, tmp_path, moon=text)
    with pytest.raises(TypeError, match="must hold one subclass of Check with kind = 'moon'"):
        kinds_in(package)


def fields_of(package: Any, name: str) -> Iterator[tuple[str, Any]]:
    for model in models_in(kinds_in(package)[name]):
        for key, field in model.model_fields.items():
            yield f"{model.__name__}.{key}", field


@every_kind
def test_every_example_of_a_field_is_a_value_that_it_takes(package, name):
    for key, field in fields_of(package, name):
        form: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        for example in field.examples or ():
            assert TypeAdapter(form).validate_python(example) is not None, f"{key}: {example}"


@every_kind
def test_what_must_be_given_and_is_free_text_or_a_list_has_an_example(package, name):
    free = {str, Any}
    bare = [
        key
        for key, field in fields_of(package, name)
        if field.is_required() and not field.examples and free & {field.annotation, *get_args(field.annotation)}
    ]
    assert [key for key in bare if not key.endswith((".name", ".kind"))] == []
