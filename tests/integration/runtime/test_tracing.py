"""One trace through three real processes, and what of it leaves them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json
from tests.support.trace_collector import ReceivedSpan, TraceCollector

import aixgo
from aixgo import DistributedRuntime, Message, TLSConfig
from aixgo.agents.text import text_of
from aixgo.observability.otel import OpenTelemetryTracing
from aixgo.observability.tracing import current_ids
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.certificates import load_bundle
from aixgo.rpc.client import RpcError
from aixgo.rpc.credentials import open_channel

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PROMPT, QUESTION, KEY = "the-prompt-nobody-sees", "the-question-nobody-sees", "sk-the-key-nobody-sees"
SERVER, CLIENT = 2, 3


def asks(tool: str) -> Any:
    """A model that calls a tool once and then says what came back."""

    def script(messages: list[dict[str, Any]]) -> str | ToolCall:
        if messages[-1]["role"] == "tool":
            return f"it says {messages[-1]['content']}"
        return ToolCall(tool, {"message": messages[-1]["content"]})

    return script


def react(name: str, model: ModelServer, callee: str) -> dict[str, Any]:
    return {
        "name": name,
        "prompt": {"text": PROMPT},
        "model": {"name": "small", "baseURL": model.base_url, "apiKey": {"secret": "llm", "key": "key"}},
        "tools": [{"name": callee, "agent": {"name": callee, "namespace": "team"}}],
    }


def runtime_of(root: Path, authority: Authority, name: str) -> RuntimeFiles:
    files = RuntimeFiles(root / name)
    files.certify(authority.runtime(name, "team"))
    files.keep_secrets({"llm/key": KEY})
    return files


def route(agent: str, runtime: RuntimeProcess, name: str) -> dict[str, str]:
    return {
        "agent": agent,
        "namespace": "team",
        "address": f"127.0.0.1:{runtime.grpc_port}",
        "serverName": f"{name}.team.svc",
        "spiffeId": f"spiffe://cluster.local/ns/team/agentruntime/{name}",
    }


async def test_one_trace_through_three_runtimes(tmp_path: Path, authority: Authority, me: Leaf) -> None:
    first, second, third = (runtime_of(tmp_path, authority, name) for name in ("a", "b", "c"))
    async with TraceCollector() as collector, ModelServer() as one, ModelServer() as two:
        one.script, two.script = asks("middle"), asks("recall")
        env = collector.environment
        third.configure(runtime_json([custom("recall")]))
        async with RuntimeProcess(third, env) as c:
            second.configure(runtime_json([react("middle", two, "recall")], routes=[route("recall", c, "c")]))
            async with RuntimeProcess(second, env) as b:
                sessions = {"type": "File", "file": {"durability": "os"}}
                first.configure(
                    runtime_json(
                        [react("front", one, "middle")], routes=[route("middle", b, "b")], sessions=sessions
                    )
                )
                async with RuntimeProcess(first, env) as a:
                    await asyncio.gather(a.ready(), b.ready(), c.ready())
                    session = await call_front(a, me)
                    spans = await collector.wait_for(
                        "session.turn",
                        "runtime.call.front",
                        *["runtime.call.middle"] * 2,
                        *["runtime.call.recall"] * 2,
                        *["chat small"] * 4,
                    )
                    check_trace(spans, session)
                    await check_failure(a, me, one, collector)
        leaked = [
            word for word in (PROMPT, QUESTION, KEY) if any(word.encode() in b for b in collector.bodies)
        ]
        assert leaked == []


async def call_front(runtime: RuntimeProcess, me: Leaf) -> str:
    """Call within a trace of our own, as a caller that nobody here knows."""
    bundle = load_bundle(me.write(runtime.files.root / "raw"), "client")
    async with open_channel(f"127.0.0.1:{runtime.grpc_port}", bundle) as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)
        answer = await stub.Execute(
            pb.ExecuteRequest(
                agent_name="front",
                input=pb.Message(payload=json.dumps({"text": QUESTION})),
                session_id="new",
            ),
            metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),),
            timeout=30,
        )
    assert json.loads(answer.output.payload)["text"].count("it says") == 2
    return str(answer.session_id)


def check_trace(spans: list[ReceivedSpan], session: str) -> None:
    ours = [span for span in spans if span.trace_id == TRACE]
    by_id = {span.span_id: span for span in ours}

    def one(name: str, kind: int) -> ReceivedSpan:
        (found,) = [span for span in ours if (span.name, span.kind) == (name, kind)]
        return found

    def ancestors(span: ReceivedSpan) -> list[str]:
        names = []
        while (parent := by_id.get(span.parent_id)) is not None:
            names.append(parent.name)
            span = parent
        return names

    front = one("runtime.call.front", SERVER)
    assert front.parent_id == PARENT, "the caller's trace goes on"
    assert front.attributes["agent.name"] == "front"
    assert front.attributes["agent.role"] == "react"
    assert front.attributes["runtime.type"] == "local"
    assert front.attributes["execution.success"] is True
    assert front.attributes["execution.duration_ms"] > 0
    assert front.attributes["rpc.method"] == "Execute"
    assert front.resource["service.name"] == "aixgo"
    assert front.resource["k8s.namespace.name"] == "team"
    (turn,) = [span for span in ours if span.name == "session.turn"]
    assert turn.parent_id == front.span_id
    assert turn.attributes["session.id"] == session
    assert turn.attributes["session.version"] == 2

    for name in ("runtime.call.middle", "runtime.call.recall"):
        client, server = one(name, CLIENT), one(name, SERVER)
        assert server.parent_id == client.span_id, "the trace crosses the wire"
        assert client.attributes["runtime.type"] == "remote"
        assert client.attributes["remote.addr"].startswith("127.0.0.1:")
        assert "runtime.call.front" in ancestors(client)
    assert "runtime.call.middle" in ancestors(one("runtime.call.recall", SERVER))
    models = [span for span in ours if span.name == "chat small"]
    assert len(models) == 4
    assert {span.scope for span in models} == {"pydantic-ai"}
    assert all(span.attributes["gen_ai.request.model"] == "small" for span in models)


async def check_failure(
    runtime: RuntimeProcess, me: Leaf, model: ModelServer, collector: TraceCollector
) -> None:
    """A failed call is a failed span, with the kind of the error and nothing of its text."""
    model.fail_with = 401
    async with runtime.client(me) as client:
        with pytest.raises(RpcError) as caught:
            await client.execute("front", "x")
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    spans = await collector.wait_for("runtime.call.front", "runtime.call.front")
    (failed,) = [span for span in spans if span.name == "runtime.call.front" and span.failed]
    assert failed.attributes["execution.success"] is False
    assert failed.attributes["error.type"] == "ModelUnavailableError"
    assert failed.trace_id != TRACE
    (line,) = runtime.events("model failed")
    assert line["trace_id"] == failed.trace_id, "the log leads to the trace"
    assert (line["agent"], line["caller"]) == ("front", "spiffe://cluster.local/ns/team/client/me")
    await asyncio.sleep(0)
    assert {key for span in spans for _, attributes in span.events for key in attributes} <= {
        "exception.type"
    }
    assert {span.status_text for span in spans} == {""}


async def test_runtimes_of_the_library_go_on_with_a_trace(authority: Authority, tmp_path: Path) -> None:
    @aixgo.agent("there")
    async def there(message: Message) -> str:
        return " ".join(ids) if (ids := current_ids()) else "none"

    directory = authority.runtime("r", "team").write(tmp_path / "tls")
    tls = TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing = OpenTelemetryTracing(provider)
    async with (
        DistributedRuntime("127.0.0.1:0", tls=tls, tracing=tracing) as far,
        DistributedRuntime("127.0.0.1:0", tls=tls, tracing=tracing) as near,
    ):
        far.register(there)
        address = far.listen_address
        await near.connect("there", address)
        trace_id, _ = text_of(await near.call("there", Message.new("user", {"text": "x"}))).split()
    calls = {span.kind: span for span in spans.get_finished_spans() if span.name == "runtime.call.there"}
    client, server = calls[SpanKind.CLIENT], calls[SpanKind.SERVER]
    assert {f"{span.context.trace_id:032x}" for span in calls.values() if span.context} == {trace_id}
    assert server.parent is not None
    assert client.context is not None
    assert server.parent.span_id == client.context.span_id
    assert client.attributes is not None
    assert (client.attributes["runtime.type"], client.attributes["remote.addr"]) == ("remote", address)


async def test_a_collector_that_is_away_costs_no_call_and_no_exit(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")]))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with RuntimeProcess(files, env) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            assert (await client.execute("recall", "x")).text == "x"
        runtime.terminate()
        assert await runtime.exit_code(timeout=10) == 0


async def test_an_exporter_that_there_is_not_is_bad_configuration(files: RuntimeFiles) -> None:
    files.configure(runtime_json([custom("recall")]))
    runtime = RuntimeProcess(files, {"OTEL_TRACES_EXPORTER": "zipkin"})
    await runtime.launch()
    assert await runtime.exit_code() == 2
    assert "OTEL_TRACES_EXPORTER is 'zipkin'" in files.termination_log.read_text()
