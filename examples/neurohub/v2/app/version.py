"""Which version this is."""

VERSION = "v2"
