"""Runtimes: what holds agents and calls them."""

from __future__ import annotations

from aixgo.runtime.local import Runtime, RuntimeSettings

__all__ = ["Runtime", "RuntimeSettings"]
