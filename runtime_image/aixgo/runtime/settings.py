"""How a runtime was made, and what it may be made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aixgo.observability.tracing import NO_TRACING

if TYPE_CHECKING:
    from aixgo.observability.tracing import Tracing


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

    def __post_init__(self) -> None:
        if self.timeout is not None:
            _above("timeout", self.timeout, 0)
        _above("agent_start_timeout", self.agent_start_timeout, 0)
        _at_least("channel_buffer_size", self.channel_buffer_size, 1)
        _at_least("max_concurrent_calls", self.max_concurrent_calls, 0)
        for name in ("send_timeout", "channel_full_warning_threshold"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _above(name: str, value: float, least: float) -> None:
    if not _is_number(value) or value <= least:
        raise ValueError(f"{name} must be a number above {least}")


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}")


def tracing_of(given: Tracing | bool | None) -> Tracing:
    """Return what records spans; True is OpenTelemetry's tracer provider of the process.

    Raises:
        TypeError: it is none.
    """
    if given is True:
        from aixgo.observability.otel import OpenTelemetryTracing

        return OpenTelemetryTracing()
    if not given:
        return NO_TRACING
    check_parts(tracing=given)
    return given


#: A method that each part of a runtime has.
_PARTS: Final = {"session_manager": "get_or_create", "metrics": "agent_executed", "tracing": "span"}


def check_parts(**parts: object) -> None:
    """Make sure that the objects a runtime is given are what they should be.

    Raises:
        TypeError: one is not.
    """
    for name, part in parts.items():
        if part is not None and not hasattr(part, _PARTS[name]):
            raise TypeError(f"{name} cannot be {type(part).__name__}")
