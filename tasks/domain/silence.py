"""Silencing alerts in Alertmanager while golive changes production, by a silence that ends by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tasks.domain.api import Api
from tasks.domain.asking import Filled
from tasks.domain.errors import OutsideError
from tasks.domain.kind import Duration
from tasks.domain.target import Target

MADE_BY = "golive"
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*')
_OVER = "expired"


class Silence(Api):
    """A silence in Alertmanager for as long as a release changes production."""

    matchers: Annotated[tuple[str, ...], Field(min_length=1, examples=[['service="shop"', 'severity!="page"']])]
    """Which alerts are silenced, as Alertmanager writes matchers; all of them must match. ``{system}`` may stand in a
    value."""
    for_: Annotated[Duration, Field(gt=0, le=86400, alias="for")] = 3600.0
    """After how long it ends by itself, should golive not come to that; it does once the release is live or rolled
    back."""
    timeout: Duration = 5.0
    """After how long a request to Alertmanager is given up; a release never waits for longer, nor for its success."""

    @model_validator(mode="after")
    def _matches_something(self) -> Self:
        found = [parsed(one) for one in self.matchers]
        # Alertmanager refuses what would match alerts by what they do not have alone.
        if not any(one["isEqual"] and one["value"] not in {"", ".*"} for one in found):
            raise ValueError(
                "matchers would silence nearly everything; expected one that says which alerts, with = or =~"
            )
        return self

    @property
    def name(self) -> str:
        """What it silences, in words."""
        return ", ".join(self.matchers)

    def active(self, target: Target, comment: str) -> Sequence[Mapping[str, Any]]:
        """Return those that golive has made with this comment and that are not over."""
        found = self.ask(target, "/api/v2/silences", timeout=self.timeout)
        return [
            one
            for one in found
            if (one["createdBy"], one["comment"]) == (MADE_BY, comment) and one["status"]["state"] != _OVER
        ]

    def make(self, target: Target, comment: str) -> Mapping[str, str]:
        """Make it, unless one with this comment is there, and return its id and when it ends."""
        for one in self.active(target, comment):
            return {"silence": one["id"], "ends": one["endsAt"], "made": "before"}
        now = target.world.clock.now()
        ends = now + timedelta(seconds=self.for_)
        body = {
            "matchers": [{**parsed(one), "value": target.fill(parsed(one)["value"])} for one in self.matchers],
            "startsAt": now.isoformat(),
            "endsAt": ends.isoformat(),
            "createdBy": MADE_BY,
            "comment": comment,
        }
        made = self.ask(target, "/api/v2/silences", post=body, timeout=self.timeout)
        return {"silence": made["silenceID"], "ends": ends.isoformat(), "made": "now"}

    def end(self, target: Target, comment: str) -> list[str]:
        """End those that golive has made with this comment, and return their ids."""
        ended = []
        for one in self.active(target, comment):
            self._delete(target, f"/api/v2/silence/{one['id']}")
            ended.append(one["id"])
        return ended

    def _delete(self, target: Target, path: str) -> None:
        headers = {name: target.fill(value) for name, value in self.headers.items()}
        url = f"{target.fill(self.url).rstrip('/')}{path}"
        answer = Filled("DELETE", url, headers, None).send(target, self.timeout)
        if answer.status != 200:
            seen = target.world.secrets.mask(f"status {answer.status}: {answer.body[:300].decode(errors='replace')}")
            raise OutsideError(seen, expected="status 200", where=path)


def comment_of(release_id: str, number: int) -> str:
    """Return the comment by which one silence of a release is known again, whoever asks."""
    return f"golive release {release_id}, silence {number}"


def parsed(matcher: str) -> dict[str, Any]:
    """Return a matcher as the API takes it; raises `ValueError` for what is none."""
    found = _MATCHER.fullmatch(matcher)
    if found is None:
        raise ValueError(f'{matcher!r} is no matcher; expected one as in service="shop" or severity!~"info|none"')
    sign = found[2]
    return {
        "name": found[1],
        "value": re.sub(r"\\(.)", r"\1", found[3]) if sign in {"=", "!="} else found[3].replace('\\"', '"'),
        "isRegex": "~" in sign,
        "isEqual": not sign.startswith("!"),
    }
