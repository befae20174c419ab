"""Decisions without I/O: what is wanted (resolve) and what to say about what is there (status)."""
