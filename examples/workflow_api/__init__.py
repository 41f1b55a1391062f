"""The Workflow Management API, a stand-in."""
