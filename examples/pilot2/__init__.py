"""A stand-in of the system pilot2."""
