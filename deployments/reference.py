"""The release file's JSON schema and reference, and the command line's reference, all from the code itself."""

from __future__ import annotations

import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

import typer
from pydantic import BaseModel, TypeAdapter, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticUndefined
from pydantic_core.core_schema import WithDefaultSchema

from deployments.shapes import told
from tasks.domain import errors
from tasks.domain.kind import Duration, Kind, Share, Size
from tasks.spec.describing import as_written, describe_fields
from tasks.spec.kinds import PACKAGES, kinds_in
from tasks.spec.release_file import ReleaseFile

_GENERATED = "<!-- Written by `golive reference {what}`; a test holds it to the code. -->"
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}
_ABOUT_THE_FILE = """\
One file per system, `deployments/systems/NAME/release.yaml`, says all that golive must know of it. Unknown keys are
refused. `golive validate` checks it; [release.schema.json](../release.schema.json) lets editors complete it.

Secrets are named, never held: `${env:NAME}` is an environment variable, `${file:PATH}` a file that only its owner may
read, `${block:NAME}` a Secret block of Prefect. A *duration* is written as `200ms`, `30s`, `5 min`, `24h`; a *size* as
`500MB` or `2 GiB`; a *percentage* as `20%`.
"""
_ENVIRONMENT = {
    "GOLIVE_HOME": "Where golive keeps its things; by default `~/.local/share/golive`, as root `/var/lib/golive`.",
    "GOLIVE_SYSTEMS": "The directory with one directory per system, each with its `release.yaml`.",
    "GOLIVE_LEDGER_URL": "The DSN of the ledger; by default an embedded PostgreSQL below `GOLIVE_HOME`.",
    "GOLIVE_PG_TOOLS": "Directories with PostgreSQL's client programs, as `PATH` has them, which come first.",
    "GOLIVE_METRICS_FILE": "Where the monitor writes golive's own metrics, as `/var/lib/node_exporter/golive.prom`.",
    "GOLIVE_PREFECT_PORT": "The port of golive's own Prefect server, taken at its first start; by default 4200.",
    "GOLIVE_POOL": "The work pool of Prefect whose workers this machine belongs to; by default `golive`.",
    "PREFECT_API_URL": "The API of another Prefect server, used instead of golive's own.",
    "PREFECT_API_AUTH_STRING": "What the API of that server asks for, as `user:password`.",
}


def _durations(value: float) -> str:
    if value < 1:
        return f"{value * 1000:g}ms"
    for seconds, unit in ((3600, "h"), (60, " min")):
        if value % seconds == 0:
            return f"{value / seconds:g}{unit}"
    return f"{value:g}s"


def _sizes(value: float) -> str:
    for size, unit in ((1000**3, "GB"), (1000**2, "MB"), (1000, "kB")):
        if value and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"


_QUANTITIES = {
    TypeAdapter(kind).json_schema()["examples"][0]: (name, show)
    for kind, name, show in (
        (Duration, "duration", _durations),
        (Size, "size", _sizes),
        (Share, "percentage", lambda value: f"{value * 100:g}%"),
    )
}
"""How each quantity is called and written, by the example that its schema gives."""


class _Schema(GenerateJsonSchema):
    """Writes defaults as people write them: quantities with their unit, sections not at all."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        example = next(iter(made.get("examples", ())), None)
        quantity = _QUANTITIES.get(example) if isinstance(example, str) else None
        if quantity is not None and isinstance(made.get("default"), int | float):
            made["default"] = quantity[1](made["default"])
        if isinstance(made.get("default"), dict) and made["default"]:
            del made["default"]  # a section's defaults stand at its own keys
        return made


def release_file_schema() -> dict[str, Any]:
    """Return the JSON schema of the release file."""
    describe_fields()
    schema = ReleaseFile.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "golive release file"}


def release_file_reference() -> str:
    """Return the Markdown reference of the release file: its sections, and each kind with its fields."""
    describe_fields()
    lines = [
        "# The release file",
        "",
        _GENERATED.format(what="release-file"),
        "",
        _ABOUT_THE_FILE,
        "## The file",
        "",
        *_fields(ReleaseFile),
    ]
    shown: set[type[BaseModel]] = {ReleaseFile}
    lines += _parts(ReleaseFile, shown, "## ")
    for package, base in PACKAGES.items():
        name = _last(package.__name__)
        kinds = kinds_in(package)
        lines += [f"## Kinds of {name}", "", _sentence(base), "", ", ".join(map(_link, kinds.values()))]
        lines.append("")
        for kind in kinds.values():
            lines += [f"### {_heading(kind)}", "", _sentence(kind), "", *_fields(kind)]
            lines += _parts(kind, shown, "#### ")
    return "\n".join(lines).rstrip() + "\n"


def _parts(model: type[BaseModel], shown: set[type[BaseModel]], level: str) -> list[str]:
    """Return what describes the models that a model's fields refer to, except kinds, each once."""
    lines: list[str] = []
    for part in _models_in(model):
        if part not in shown and not _is_kind(part):
            shown.add(part)
            lines += [f"{level}{_heading(part)}", "", _sentence(part), "", *_fields(part)]
            lines += _parts(part, shown, level)
    return lines


def _models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        yield from _models_of(field.annotation)


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if _is_model(annotation):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _models_of(argument)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_kind(model: type[BaseModel]) -> bool:
    return issubclass(model, Kind) and any(issubclass(model, base) for base in PACKAGES.values())


