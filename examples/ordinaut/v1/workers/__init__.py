"""The workers: take work from the queue and run it."""
