"""Reporting: what the ledger holds of one release, gathered, drawn and told. Nothing here changes anything."""

from tasks.reporting.facts import ReleaseFacts, gather
from tasks.reporting.html import write_html
from tasks.reporting.markdown import to_markdown

__all__ = ["ReleaseFacts", "gather", "to_markdown", "write_html"]
