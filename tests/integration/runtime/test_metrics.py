"""Every metric that a runtime shows is fed by what it is about, and labels stay within the configuration."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.mcp_server import McpProcess
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Authority
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.observability.prometheus import MAX_TOOL_NAMES, PrometheusMetrics
from aixgo.rpc.client import AgentClient, RpcError

#: Those of Aixgo v0.3.3, which never fed one of them.
ORIGINAL = (
    "aixgo_http_requests",
    "aixgo_http_request_duration_seconds",
    "aixgo_mcp_tool_calls",
    "aixgo_mcp_tool_call_duration_seconds",
    "aixgo_grpc_requests",
    "aixgo_grpc_request_duration_seconds",
    "aixgo_agent_messages",
    "aixgo_agent_execution_duration_seconds",
    "aixgo_active_connections",
    "aixgo_memory_usage_bytes",
    "aixgo_goroutines",
)

#: Family -> sample name and labels -> highest value that was seen.
Seen = dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]


def all_names() -> list[str]:
    """Every family that the collector can show; a new one is in here without anybody's doing."""
    metrics = PrometheusMetrics()
    metrics.watch_connections(1)
    metrics.watch_certificate(lambda: 0.0)
    metrics.watch_session_backend(lambda: ("File", True))
    families = text_string_to_metric_families(metrics.exposition().decode())
    names = {family.name.removesuffix("_created") for family in families}
    return sorted(name for name in names if name.startswith("aixgo_"))


def read(text: str, seen: Seen) -> None:
    for family in text_string_to_metric_families(text):
        samples = seen.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            samples[key] = max(samples.get(key, 0.0), sample.value)


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What a real runtime shows after it has been used in every way."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(use_everything(Path(directory)))


async def use_everything(root: Path) -> Seen:
    authority = Authority()
    seen: Seen = {}
    with McpProcess(root) as mcp:
        async with ModelServer() as model:
            await use(RuntimeFiles(root / "runtime"), model, mcp, authority, seen)
    return seen


async def use(
    files: RuntimeFiles, model: ModelServer, mcp: McpProcess, authority: Authority, seen: Seen
) -> None:
    files.certify(authority.runtime("r", "team"))
    calls = iter([ToolCall("add", {"a": 1, "b": 2}), "three", ToolCall("fail", {}), "it failed"])
    model.script = lambda _: next(calls)
    tool = {"name": "numbers", "mcp": {"url": mcp.url}}
    agents = [
        {"name": "a", "model": {"name": "m", "baseURL": model.base_url}, "tools": [tool]},
        custom("recall"),
        custom("wait"),
        custom("fail"),
    ]
    good = runtime_json(agents, sessions={"type": "File", "file": {"durability": "os"}})
    files.configure(good)
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(authority.client("me", "team")) as client:
            for _ in range(2):
                await client.execute("a", "x")
            session = (await client.execute("recall", "x", session_id="new")).session_id
            await client.execute("recall", "x", session_id=session)
            for agent, options in (("fail", {"session_id": "new"}), ("nobody", {})):
                with pytest.raises(RpcError):
                    await client.execute(agent, "x", **options)
            running = asyncio.create_task(client.execute("wait", "x"))
            await runtime.until(lambda s: s.in_flight == 1, "a call runs")
            read((await runtime.get("/metrics"))[1], seen)
            runtime.gate.touch()
            await running
            await refused(runtime.client(authority.client("me", "elsewhere")))
        await reload(files, authority, runtime, good)
        await strange_requests(runtime)
        read((await runtime.get("/metrics"))[1], seen)


async def refused(client: AgentClient) -> None:
    async with client:
        for agent in ("recall", "unknown-1", "unknown-2"):
            with pytest.raises(RpcError):
                await client.execute(agent, "x")


async def reload(files: RuntimeFiles, authority: Authority, runtime: RuntimeProcess, good: object) -> None:
    assert isinstance(good, dict)
    files.configure(b"{")
    await runtime.until(lambda s: s.last_config_error, "the bad configuration is refused")
    files.configure({**good, "agents": good["agents"][1:]})
    await runtime.until(lambda s: len(s.agents) == 3, "the good configuration is taken")
    pair = authority.runtime("r", "team")
    files.certify(pair, **{"tls.key": authority.runtime("r", "team").key})
    await runtime.until(lambda s: s.tls.last_reload_error, "half a pair is refused")
    files.certify(pair)
    await runtime.until(lambda s: s.tls.serial_number == pair.serial, "the new pair is taken")


async def strange_requests(runtime: RuntimeProcess) -> None:
    async with aiohttp.ClientSession() as http:
        for method in ("GET", "PUT", "PROPFIND"):
            url = f"http://127.0.0.1:{runtime.admin_port}/scan/{method}.php"
            async with http.request(method, url) as response:
                assert response.status == 404


def test_the_names_of_the_original_are_all_there() -> None:
    assert set(ORIGINAL) <= set(all_names())


@pytest.mark.parametrize("name", all_names())
def test_a_metric_is_fed(seen: Seen, name: str) -> None:
    assert any(value > 0 for value in seen.get(name, {}).values()), f"{name} stays at nothing"


@pytest.mark.parametrize(
    ("sample", "labels"),
    [
        ("aixgo_mcp_tool_calls_total", {"tool": "add", "status": "ok"}),
        ("aixgo_mcp_tool_calls_total", {"tool": "fail", "status": "failed"}),
        ("aixgo_grpc_requests_total", {"method": "Execute", "status": "NOT_FOUND"}),
        ("aixgo_grpc_requests_total", {"method": "Execute", "status": "INTERNAL"}),
        ("aixgo_agent_execution_duration_seconds_count", {"agent": "fail"}),
        ("aixgo_session_operations_total", {"operation": "create", "result": "ok"}),
        ("aixgo_session_operations_total", {"operation": "delete", "result": "ok"}),
        ("aixgo_session_operation_duration_seconds_count", {"operation": "turn"}),
        ("aixgo_session_backend_ready", {"type": "File"}),
        ("aixgo_tls_reloads_total", {"result": "ok"}),
        ("aixgo_tls_reloads_total", {"result": "failed"}),
        ("aixgo_config_reloads_total", {"result": "ok"}),
        ("aixgo_config_reloads_total", {"result": "failed"}),
        ("aixgo_authorization_refused_total", {"agent": "recall"}),
        ("aixgo_http_requests_total", {"method": "GET", "path": "/metrics", "status": "200"}),
    ],
)
def test_a_series_counts_what_it_says(seen: Seen, sample: str, labels: dict[str, str]) -> None:
    key = (sample, tuple(sorted(labels.items())))
    assert any(samples.get(key, 0.0) > 0 for samples in seen.values())


def test_callers_cannot_make_labels(seen: Seen) -> None:
    values = {
        value
        for name, samples in seen.items()
        if name.startswith("aixgo_")
        for _, labels in samples
        for key, value in labels
        if key in ("agent", "path", "method")
    }
    strange = [v for v in values if v.startswith(("unknown-", "nobody", "/scan", "PUT", "PROPFIND"))]
    assert strange == []
    assert "other" in values


def test_an_mcp_server_cannot_make_labels_without_end() -> None:
    metrics = PrometheusMetrics()
    for number in range(MAX_TOOL_NAMES + 50):
        metrics.mcp_tool_called(f"tool{number}", "ok", 0.1)
    text = metrics.exposition().decode()
    assert text.count("aixgo_mcp_tool_calls_total{") == MAX_TOOL_NAMES + 1
    assert 'aixgo_mcp_tool_calls_total{status="ok",tool="other"} 50.0' in text
