"""The version of the distribution and of the runtime contract it speaks."""

from __future__ import annotations

#: The version of the distribution; its metadata are made from this. To look there for it, a process that
#: starts would load the standard library's e-mail parser.
VERSION = "0.1.0"
#: Major version of the runtime contract (``runtime.json``, ``/statusz``). A runtime refuses a higher one.
CONTRACT_VERSION = 1


def version() -> str:
    """Return the version of the distribution ``aixgo``, such as ``0.1.0``."""
    return VERSION
