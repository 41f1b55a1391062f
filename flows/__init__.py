"""The phases of a release as Prefect flows: order only, each reads like the checklist that it replaces."""
