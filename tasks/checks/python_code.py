"""What stands in Python code, without running it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.checks import Check
from tasks.checks._files import Patterns, find
from tasks.checks._python import INTERPRETER, ask
from tasks.domain.condition import all_of, none_of, regular
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
_MOST_KEPT = 200
# The release's own interpreter parses: what it cannot read is wrong, whatever golive's could.
_READ = """
import ast, re

def dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([*([node.id] if isinstance(node, ast.Name) else ["?"]), *reversed(parts)])

def is_one_of(name, wanted):
    return next((one for one in wanted if name == one or name.endswith("." + one)), None)

def is_constant(node):
    if isinstance(node, ast.BinOp):
        return is_constant(node.left) and is_constant(node.right)
    return isinstance(node, ast.Constant)

def is_built(node):
    if isinstance(node, ast.Call) and dotted(node.func).endswith("text") and node.args:
        return is_built(node.args[0])
    if isinstance(node, ast.Call):
        return dotted(node.func).endswith(".format")
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Add)):
        return not is_constant(node)
    return isinstance(node, ast.JoinedStr) and any(isinstance(one, ast.FormattedValue) for one in node.values)

def look(path):
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
    except (SyntaxError, ValueError) as error:
        yield "syntax", getattr(error, "lineno", 0) or 0, str(getattr(error, "msg", error))
        return
    says = ast.get_docstring(tree) or ""
    if "module" in question["docstrings"] and not says:
        yield "docstring", 1, "module"
    if question["module_says"] and not re.search(question["module_says"], says):
        yield "module", 1, question["module_says"]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)):
            if found := is_one_of(dotted(node), question["forbidden"]):
                yield "forbidden", node.lineno, found
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if found := is_one_of(f"{node.module}.{alias.name}", question["forbidden"]):
                    yield "forbidden", node.lineno, found
        if isinstance(node, ast.Call):
            found = is_one_of(dotted(node.func), question["with_arguments"])
            if found and not node.args and not node.keywords:
                yield "without arguments", node.lineno, found
            if question["built_sql"] and dotted(node.func).rpartition(".")[2] in ("execute", "executemany", "text"):
                if node.args and is_built(node.args[0]):
                    yield "built SQL", node.lineno, dotted(node.func)
        kind = {ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}.get(type(node))
        if kind in question["docstrings"] and not node.name.startswith("_") and not ast.get_docstring(node):
            yield "docstring", node.lineno, f"{kind} {node.name}"

answer([[path, *one] for path in question["paths"] for one in look(path)])
"""
_WORDS = {
    "syntax": "{what}",
    "docstring": "{what} has no docstring",
    "module": "its docstring does not say {what}",
    "forbidden": "{what}",
    "without arguments": "{what}() without arguments",
    "built SQL": "SQL put together for {what}()",
}


class PythonCode(Check):
    """Reads Python code, without running it: whether it parses, and has in it what it must and must not."""

    kind: Literal["python_code"] = "python_code"
    """Which kind of check this is."""
    files: Annotated[Patterns, Field(examples=[["app/**/*.py"]])]
    """The files, relative to the version's code; each path must match at least one."""
    forbidden: tuple[Name, ...] = Field(default=(), examples=[["datetime.utcnow", "pdb.set_trace"]])
    """Names that must not be used, as they are written in the code, or with more before them."""
    with_arguments: tuple[Name, ...] = Field(default=(), examples=[["datetime.now"]])
    """Functions that must not be called without any argument."""
    built_sql: bool = True
    """Whether ``execute`` and ``text`` may be given a text that is put together from others; such lets SQL in."""
    docstrings: tuple[Literal["module", "class", "function"], ...] = ()
    """What must have a docstring, unless its name begins with an underscore."""
    module_says: Annotated[str, AfterValidator(regular)] | None = Field(default=None, examples=["Author: \\w+"])
    """A regular expression that must be found in the docstring of each file."""
    python: str = INTERPRETER
    """The release's interpreter, by whose grammar the code is read."""

    def look(self, target: Target) -> Reading:
        """Return what is wrong, with file and line; no interpreter is unknown."""
        found = {pattern: find(target, pattern, timeout=self.timeout) for pattern in self.files}
        readings = [failed(f"{pattern} is not there") for pattern, entries in found.items() if not entries]
        paths = sorted({entry.path for entries in found.values() for entry in entries if entry.type == "f"})
        question = {
            "paths": paths, "forbidden": self.forbidden, "with_arguments": self.with_arguments,
            "built_sql": not self.built_sql, "docstrings": self.docstrings, "module_says": self.module_says,
        }  # fmt: skip
        said = ask(target, self.python, _READ, question, environment={}, timeout=self.timeout) if paths else []
        wrong = [f"{path}:{line} {_WORDS[rule].format(what=what)}" for path, rule, line, what in said]
        readings += [passed(f"{len(paths)} files"), none_of(wrong, "", "nothing to object to")]
        return all_of(readings, value=len(wrong), unit="findings", limit=0, detail={"findings": wrong[:_MOST_KEPT]})
