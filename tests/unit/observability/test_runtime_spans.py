"""The spans of the library's Runtime are those of the original."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import aixgo
from aixgo import Message, Runtime
from aixgo.agents.text import text_of
from aixgo.observability.otel import OpenTelemetryTracing
from aixgo.observability.tracing import current_ids
from aixgo.runtime.errors import AgentFailedError
from aixgo.session import FileBackend, Manager

HELLO = Message.new("question", {"text": "hello"})


@aixgo.agent("echo", role="react")
async def echo(message: Message) -> str:
    return text_of(message)


@aixgo.agent("where")
async def where(_: Message) -> str:
    return (current_ids() or ("", ""))[0]


@aixgo.agent("fail")
async def fail(_: Message) -> str:
    raise ValueError("sk-secret")


class Recorded:
    """A tracer whose spans stay in memory."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.tracing = OpenTelemetryTracing(provider)

    def all(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._memory.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.all(name)
        return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    found = dict(span.attributes or {})
    duration = found.pop("execution.duration_ms", None)
    assert duration is None or (isinstance(duration, float) and duration >= 0)
    return found


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def runtime(recorded: Recorded, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with (
        Manager(FileBackend(tmp_path, durability="os")) as sessions,
        Runtime(session_manager=sessions, tracing=recorded.tracing) as runtime,
    ):
        for agent in (echo, where, fail):
            runtime.register(agent)
        yield runtime


async def test_a_call(runtime: Runtime, recorded: Recorded) -> None:
    await runtime.call("echo", HELLO)
    assert attributes(recorded.one("runtime.call.echo")) == {
        "agent.name": "echo",
        "agent.role": "react",
        "runtime.type": "local",
        "execution.success": True,
    }
    trace_id = text_of(await runtime.call("where", HELLO))
    context = recorded.one("runtime.call.where").get_span_context()
    assert context is not None
    assert trace_id == f"{context.trace_id:032x}", "the agent works inside the span"


async def test_a_failed_call(runtime: Runtime, recorded: Recorded) -> None:
    with pytest.raises(AgentFailedError):
        await runtime.call("fail", HELLO)
    span = recorded.one("runtime.call.fail")
    assert attributes(span)["execution.success"] is False
    assert attributes(span)["error.type"] == "AgentFailedError"
    assert "sk-secret" not in span.to_json()


async def test_calls_in_parallel(runtime: Runtime, recorded: Recorded) -> None:
    await runtime.call_parallel(["echo", "where", "fail"], HELLO)
    span = recorded.one("runtime.call_parallel")
    found = attributes(span)
    assert set(found.pop("agents.names")) == {"echo", "where", "fail"}
    assert found == {
        "agents.count": 3,
        "execution.max_workers": 8,
        "execution.success_count": 2,
        "execution.error_count": 1,
    }
    context = span.get_span_context()
    for name in ("echo", "where", "fail"):
        parent = recorded.one(f"runtime.call.{name}").parent
        assert parent is not None
        assert context is not None
        assert parent.span_id == context.span_id


async def test_a_call_with_a_session(runtime: Runtime, recorded: Recorded) -> None:
    sessions = runtime._runner.sessions
    assert sessions is not None
    session = await sessions.create("echo")
    await runtime.call_with_session("echo", HELLO, session.id)
    turn = recorded.one("session.turn")
    assert attributes(turn) == {"agent.name": "echo", "session.id": session.id, "session.version": 2}
    call = recorded.one("runtime.call.echo").get_span_context()
    assert turn.parent is not None
    assert call is not None
    assert turn.parent.span_id == call.span_id


async def test_a_stream(runtime: Runtime, recorded: Recorded) -> None:
    assert [text_of(part) async for part in runtime.call_stream("echo", HELLO)] == ["hello"]
    assert attributes(recorded.one("runtime.call.echo"))["execution.success"] is True
