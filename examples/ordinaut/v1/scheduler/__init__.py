"""The scheduler: puts tasks into the queue when they are due."""
