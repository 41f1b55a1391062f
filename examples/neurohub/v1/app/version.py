"""Which version this is."""

VERSION = "v1"
