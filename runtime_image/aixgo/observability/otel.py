"""OpenTelemetry behind :class:`~aixgo.observability.tracing.Tracing`, and what leaves the process of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from aixgo.observability.logs import describe_call, get_logger
from aixgo.observability.tracing import TRACE_HEADERS, current_ids, wanted_exporter
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from opentelemetry.context import Context

    from aixgo.observability.tracing import Attributes, AttributeValue, Span, SpanKind

#: How long the end of the process waits for the last spans, in seconds.
FLUSH_SECONDS = 2.0
#: Attributes of pydantic-ai's spans that may leave the process: which model, how many tokens, which tool.
MODEL_ATTRIBUTES = frozenset(
    {
        "agent_name",
        "error.type",
        "gen_ai.agent.name",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.max_tokens",
        "gen_ai.request.model",
        "gen_ai.request.temperature",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.id",
        "gen_ai.response.model",
        "gen_ai.system",
        "gen_ai.tool.call.id",
        "gen_ai.tool.name",
        "model_name",
        "server.address",
        "server.port",
    }
)
MODEL_PREFIXES = ("gen_ai.usage.", "gen_ai.aggregated_usage.")
MODEL_SCOPE = "pydantic-ai"
EXCEPTION_EVENT, EXCEPTION_TYPE = "exception", "exception.type"

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
}
_log = get_logger("aixgo.tracing")


class OpenTelemetryTracing:
    """Records spans with a tracer provider: the one that is given, else the global one of the process."""

    enabled = True

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = (provider or trace.get_tracer_provider()).get_tracer("aixgo", version())
        self.provider = provider
        self._instruments_models = False

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
        """Open the span of one call of an agent."""
        all_attributes: dict[str, AttributeValue] = {
            "agent.name": target,
            "runtime.type": "remote" if remote_address else "local",
            **(attributes or {}),
        }
        if role:
            all_attributes["agent.role"] = role
        if remote_address:
            all_attributes["remote.addr"] = remote_address
            kind = "client"
        parent = _parent(metadata) if kind == "server" else None
        return _OpenSpan(self._tracer, f"runtime.call.{target}", all_attributes, kind, parent, timed=True)

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """Open a span inside the present one."""
        return _OpenSpan(self._tracer, name, attributes or {}, "internal", None, timed=False)

    def instrument_models(self) -> None:
        """Let pydantic-ai record a span for every model request and tool call, if it is imported by now."""
        if self._instruments_models or "pydantic_ai" not in sys.modules:
            return
        from pydantic_ai import Agent
        from pydantic_ai.models.instrumented import InstrumentationSettings

        self._instruments_models = True
        Agent.instrument_all(
            InstrumentationSettings(
                tracer_provider=self.provider,
                include_content=False,
                include_binary_content=False,
                include_model_request_parameters=False,
            )
        )

    async def close(self) -> None:
        """Send what has not been sent, for a few seconds at most, if the provider is ours."""
        if not isinstance(self.provider, TracerProvider):
            return
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut_down(provider: TracerProvider) -> None:
            provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # A collector that does not answer must not keep the process: no pool waits for this thread.
        threading.Thread(target=shut_down, args=(self.provider,), daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await done.wait()


class _OpenSpan:
    """One span as a block: current inside it, ended with it, failed with it."""

    __slots__ = ("_attributes", "_began", "_kind", "_name", "_parent", "_scope", "_span", "_timed", "_tracer")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        attributes: Attributes,
        kind: SpanKind,
        parent: Context | None,
        *,
        timed: bool,
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._parent = parent
        self._timed = timed
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._span = self._tracer.start_span(
            self._name, self._parent, _KINDS[self._kind], self._attributes, record_exception=False
        )
        self._scope = trace.use_span(self._span, record_exception=False, set_status_on_exception=False)
        self._scope.__enter__()
        if self._kind == "server":
            # Why a call failed is logged when its span has ended.
            describe_call(**dict(zip(("trace_id", "span_id"), current_ids() or (), strict=False)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span = self._span
        if self._timed:
            milliseconds = (time.perf_counter() - self._began) * 1000
            span.set_attribute("execution.duration_ms", round(milliseconds, 3))
            span.set_attribute("execution.success", error is None)
        if kind is not None:
            span.set_attribute("error.type", kind.__name__)
            span.set_status(Status(StatusCode.ERROR))
        self._scope.__exit__(None, None, None)
        span.end()

    def set(self, name: str, value: AttributeValue) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)


class CleanExporter(SpanExporter):
    """Passes spans on without what might be secret: texts of exceptions, and contents of model requests."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans; a failure is logged once, until it is over."""
        try:
            result = self._exporter.export([cleaned(span) for span in spans])
        except Exception as error:  # noqa: BLE001 - whatever it is, the process goes on
            _log.debug("exporter raised", error=type(error).__name__)
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            _log.warning("traces cannot be exported", spans=len(spans))
        if self._failing and not failed:
            _log.info("traces are exported again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Close the exporter behind."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter behind."""
        return self._exporter.force_flush(timeout_millis)


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """Return the span without texts of exceptions and, of a model request, without its contents."""
    scope = span.instrumentation_scope
    attributes = span.attributes or {}
    if scope is not None and scope.name == MODEL_SCOPE:
        attributes = {
            name: value
            for name, value in attributes.items()
            if name in MODEL_ATTRIBUTES or name.startswith(MODEL_PREFIXES)
        }
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[_cleaned_event(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        instrumentation_scope=scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _cleaned_event(event: Event) -> Event:
    if event.name != EXCEPTION_EVENT:
        return event
    kind = (event.attributes or {}).get(EXCEPTION_TYPE, "")
    return Event(EXCEPTION_EVENT, {EXCEPTION_TYPE: kind}, event.timestamp)


def open_tracing(resource: Mapping[str, str]) -> OpenTelemetryTracing:
    """Return tracing with the exporter that the environment asks for.

    Beside the variables of :func:`~aixgo.observability.tracing.wanted_exporter` those of the OpenTelemetry
    SDK hold: OTEL_SERVICE_NAME (default ``aixgo``), OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, ...

    Args:
        resource: What to say of this process, as OpenTelemetry resource attributes.

    Raises:
        ValueError: the environment asks for none, or for one that there is not.
    """
    name = wanted_exporter()
    if name is None:
        raise ValueError("no exporter of traces is asked for")
    # Its errors quote the collector's answers; CleanExporter says that it fails.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter: SpanExporter
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    else:
        exporter = ConsoleSpanExporter()
    described = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or "aixgo",
        "service.version": version(),
        **resource,
    }
    provider = TracerProvider(resource=Resource.create(described), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(CleanExporter(exporter)))
    _log.info("traces are exported", exporter=name)
    return OpenTelemetryTracing(provider)


def _parent(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    carrier = {key: value for key, value in metadata if key in TRACE_HEADERS and isinstance(value, str)}
    return TraceContextTextMapPropagator().extract(carrier)
