"""The demo of the project: a conversation that outlives its pod. ``python -m tests.support.demo``."""
