"""The Workflow Management API: agents, workflows, and their runs, which an executor takes from Kafka."""

VERSION = "v3"
TOPIC = "workflow.runs"
"""Where the API publishes what is to be run."""
OUTPUT = "result"
"""The column that holds what came of a run."""
