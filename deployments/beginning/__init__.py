"""Begins a new system's release file from what its repository shows; the rest stays to be filled in."""