def _fields(model: type[BaseModel]) -> list[str]:
    lines = ["| key | form | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name == "kind":
            lines.append(f"| `kind` | `{field.default}` | required | Which kind this is. |")
            continue
        text = " ".join((field.description or "").split())
        if field.examples:
            text += f" As in {' or '.join(f'``{as_written(one)}``' for one in field.examples)}."
        cells = (f"`{field.alias or name}`", _form(field.annotation, field.metadata), _default(field), _inline(text))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return [*lines, ""]


def _form(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Return what a value looks like, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    words = _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())
    if (quantity := _quantity(metadata)) is not None:
        words = quantity[0]
    elif _is_model(annotation):
        words = _link(annotation)
    elif origin is Annotated:
        words = _form(arguments[0], arguments[1:])
    elif origin is Literal:
        words = ", ".join(f"`{value}`" for value in arguments)
    elif origin in (Union, types.UnionType):
        words = _any_of([one for one in arguments if one is not types.NoneType])
    elif origin is dict:
        words = f"mapping of {_form(arguments[0])} to {_form(arguments[1])}"
    elif annotation == tuple[()]:
        words = "an empty list"
    elif origin in (list, tuple):
        words = f"list of {_form(arguments[0])}"
    return words


def _any_of(members: list[Any]) -> str:
    if len(members) > 4 and all(_is_model(one) and _is_kind(one) for one in members):
        name = members[0].__module__.split(".")[-2]
        return f"[{name}](#kinds-of-{name})"
    return " or ".join(dict.fromkeys(map(_form, members)))


def _quantity(metadata: list[Any] | tuple[Any, ...]) -> tuple[str, Callable[[float], str]] | None:
    """Return the name of the quantity that a field's metadata make it, and how its values are written."""
    for one in metadata:
        if isinstance(one, WithJsonSchema) and one.json_schema is not None:
            return _QUANTITIES[one.json_schema["examples"][0]]
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    quantity = _quantity(field.metadata)
    shown = f"`{value}`"
    if value is None or value is PydanticUndefined or value in ("", (), {}, []):
        shown = "–"
    elif isinstance(value, bool):
        shown = f"`{str(value).lower()}`"
    elif quantity is not None and isinstance(value, int | float):
        shown = f"`{quantity[1](value)}`"
    elif isinstance(value, BaseModel):
        shown = "its own"
    elif isinstance(value, tuple | list):
        shown = f"`[{', '.join(map(str, value))}]`"
    return shown


def _heading(model: type[BaseModel]) -> str:
    if _is_kind(model):
        package, kind = model.__module__.split(".")[-2:]
        return f"{package}: {kind}"
    if model.__module__ == ReleaseFile.__module__:
        return model.__name__
    return f"{_last(model.__module__).removeprefix('_')}: {model.__name__}"


def _link(model: type[BaseModel]) -> str:
    heading = _heading(model)
    shown = heading.partition(": ")[2] or heading
    return f"[{shown}](#{heading.lower().replace(': ', '-')})"


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _sentence(documented: type) -> str:
    return _inline(" ".join((inspect.getdoc(documented) or "").split()))


def _inline(text: str) -> str:
    return text.replace("``", "`")


def cli_reference(app: typer.Typer) -> str:
    """Return the Markdown reference of the command line."""
    group: Any = typer.main.get_command(app)
    lines = ["# The command line", "", _GENERATED.format(what="cli"), "", inspect.cleandoc(group.help or ""), ""]
    for name, command in commands_of(group):
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        words = [_usage(one) for one in arguments]
        lines += [f"## golive {name}", "", "```", " ".join(["golive", name, *words, "[OPTIONS]" if options else ""])]
        lines[-1] = lines[-1].rstrip()
        lines += ["```", ""]
        for paragraph in (command.help or "").split("\n\n"):
            lines += [*textwrap.wrap(paragraph, 118), ""]
        if command.params:
            lines += ["| | | default |", "|---|---|---|"]
            lines += [_parameter(one) for one in (*arguments, *options)] + [""]
    lines += told()
    lines += ["## Exit codes", "", "| code | |", "|---|---|", "| 0 | It was done. |"]
    lines += [f"| {code} | {text} |" for code, text in _exit_codes()]
    lines += ["| 1 | Also: `checklist` shows a row that is open; `watch` followed a release that did not end well. |"]
    lines += ["| 70 | An error that golive did not foresee; the line names the file with the traceback. |"]
    lines += ["| 130 | Ctrl-C. |", "", "## Environment", "", "| variable | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in _ENVIRONMENT.items()]
    return "\n".join(lines).rstrip() + "\n"


def commands_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each command with all the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _usage(argument: Any) -> str:
    name = str(argument.metavar or argument.name).upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _parameter(one: Any) -> str:
    if one.param_type_name == "argument":
        shown = f"`{_usage(one)}`"
    else:
        takes = "" if one.is_flag else f" {(one.metavar or one.name).upper()}"
        shown = f"`{', '.join([*one.opts, *one.secondary_opts])}{takes}`"
    empty = one.default is None or one.default in ("", [], ()) or one.default is False
    default = "required" if one.required else "" if empty else f"`{one.default}`"
    return f"| {shown.replace('|', chr(92) + '|')} | {one.help or ''} | {default} |"


def _exit_codes() -> list[tuple[int, str]]:
    known: list[type[errors.GoliveError]] = [errors.GoliveError, *errors.GoliveError.__subclasses__()]
    return sorted((one.exit_code, (inspect.getdoc(one) or "").splitlines()[0]) for one in known)
