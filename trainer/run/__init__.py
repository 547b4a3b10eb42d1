"""A stage trained from start to end: what it draws, the loop, and what it leaves behind."""
