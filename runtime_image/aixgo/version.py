"""The version of the distribution and of the runtime contract it speaks."""

from __future__ import annotations

from importlib import metadata

#: Major version of the runtime contract (``runtime.json``, ``/statusz``). A runtime refuses a higher one.
CONTRACT_VERSION = 1


def version() -> str:
    """Return the installed version of the distribution ``aixgo``, such as ``0.1.0``."""
    try:
        return metadata.version("aixgo")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"
