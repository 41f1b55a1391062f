"""The ledger: what was intended, done, seen and decided, and the only sentences that may be written there."""
