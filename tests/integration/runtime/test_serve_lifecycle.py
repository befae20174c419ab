"""Start, limits, what the admin port says, drain and exit."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import timedelta

import grpc
import pytest
from tests.support.model_server import ModelServer
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.message import Message
from aixgo.rpc.client import ExecuteResult, RpcError

CODE = grpc.StatusCode


async def test_sigterm_lets_a_stream_end_and_exits_0(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("stream"), custom("recall")], sessions={"type": "File", "file": {}}))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client, runtime.client(me) as late:
            assert (await late.execute("recall", "before")).text == "before"
            listening = asyncio.create_task(anext(late.listen("recall")))
            events = client.execute_stream("stream", "x", session_id="new")
            assert isinstance(await anext(events), Message)
            runtime.terminate()
            await runtime.until(lambda s: s.draining and s.in_flight == 1, "draining")
            assert (await runtime.get("/health/ready"))[0] == 503
            with pytest.raises(RpcError) as caught:
                await late.execute("recall", "after", timeout=5)
            assert caught.value.code is CODE.UNAVAILABLE
            with pytest.raises(RpcError) as caught:
                await listening
            assert caught.value.code is CODE.UNAVAILABLE
            runtime.gate.touch()
            rest = [event async for event in events]
        assert isinstance(rest[-1], ExecuteResult)
        assert (rest[-1].text, rest[-1].session_version) == ("first second", 2)
        assert await runtime.exit_code() == 0
        assert (files.root / "sessions" / "stream" / f"{rest[-1].session_id}.jsonl").exists()


async def test_a_call_that_outlives_the_drain_timeout_is_cut(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(
        runtime_json(
            [custom("wait")], limits={"drainTimeoutSeconds": 1}, sessions={"type": "File", "file": {}}
        )
    )
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            call = asyncio.create_task(client.execute("wait", "x", session_id="new"))
            await runtime.until(lambda s: s.in_flight == 1, "the call runs")
            runtime.terminate()
            with pytest.raises(RpcError) as caught:
                await call
            assert caught.value.code in (CODE.UNAVAILABLE, CODE.CANCELLED)
        assert await runtime.exit_code() == 1
    assert list((files.root / "sessions").rglob("*.jsonl")) == []


async def test_an_idle_process_exits_at_once(files: RuntimeFiles) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        runtime.terminate()
        assert await runtime.exit_code(timeout=5) == 0


@pytest.mark.parametrize("case", ["missing", "json", "contract", "certificate", "port"])
async def test_a_bad_configuration_at_the_start_exits_2(
    files: RuntimeFiles, authority: Authority, case: str
) -> None:
    document = runtime_json([custom("recall")])
    files.configure(document)
    text = {
        "missing": "cannot read runtime.json",
        "json": "runtime.json is not JSON",
        "contract": "contract version 2",
        "certificate": "the certificate expired on",
        "port": "cannot listen on 127.0.0.1:",
    }[case]
    with socket.socket() as taken:
        if case == "missing":
            (files.root / "config" / "..data").unlink()
        if case == "json":
            files.configure(b"{")
        if case == "contract":
            files.configure({**document, "contract": 2})
        if case == "certificate":
            files.certify(authority.runtime("r", "team", ends=-timedelta(minutes=1)))
        if case == "port":
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            files.configure({**document, "grpc": {"port": taken.getsockname()[1]}})
        runtime = RuntimeProcess(files)
        await runtime.launch()
        assert await runtime.exit_code() == 2
    assert text in files.termination_log.read_text()
    errors = [line for line in runtime.log if line["level"] == "error"]
    assert len(errors) == 1
    assert text in errors[0]["error"]


async def test_too_many_calls_get_a_hint(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("wait"), custom("recall")], limits={"maxConcurrentCalls": 1}))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            running = asyncio.create_task(client.execute("wait", "x"))
            await runtime.until(lambda s: s.in_flight == 1, "the call runs")
            with pytest.raises(RpcError) as caught:
                await client.execute("recall", "x")
            assert caught.value.code is CODE.RESOURCE_EXHAUSTED
            assert caught.value.retry_after is not None
            assert caught.value.retry_after > 0
            runtime.gate.touch()
            assert (await running).text == "done: x"
            assert (await client.execute("recall", "x")).text == "x"


async def test_the_size_limit_holds_both_ways(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")], grpc={"port": 0, "maxMessageBytes": 4096}))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            assert (await client.execute("recall", "x" * 2000)).text == "x" * 2000
            with pytest.raises(RpcError) as caught:
                await client.execute("recall", "x" * 5000)
            assert caught.value.code is CODE.RESOURCE_EXHAUSTED
            assert (await client.execute("recall", "y")).text == "y"


async def test_the_admin_port_tells_the_truth(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")], sessions={"type": "File", "file": {}}))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            await client.execute("recall", "x", session_id="new")
            code, text = await runtime.get("/metrics")
            assert code == 200
        for line in (
            'aixgo_grpc_requests_total{method="Execute",status="OK"} 1.0',
            'aixgo_grpc_request_duration_seconds_count{method="Execute"} 1.0',
            'aixgo_agent_messages_total{agent="recall",type="input"} 1.0',
            'aixgo_agent_messages_total{agent="recall",type="output"} 1.0',
            'aixgo_agent_execution_duration_seconds_count{agent="recall"} 1.0',
            'aixgo_session_operations_total{operation="turn",result="ok"} 1.0',
            "aixgo_active_connections 1.0",
            "aixgo_calls_in_flight 0.0",
            "aixgo_memory_usage_bytes ",
            "aixgo_goroutines ",
        ):
            assert line in text
        code, text = await runtime.get("/health")
        health = json.loads(text)
        assert (code, health["status"]) == (200, "healthy")
        assert set(health) == {"status", "timestamp", "version", "uptime", "checks", "system"}
        assert set(health["checks"]["sessions"]) == {"status", "message", "last_checked", "duration"}
        assert await runtime.get("/health/live") == (200, '{"status":"alive"}')
        assert await runtime.get("/health/ready") == (200, '{"status":"ready"}')
        assert (await runtime.get("/nothing"))[0] == 404
        status = await runtime.statusz()
        assert status.sessions.type == "File"
        assert len(status.tls.trust_bundle) == 1
        assert 'path="other"' in (await runtime.get("/metrics"))[1]


async def test_a_model_that_is_away_or_busy_is_told_plainly(files: RuntimeFiles, me: Leaf) -> None:
    async with ModelServer() as model:
        agent = {"name": "a", "model": {"name": "m", "baseURL": model.base_url}}
        files.configure(runtime_json([agent], sessions={"type": "File", "file": {}}))
        async with RuntimeProcess(files) as runtime:
            await runtime.ready()
            async with runtime.client(me) as client:
                for status, code in ((429, CODE.RESOURCE_EXHAUSTED), (401, CODE.UNAVAILABLE)):
                    model.fail_with = status
                    with pytest.raises(RpcError) as caught:
                        await client.execute("a", "x", session_id="new")
                    assert caught.value.code is code
                    assert not [word for word in ("sk-secret", "10.0.0.1") if word in caught.value.text]
                await model.__aexit__()
                with pytest.raises(RpcError) as caught:
                    await client.execute("a", "x", session_id="new")
                assert caught.value.code is CODE.UNAVAILABLE
                assert caught.value.text.startswith("the model endpoint is not reachable")
            status = await runtime.until(lambda s: not s.agents[0].ready, "the agent is not ready")
            assert status.agents[0].loaded
            assert status.agents[0].error == "model endpoint 127.0.0.1 is not reachable: connection refused"
            assert (await runtime.get("/health/ready"))[0] == 200, "a model must not take the pod away"
            assert json.loads((await runtime.get("/health"))[1])["status"] == "degraded"
        assert not [line for line in runtime.output if "sk-secret" in line]
