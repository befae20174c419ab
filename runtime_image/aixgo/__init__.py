"""Aixgo for Kubernetes: AI agents with sessions that outlive their process, called over gRPC with mutual TLS.

``import aixgo`` loads nothing but this file; each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aixgo.agents import agent
    from aixgo.errors import AixgoError
    from aixgo.message import Message
    from aixgo.runtime import DistributedRuntime, Runtime, TLSConfig

__all__ = ["AixgoError", "DistributedRuntime", "Message", "Runtime", "TLSConfig", "agent"]

_HOMES = {
    "AixgoError": "aixgo.errors",
    "DistributedRuntime": "aixgo.runtime",
    "Message": "aixgo.message",
    "Runtime": "aixgo.runtime",
    "TLSConfig": "aixgo.runtime",
    "agent": "aixgo.agents",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from aixgo.version import version

        return version()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'aixgo' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
