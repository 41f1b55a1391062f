"""The release file as types, and how it is loaded."""
