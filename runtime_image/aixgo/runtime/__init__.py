"""Runtimes: what holds agents and calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aixgo.runtime.local import Runtime
from aixgo.runtime.settings import RuntimeSettings
from aixgo.runtime.tls import TLSConfig

if TYPE_CHECKING:
    from aixgo.runtime.distributed import DistributedRuntime

__all__ = ["DistributedRuntime", "Runtime", "RuntimeSettings", "TLSConfig"]


def __getattr__(name: str) -> Any:
    if name == "DistributedRuntime":  # needs gRPC; the rest does not
        from aixgo.runtime.distributed import DistributedRuntime

        return DistributedRuntime
    raise AttributeError(f"module 'aixgo.runtime' has no attribute {name!r}")
