"""Whoever follows a document does what it says, and is told of what it does not say any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.flows import SmallSystem
from tests.reading import Page, Reader
from tests.shells import a_shell

DOCUMENT = """# A page

```console
export PLACE=here    # kept for the next
echo "NAME is \\
  $PLACE"
exit_with() { return $1; }
exit_with 3
```

```ini
[a]
b = NAME
```
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / "page.md").write_text(DOCUMENT)
    with a_shell(tmp_path, os.environ) as shell:
        yield Reader(shell, cast("SmallSystem", None))


def page(tmp_path: Path, **more: Mapping[str, object]) -> Page:
    given: dict[str, dict[str, object]] = {
        "words": {"NAME": lambda: "ann"},
        "ends": {"exit_with 3": {3}},
        "takes": {"[a]": len},
    }
    merged = {key: {**given.get(key, {}), **more.get(key, {})} for key in {*given, *more}}
    return Page(str(tmp_path / "page.md"), **merged)  # type: ignore[arg-type]


def test_each_block_is_done_in_its_order_with_the_words_filled_in(reader: Reader, tmp_path: Path) -> None:
    taken: list[str] = []
    said = reader.follow(page(tmp_path, takes={"[a]": taken.append}))
    assert said['echo "NAME is $PLACE"'] == "ann is here"
    assert taken == ["[a]\nb = ann\n"]


@pytest.mark.parametrize("kind", ["words", "before", "takes", "ends"])
def test_what_a_page_does_not_say_any_more_may_not_stay_declared(reader: Reader, tmp_path: Path, kind: str) -> None:
    with pytest.raises(AssertionError, match="gone"):
        reader.follow(page(tmp_path, **{kind: {"gone": "why"}}))


def test_a_command_that_ends_otherwise_than_the_page_has_it_is_told_with_what_it_printed(
    reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="exit_with 3 ended with 3"):
        reader.follow(page(tmp_path, ends={"exit_with 3": {4}}))
