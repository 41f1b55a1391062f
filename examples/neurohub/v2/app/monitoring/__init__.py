"""How many requests and queries there are, and how long they take."""
