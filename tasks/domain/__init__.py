"""Values, verdicts, legal moves and the error tree: pure code that touches nothing outside."""
