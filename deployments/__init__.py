"""The outside edge: what is released, and how people start it."""
