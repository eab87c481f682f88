"""Explaining and measuring batches, live and by command, and what comes of it."""
