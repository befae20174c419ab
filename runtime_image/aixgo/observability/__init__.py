"""Logs and metrics of a runtime."""
