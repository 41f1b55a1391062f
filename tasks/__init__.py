"""The acts of a release, one file of steps per phase, and the plain code beneath them."""
