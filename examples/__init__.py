"""Stand-ins of systems, and a client that loads them."""
