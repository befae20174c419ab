"""Spans around calls, turns and model requests, as a protocol: nothing by default, OpenTelemetry on request.

Spans carry names, ids and durations, never what was said, and never the text of an exception: it may quote
a key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.trace import SpanContext

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, AttributeValue]
#: gRPC metadata, in either direction.
Metadata = Sequence[tuple[str, str]]
SpanKind = Literal["internal", "client", "server"]

#: The headers of W3C Trace Context.
TRACE_HEADERS = ("traceparent", "tracestate")
#: Values of OTEL_TRACES_EXPORTER that mean an exporter; ``stdout`` is Aixgo's word for ``console``.
EXPORTERS = {"otlp": "otlp", "console": "console", "stdout": "console"}
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Span(Protocol):
    """A span that is open."""

    def set(self, name: str, value: AttributeValue) -> None:
        """Add an attribute."""


class Tracing(Protocol):
    """Where spans go. Nothing here raises, and without a tracer everything here is nearly free."""

    @property
    def enabled(self) -> bool:
        """Whether spans are recorded at all."""

    def call(
        self,
        target: str,
        role: str = "",
        *,
        remote_address: str = "",
        kind: SpanKind = "internal",
        metadata: Iterable[tuple[str, str | bytes]] = (),
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Open the span ``runtime.call.<target>`` of one call of an agent (Go: the same).

        It has ``agent.name``, ``agent.role``, ``runtime.type`` (``local`` or ``remote``) and ``remote.addr``.
        When it ends it gets ``execution.duration_ms`` (milliseconds), ``execution.success`` and, of an
        exception, its type.

        Args:
            target: The agent's name.
            role: Its role.
            remote_address: Where it is, if it is in another process; its span is a client's.
            kind: ``server`` for a call that came over the wire.
            metadata: What came with such a call; a trace in it goes on.
            attributes: More attributes.
        """

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """Open a span inside the present one; it fails with the block and takes no text from the error."""


class _NoSpan:
    """One object for all spans that nobody records."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def set(self, name: str, value: AttributeValue) -> None:
        """Do nothing."""


#: A span that nobody records.
NO_SPAN = _NoSpan()


class NoTracing:
    """Records nothing."""

    enabled = False

    def call(
        self,
        target: str,
        role: str = "",
        *,
        remote_address: str = "",
        kind: SpanKind = "internal",
        metadata: Iterable[tuple[str, str | bytes]] = (),
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Do nothing."""
        return NO_SPAN

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """Do nothing."""
        return NO_SPAN


NO_TRACING = NoTracing()


def outgoing_metadata() -> Metadata:
    """Return the gRPC metadata that carries the present trace to another process; empty without one.

    It is the present OpenTelemetry span's, whoever opened it.
    """
    if _present() is None:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple(carrier.items())


def current_ids() -> tuple[str, str] | None:
    """Return trace id and span id of the present span, in hexadecimal; None without one."""
    context = _present()
    return None if context is None else (f"{context.trace_id:032x}", f"{context.span_id:016x}")


def _present() -> SpanContext | None:
    # Nobody has a span before the library is imported, and another thread may be importing it just now.
    get_current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if get_current_span is None:
        return None
    context: SpanContext = get_current_span().get_span_context()
    return context if context.is_valid else None


def wanted_exporter(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return ``otlp`` or ``console`` if the environment asks for traces to be exported, else None.

    Without any of OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP[_TRACES]_ENDPOINT nothing leaves the process.

    Raises:
        ValueError: the environment asks for something that there is not.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_ENABLED", "").lower() in ("false", "0"):
        return None
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not name:
        name = "otlp" if any(environment.get(variable) for variable in _ENDPOINTS) else "none"
    if name == "none":
        return None
    if name not in EXPORTERS:
        raise ValueError(f"OTEL_TRACES_EXPORTER is {name!r}: must be one of otlp, console, none")
    if EXPORTERS[name] == "otlp":
        protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
        )
        if protocol != "http/protobuf":
            raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: must be http/protobuf")
    return EXPORTERS[name]
