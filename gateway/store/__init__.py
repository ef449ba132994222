"""What is kept: the only SQL and Redis."""
