"""How a runtime was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How a runtime was made (Go: RuntimeConfig). Times are in seconds."""

    timeout: float | None = None
    channel_buffer_size: int = 100
    #: 0: no limit.
    max_concurrent_calls: int = 0
    agent_start_timeout: float = 30.0
    send_timeout: float = 5.0
    #: Per cent of a channel's capacity.
    channel_full_warning_threshold: int = 80
