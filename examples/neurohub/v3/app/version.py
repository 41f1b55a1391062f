"""Which version this is."""

VERSION = "v3"
