"""Answers kept for the same question, and for questions that mean the same."""
