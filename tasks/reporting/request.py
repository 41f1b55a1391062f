"""Tells what people are asked to sign, as GitHub-flavoured Markdown."""

from __future__ import annotations

from tasks.domain.requests import Request
from tasks.reporting.markdown import escaped, table
from tasks.reporting.words import moment


def to_markdown(request: Request) -> str:
    """Return the question, what it rests on, who has signed and who is missing, and how to sign."""
    stands, of = request.standing, request.about.release_id
    parts = [f"# {escaped(request.title)}", f"**{escaped(_state(request))}**"]
    if request.figures:
        parts.append(table(("", ""), request.figures))
    if stands.signed:
        heads = ("Role", "Person", "", "When", "Why")
        rows = [(one.role, one.person, one.decision, moment(one.at), one.reason) for one in stands.signed]
        parts.append(table(heads, rows))
    if stands.awaits:
        parts.append(
            f"Sign by the deployment *approve*, by `golive approve {of} --role ROLE --gate {request.gate}`, or by a "
            f"button in Slack; to say no needs a reason. What is signed has the hash `{request.shown[:12]}`. The "
            f"artifact `{of}` is the whole report, `{of}-plan` what a release does."
        )
    return "\n\n".join(parts) + "\n"


def _state(request: Request) -> str:
    stands = request.standing
    if stands.refusal:
        return stands.refusal
    if stands.awaits:
        return f"Awaits {', '.join(stands.awaits)}, until {moment(request.until)}"
    return "Nobody is missing"
