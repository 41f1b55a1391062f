"""What people leave in a text to be filled in later."""

from __future__ import annotations

import re

_IN_TEXT = re.compile(
    r"""
      \[\s*(?:to\s+be\s+filled\s+in|fill\s+(?:this\s+)?in|fill[\s_-]?me(?:\s+in)?|insert\b[^\]]*|your\b[^\]]*|name|date
          |tbd|tba|todo|n/?a\?|x{2,}|\.{3}|…)\s*\](?!\()      # in brackets that are no link
    | \b(?:TODO|FIXME|TBD|TBA|XXX)\b
    | \bchange[-_ ]?me\b
    | \blorem\s+ipsum\b
    | <\s*(?:your|insert|fill|replace|change|enter)\b[^<>\n]*>
    | \{\{\s*\w+\s*\}\}                                         # a template that was not rendered
    | (?<![\w_])_{3,}(?![\w_])(?!\s*$)|(?<=:)\s*_{3,}\s*$         # a blank to be written on
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_WHOLE_VALUE = re.compile(
    r"""
      change[-_ ]?(?:me|this|it)\b.*|.*\bchange[-_ ]?me\b.*
    | (?:please[-_ ])?(?:replace|insert|enter|fill)[-_ ]?(?:me|this|in|with|your)\b.*
    | your[-_ ].*|my[-_ ]?(?:secret|password|key|token)
    | <.*>|\[.*\]|\{\{.*\}\}
    | x{3,}|\*{3,}|_{2,}|\.{3}|…|-+
    | todo|tbd|tba|fixme|none|null|undefined|example|sample|default|dummy|placeholder|secret|password|passwd|test
    | (?:super|dev|development)[-_ ]?secret(?:[-_ ]key)?|secret[-_ ]?key|insecure.*|letmein|admin|12345\d*
    """,
    re.VERBOSE | re.IGNORECASE,
)


def left_in(text: str, also: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    """Return the placeholders in a text, each with its line; ``also`` are further ones, by their words."""
    found = [(match.start(), match[0].strip()) for match in _IN_TEXT.finditer(text)]
    for words in also:
        found += [(match.start(), match[0]) for match in re.finditer(re.escape(words), text, re.IGNORECASE)]
    return [(text.count("\n", 0, place) + 1, words) for place, words in sorted(found)]


def is_placeholder(value: str) -> bool:
    """Tell whether the whole of a setting's value is one that stands for a real one, as ``changeme`` does."""
    return bool(_WHOLE_VALUE.fullmatch(value.strip()))
