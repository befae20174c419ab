"""What leaves a process of its traces, and that nothing does unless somebody asks for it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.status import StatusCode

from aixgo.observability.otel import CleanExporter, OpenTelemetryTracing
from aixgo.observability.tracing import NO_TRACING, current_ids, outgoing_metadata, wanted_exporter

SECRET = "sk-secret"


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x", "LANGFUSE_PUBLIC_KEY": "x", "LANGFUSE_SECRET_KEY": "x"}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ({"OTEL_TRACES_ENABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "OTLP"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "stdout"}, "console"),
    ],
)
def test_the_environment_decides(environment: dict[str, str], exporter: str | None) -> None:
    assert wanted_exporter(environment) == exporter


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of otlp, console, none"):
        wanted_exporter({"OTEL_TRACES_EXPORTER": "jaeger"})
    with pytest.raises(ValueError, match="must be http/protobuf"):
        wanted_exporter({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(memory: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(CleanExporter(memory)))
    yield provider
    provider.shutdown()


def test_a_failed_span_has_the_kind_of_the_error_only(
    provider: TracerProvider, memory: InMemorySpanExporter
) -> None:
    tracing = OpenTelemetryTracing(provider)
    with pytest.raises(ValueError, match=SECRET), tracing.call("a", "react", remote_address="b:1"):
        raise ValueError(SECRET)
    (span,) = memory.get_finished_spans()
    assert span.name == "runtime.call.a"
    attributes = dict(span.attributes or {})
    assert attributes.pop("execution.duration_ms") >= 0
    assert attributes == {
        "agent.name": "a",
        "agent.role": "react",
        "runtime.type": "remote",
        "remote.addr": "b:1",
        "execution.success": False,
        "error.type": "ValueError",
    }
    assert span.status.status_code is StatusCode.ERROR
    assert SECRET not in span.to_json()


def test_the_spans_of_others_lose_what_may_be_secret(
    provider: TracerProvider, memory: InMemorySpanExporter
) -> None:
    """pydantic-ai records exceptions with their text, and some contents whatever it was told."""
    tracer = provider.get_tracer("pydantic-ai")
    attributes = {
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.input.messages": SECRET,
    }
    with pytest.raises(ValueError, match=SECRET), tracer.start_as_current_span("m", attributes=attributes):
        raise ValueError(SECRET)
    (exported,) = memory.get_finished_spans()
    assert dict(exported.attributes or {}) == {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3}
    assert [dict(event.attributes or {}) for event in exported.events] == [{"exception.type": "ValueError"}]
    assert SECRET not in exported.to_json()


def test_an_exporter_that_raises_hurts_nobody(provider: TracerProvider) -> None:
    class Broken(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            raise RuntimeError(SECRET)

    assert CleanExporter(Broken()).export([]) is SpanExportResult.FAILURE


def test_without_a_span_nothing_goes_along(provider: TracerProvider) -> None:
    with NO_TRACING.call("a"), NO_TRACING.span("b") as span:
        span.set("x", 1)
        assert (outgoing_metadata(), current_ids()) == ((), None)
    with OpenTelemetryTracing(provider).span("b"):
        ids = current_ids()
        assert ids is not None
        assert dict(outgoing_metadata())["traceparent"].startswith(f"00-{ids[0]}-{ids[1]}-")


def test_a_library_that_is_just_being_imported_is_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are imported in a thread while others log."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.ModuleType("opentelemetry.trace"))
    assert current_ids() is None
    assert outgoing_metadata() == ()
