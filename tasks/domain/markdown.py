"""What a Markdown document holds: headings, blocks of code, labelled values and dates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

from markdown_it import MarkdownIt

_LABEL = re.compile(r"^[\s>*\-+|]*(?:\[[ xX]\]\s*)?[*_`]*([^:|*_`\n]{1,80}?)[*_`]*\s*(?::[*_]*|\|)\s*(.*?)[\s|]*$")
_DATE = re.compile(
    r"\b(?:(\d{4}-\d{2}-\d{2})|((?:[A-Z][a-z]{2,8})\.?\s+\d{1,2},?\s+\d{4})|(\d{1,2}\.?\s+[A-Z][a-z]{2,8}\s+\d{4}))\b"
)
_FORMS = ("%Y-%m-%d", "%B %d %Y", "%b %d %Y", "%d %B %Y", "%d %b %Y")


@dataclass(frozen=True)
class Document:
    """The parts of a Markdown text; a plain text has no headings and no code."""

    text: str
    headings: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    """Of each block of code the language, in lower case, and the text."""
    links: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        """The values of lines such as ``**Technical Lead**: Ada``, by label in lower case; the first one counts."""
        found: dict[str, str] = {}
        for line in self.text.splitlines():
            if match := _LABEL.match(line):
                found.setdefault(match[1].strip().lower(), match[2].strip().strip("*_` "))
        return found

    @property
    def anchors(self) -> set[str]:
        """The names by which links lead to headings, as GitHub and GitLab make them."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}


def parse(text: str) -> Document:
    """Return what a Markdown text holds."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    headings, code, links = [], [], []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after:
            inner = after.children or []
            headings.append("".join(child.content for child in inner if child.type in {"text", "code_inline"}).strip())
        if token.type in {"fence", "code_block"}:
            code.append((token.info.strip().lower().split(" ")[0], token.content))
        links += [str(child.attrs["href"]) for child in token.children or [] if child.type == "link_open"]
    return Document(text, tuple(headings), tuple(code), tuple(links))


def dates_in(text: str) -> list[date]:
    """Return the dates in a text, in the forms that mean only one day: 2025-01-10, January 10, 2025, 10 Jan 2025."""
    found = []
    for match in _DATE.finditer(text):
        words = re.sub(r"[.,]", "", match[0])
        for form in _FORMS:
            try:
                found.append(datetime.strptime(words, form).date())  # noqa: DTZ007 - a day has no time zone
            except ValueError:
                continue
            break
    return found
