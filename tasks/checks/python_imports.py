"""Python modules that must be importable."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.checks._python import INTERPRETER, ask
from tasks.domain.condition import all_of
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target

Module = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?$")]
# Each in the same process: that is how the service itself imports them, one after the other.
_IMPORT = """
import importlib
sys.path[:0] = question["path"]
found = {}
for name in question["modules"]:
    module, _, attribute = name.partition(":")
    try:
        value = importlib.import_module(module)
        for part in attribute.split(".") if attribute else ():
            value = getattr(value, part)
        found[name] = None
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"[:300]
answer(found)
"""


class PythonImports(Check):
    """Imports modules in the release's own interpreter and tells which cannot be."""

    of_machine: ClassVar[bool] = True

    kind: Literal["python_imports"] = "python_imports"
    """Which kind of check this is."""
    modules: Annotated[tuple[Module, ...], Field(min_length=1, examples=[["app:app", "providers"]])]
    """The modules; ``module:name`` asks for a name in it too. Whatever they do when imported is done."""
    path: tuple[str, ...] = (".",)
    """The directories, relative to the version's code, that are searched first."""
    environment: dict[str, str] = Field(default_factory=dict, examples=[{"DATABASE_URL": "{dsn}"}])
    """Variables that the interpreter gets, besides PATH, HOME, LANG, TZ and TMPDIR."""
    python: str = INTERPRETER
    """The release's interpreter."""

    def look(self, target: Target) -> Reading:
        """Return which modules cannot be imported, and why; no interpreter, or one that ends early, is unknown."""
        question = {
            "path": [str(target.release_dir / target.fill(path)) for path in self.path], "modules": self.modules
        }  # fmt: skip
        found = ask(target, self.python, _IMPORT, question, environment=self.environment, timeout=self.timeout)
        readings = [failed(f"{name}: {why}") if why else passed(f"{name} imported") for name, why in found.items()]
        return all_of(readings, value=len(readings), unit="modules", detail={"modules": found})
