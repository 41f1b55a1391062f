"""Finds in anybody's Markdown what a checklist asks for: boxes, steps, commands, thresholds, signatures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode as Node

from tasks.domain.script_lines import commands_in


class Form(StrEnum):
    """In which form the document asks for something."""

    BOX = "box"
    STEP = "step"
    BULLET = "bullet"
    COMMAND = "command"
    QUERY = "query"
    TABLE_ROW = "table row"
    SIGNATURE = "signature"
    BLANK = "blank"


@dataclass(frozen=True)
class Ask:
    """One thing that a document asks for; ``section`` are the headings above it, the outermost first."""

    section: tuple[str, ...]
    item: str
    form: Form


LONGEST = 1000
"""Characters of an item beyond which it is cut."""
THRESHOLD = re.compile(
    r"(?:[<>≤≥]=?|=<|±|\b(?:at (?:most|least)|under|below|above|over|within|(?:less|more|fewer) than|max(?:imum)?|"
    r"min(?:imum)?|exceeds?)\b)\s*:?\s*[$€~]?\d"
    r"|\d\s*(?:%|[munµ]?s\b|sec(?:onds?)?\b|min(?:utes?)?\b|h(?:ours?)?\b|days?\b|[kMGT]i?B\b|rps\b|req/s)",
    re.IGNORECASE,
)
"""A figure that something is held against."""
_BOX = re.compile(r"^\s*(?:\[[ xX✓✔✗-]?\](?:\s+|$)|[☐☑☒✅✔✓⬜□◻❌]\ufe0f?\s*)")
_ASKS = re.compile(
    r"^(?:\W*)(?:alert|check|confirm|ensure|make sure|verify|validate|test|monitor|must|no |never|all )\b"
    r"|\b(?:must|shall|alert if)\b",
    re.IGNORECASE,
)
_TO_SIGN = re.compile(
    r"_{4,}|\.{6,}|…{2,}|^\W*(?:approved|signed|signed off|reviewed|verified|prepared|authori[sz]ed) by\b[^:]*:"
    r"|\bsignature\b\W*$|\bgo\s*/\s*no[- ]?go\b\W*:",
    re.IGNORECASE,
)
_BLANK = re.compile(r"\[\s*(?:to be|fill|tbd|to ?do\b|insert|your|name|date|yyyy)[^\]]*\]", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_SIGN_HEADS = re.compile(r"signature|signed|sign-?off|approve[dr]", re.IGNORECASE)
_LIMIT_HEADS = re.compile(r"threshold|target|limit|expected|baseline|maximum|minimum|\bsla\b|\bslo\b", re.IGNORECASE)


@dataclass
class Asked:
    """What a document asks for in its order, and how many of its list items and table rows seem to ask for nothing."""

    asks: list[Ask] = field(default_factory=list)
    left_out: int = 0


def asked_in(text: str, *, every_item: bool = False) -> Asked:
    """Return what a Markdown document asks for; with ``every_item`` every list item and table row counts as asking."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    tree = Node(MarkdownIt("commonmark").enable("table").parse(_FRONT_MATTER.sub("", plain)))
    return _Reader(every_item=every_item).read(tree)


