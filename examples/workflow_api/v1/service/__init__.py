"""The Workflow Management API: agents, workflows, and their runs, which an executor takes from Kafka."""

VERSION = "v1"
TOPIC = "workflow-runs"
"""Where the API publishes what is to be run."""
OUTPUT = "output"
"""The column that holds what came of a run."""
