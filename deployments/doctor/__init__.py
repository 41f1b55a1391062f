"""Looks at all that golive itself rests on."""