class _Reader:
    def __init__(self, *, every_item: bool) -> None:
        self._every_item = every_item
        self._headings: dict[int, str] = {}
        self._label = ""
        self._found = Asked()

    def read(self, tree: Node) -> Asked:
        """Walk the document once."""
        firsts = [node for node in tree.children if node.type == "heading" and node.tag == "h1"]
        # One heading of the first level is the document's title, which says nothing of where in it something stands.
        title = firsts[0] if len(firsts) == 1 else None
        for node in tree.children:
            if node.type == "heading":
                level = int(node.tag[1])
                self._headings = {at: said for at, said in self._headings.items() if at < level}
                self._label = ""
                if node is not title:
                    self._headings[level] = _bare(_text(node))
            else:
                self._block(node, ())
        return self._found

    def _section(self, parents: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, (*self._headings.values(), self._label, *parents)))

    def _ask(self, item: str, form: Form, parents: tuple[str, ...]) -> None:
        shown = _tidy(item)
        if not re.search(r"\w", shown):
            return
        cut = shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
        self._found.asks.append(Ask(self._section(parents), cut, form))

    def _block(self, node: Node, parents: tuple[str, ...]) -> None:
        if node.type in ("bullet_list", "ordered_list"):
            for item in node.children:
                self._item(item, parents, ordered=node.type == "ordered_list")
        elif node.type in ("fence", "code_block"):
            for command in commands_in(node.content, node.info if node.type == "fence" else ""):
                self._ask(command.said, Form.QUERY if command.is_sql else Form.COMMAND, parents)
        elif node.type == "table":
            self._table(node, parents)
        elif node.type == "paragraph":
            self._paragraph(node, parents)
        elif node.type == "blockquote":
            for child in node.children:
                self._block(child, parents)

    def _paragraph(self, node: Node, parents: tuple[str, ...]) -> None:
        lines = _text(node).split("\n")
        if len(lines) == 1 and _is_label(node) and not _BLANK.search(lines[0]):
            self._label = _bare(lines[0])
            return
        for line in lines:
            if _BOX.match(line):
                self._ask(_BOX.sub("", line), Form.BOX, parents)
            elif _TO_SIGN.search(line):
                self._ask(re.sub(r"_{3,}|\.{4,}|…{2,}", "…", line), Form.SIGNATURE, parents)
            elif _BLANK.search(line):
                self._ask(line, Form.BLANK, parents)

    def _item(self, node: Node, parents: tuple[str, ...], *, ordered: bool) -> None:
        first = next((child for child in node.children if child.type == "paragraph"), None)
        said = _text(first) if first is not None else ""
        rest = [child for child in node.children if child is not first]
        below = any(child.type in ("bullet_list", "ordered_list", "fence") for child in rest)
        line = " ".join(said.split("\n"))
        box = _BOX.match(line)
        bare = _BOX.sub("", line)
        heads = below and first is not None and (_is_label(first) or bare.rstrip().endswith(":"))
        if box is not None:
            self._ask(bare, Form.BOX, parents)
        elif _TO_SIGN.search(bare):
            self._ask(re.sub(r"_{3,}|\.{4,}|…{2,}", "…", bare), Form.SIGNATURE, parents)
        elif ordered and not heads:
            self._ask(bare, Form.STEP, parents)
        elif THRESHOLD.search(bare) or _ASKS.search(bare) or (self._every_item and not heads):
            self._ask(bare, Form.BULLET, parents)
        elif bare.strip() and not heads:
            self._found.left_out += 1
        inner = (*parents, _bare(bare)[:80]) if bare.strip() else parents
        for child in rest:
            self._block(child, inner)

    def _table(self, node: Node, parents: tuple[str, ...]) -> None:
        rows = [[_text(cell) for cell in row.children] for part in node.children for row in part.children]
        heads, body = [_tidy(head) for head in rows[0]], rows[1:]
        signs = any(_SIGN_HEADS.search(head) for head in heads)
        limits = any(_LIMIT_HEADS.search(head) for head in heads)
        for row in body:
            boxed = any(_BOX.match(cell) for cell in row)
            cells = [_tidy(_BOX.sub("", cell)) for cell in row]
            if not any(re.search(r"\w", cell) for cell in cells):
                continue
            item = "; ".join(
                f"{head}: {cell}" if head else cell for head, cell in zip(heads, cells, strict=False) if cell
            )
            if signs:
                self._ask(f"Signature of {item}", Form.SIGNATURE, parents)
            elif boxed or limits or self._every_item or any(THRESHOLD.search(cell) for cell in cells):
                self._ask(item, Form.BOX if boxed else Form.TABLE_ROW, parents)
            else:
                self._found.left_out += 1


def _is_label(node: Node) -> bool:
    """Tell whether a paragraph is a heading in all but form: bold alone, perhaps with a colon after it."""
    inline = node.children[0] if node.children else None
    parts = [part for part in inline.children if part.type != "text" or part.content.strip(" :")] if inline else []
    return len(parts) == 1 and parts[0].type == "strong"


def _text(node: Node) -> str:
    return "".join(_pieces(node))


def _pieces(node: Node) -> Iterator[str]:
    if node.type in ("text", "text_special"):
        yield node.content
    elif node.type == "code_inline":
        yield f"`{node.content}`"
    elif node.type in ("softbreak", "hardbreak"):
        yield "\n"
    elif node.type != "html_inline":
        for child in node.children:
            yield from _pieces(child)


def _tidy(text: str) -> str:
    """Return a text on one line, without signs that cannot be seen."""
    seen = (
        " " if sign.isspace() else sign
        for sign in unicodedata.normalize("NFC", text)
        if sign.isspace() or unicodedata.category(sign) not in ("Cc", "Cf", "Co", "Cn")
    )
    return " ".join("".join(seen).split())


def _bare(heading: str) -> str:
    """Return a heading without the pictures and colons around its words."""
    return re.sub(r"^[^\w(`]+|[^\w)`.!?%]+$", "", _tidy(heading))
