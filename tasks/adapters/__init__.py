"""Adapters: the only code that touches the outside, one file for each thing outside."""
