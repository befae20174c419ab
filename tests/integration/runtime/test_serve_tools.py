"""Agents and MCP servers as tools in real runtime processes: over mutual TLS, in one process, in circles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.mcp_server import McpProcess
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.agents.text import text_of
from aixgo.message import Message
from aixgo.rpc.client import RpcError

CODE = grpc.StatusCode
Script = Callable[[list[dict[str, Any]]], str | ToolCall]


def react(model: ModelServer, *tools: dict[str, Any], name: str = "boss", **more: Any) -> dict[str, Any]:
    return {"name": name, "model": {"name": "m", "baseURL": model.base_url}, "tools": list(tools), **more}


def agent_tool(tool: str, name: str, namespace: str) -> dict[str, Any]:
    return {"name": tool, "agent": {"name": name, "namespace": namespace}}


def route(agent: str, namespace: str, runtime: RuntimeProcess, server_name: str) -> dict[str, Any]:
    return {
        "agent": agent,
        "namespace": namespace,
        "address": f"127.0.0.1:{runtime.grpc_port}",
        "serverName": server_name,
        "spiffeId": "spiffe://cluster.local/ns/lab/agentruntime/lab",
    }


def ask(tool: str, message: str) -> Script:
    def script(messages: list[dict[str, Any]]) -> str | ToolCall:
        if messages[-1]["role"] == "tool":
            return f"it says: {messages[-1]['content']}"
        return ToolCall(tool, {"message": message})

    return script


@pytest.fixture
def lab_files(authority: Authority, tmp_path: Path) -> RuntimeFiles:
    """A second runtime, in another namespace."""
    files = RuntimeFiles(tmp_path / "lab")
    files.certify(authority.runtime("lab", "lab"))
    return files


def lab_json(agents: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    named = [{"namespace": "lab", "allowedCallerNamespaces": ["team"], **agent} for agent in agents]
    return runtime_json(named, runtime={"name": "lab", "namespace": "lab"}, **more)


async def test_agents_are_tools_here_and_there(
    files: RuntimeFiles, lab_files: RuntimeFiles, me: Leaf, tmp_path: Path
) -> None:
    lab_files.configure(lab_json([custom("recall"), custom("wait"), custom("fail")]))
    async with ModelServer(ask("lab_recall", "what is it?")) as model, RuntimeProcess(lab_files) as lab:
        await lab.ready()
        boss = react(
            model,
            agent_tool("lab_recall", "recall", "lab"),
            agent_tool("slow", "wait", "lab"),
            agent_tool("broken", "fail", "lab"),
            agent_tool("impostor", "stranger", "lab"),
            agent_tool("nobody", "nobody", "lab"),
            agent_tool("here", "recall", "team"),
            agent_tool("patient", "patient", "team"),
            agent_tool("hasty", "hasty", "team"),
        )
        document = runtime_json(
            [
                boss,
                custom("recall", description="Repeats what it hears."),
                custom("patient", "wait"),
                custom("hasty", "wait", timeoutSeconds=1),
            ],
            sessions={"type": "File", "file": {}},
            routes=[
                route("recall", "lab", lab, "lab.lab.svc"),
                route("wait", "lab", lab, "lab.lab.svc"),
                route("fail", "lab", lab, "lab.lab.svc"),
                route("stranger", "lab", lab, "other.lab.svc"),
            ],
        )
        files.configure(document)
        async with RuntimeProcess(files) as runtime:
            await runtime.ready()
            async with runtime.client(me) as client:
                # The agents that are tools see neither the session of the call nor its history.
                first = await client.execute("boss", "hello", session_id="new")
                assert first.text == "it says: what is it?"
                again = await client.execute("boss", "once more", session_id=first.session_id)
                assert again.text == "it says: what is it?"
                assert again.session_version == 4
                # The whole history in order, and the input once (R3).
                roles = [(item["role"], item["content"]) for item in model.requests[-2]["messages"]]
                assert roles == [
                    ("user", "hello"),
                    ("assistant", "it says: what is it?"),
                    ("user", "once more"),
                ]
                offered = {tool["function"]["name"]: tool["function"] for tool in model.requests[0]["tools"]}
                assert offered["here"]["description"] == "Repeats what it hears."
                assert offered["slow"]["description"] == "Ask the agent wait."

                model.script = ask("here", "near")
                assert (
                    await client.execute("boss", "hello", session_id=first.session_id)
                ).text == "it says: near"
                for tool, text in {
                    "broken": "agent fail failed: INTERNAL",
                    "impostor": "agent stranger failed: agent not ready",
                    "nobody": "agent nobody failed: agent not found",
                    "hasty": "agent hasty failed: deadline exceeded after 1 s",
                }.items():
                    model.script = ask(tool, "x")
                    said = (await client.execute("boss", "hello")).text
                    assert text in said
                    assert "10.0.0.1" not in said
                    assert str(lab.grpc_port) not in said

                # The deadline of the call is the deadline of what it calls.
                for tool in ("slow", "patient"):
                    model.script = ask(tool, "x")
                    began = time.monotonic()
                    with pytest.raises(RpcError) as caught:
                        await client.execute("boss", "hello", timeout=1.5)
                    assert caught.value.code is CODE.DEADLINE_EXCEEDED
                    assert time.monotonic() - began < 10
                    for process in (lab, runtime):
                        await process.until(
                            lambda s: s.in_flight == 0, "everything that it called is over", 5
                        )


async def test_agents_that_call_each_other_in_a_circle(
    files: RuntimeFiles, lab_files: RuntimeFiles, me: Leaf
) -> None:
    async with ModelServer(ask("other", "your turn")) as model:
        other = react(model, agent_tool("other", "boss", "team"), name="other")
        lab_files.configure(lab_json([other]))
        async with RuntimeProcess(lab_files) as lab:
            files.configure(
                runtime_json(
                    [
                        react(
                            model,
                            agent_tool("other", "other", "lab"),
                            allowedCallerNamespaces=["lab"],
                            timeoutSeconds=60,
                        ),
                        react(model, agent_tool("other", "self", "team"), name="self", timeoutSeconds=60),
                    ],
                    routes=[route("other", "lab", lab, "lab.lab.svc")],
                )
            )
            async with RuntimeProcess(files) as runtime:
                before = (await lab.statusz()).config_revision
                back = route("boss", "team", runtime, "r.team.svc")
                lab_files.configure(lab_json([other], routes=[back]))
                await lab.until(lambda s: s.config_revision != before, "the route back is known")
                await runtime.ready()
                await lab.ready()
                async with runtime.client(me) as client:
                    for agent in ("boss", "self"):
                        model.requests.clear()
                        with pytest.raises(RpcError) as caught:
                            await client.execute(agent, "start", timeout=60)
                        assert caught.value.code is CODE.FAILED_PRECONDITION, caught.value
                        assert "chain deeper than 16" in caught.value.text
                        assert len(model.requests) == 17


async def test_a_tool_server_that_is_down_is_said_and_takes_nothing_down(
    files: RuntimeFiles, me: Leaf, tmp_path: Path
) -> None:
    mcp = McpProcess(tmp_path)
    tool = {"name": "calc", "mcp": {"url": mcp.url, "headersSecret": "calc-headers"}}
    files.keep_secrets({"calc-headers/Authorization": "Bearer one"})

    def add(messages: list[dict[str, Any]]) -> str | ToolCall:
        if messages[-1]["role"] == "tool":
            return f"it is {messages[-1]['content']}"
        return ToolCall("add", {"a": 20, "b": 22}) if "tools" in model.requests[-1] else "no tools"

    async with ModelServer(add) as model:
        files.configure(runtime_json([react(model, tool, revision="1")]))
        async with RuntimeProcess(files) as runtime:
            await runtime.ready()
            async with runtime.client(me) as client:
                status = await runtime.until(
                    lambda s: s.agents[0].error == "tool calc: the MCP server is not reachable",
                    "the error is visible",
                )
                assert (status.agents[0].ready, status.agents[0].loaded) == (True, True)
                assert (await client.execute("boss", "hello")).text == "no tools"
                try:
                    await asyncio.to_thread(mcp.start)
                    await runtime.until(lambda s: s.agents[0].error is None, "the tool server is back")
                    assert (await client.execute("boss", "hello")).text == "it is 42"
                    assert {sent.get("authorization") for sent in mcp.headers} == {"Bearer one"}

                    # A new version of the Secret, a key more: no restart, and no call fails.
                    seen = len(mcp.headers)
                    files.keep_secrets(
                        {"calc-headers/Authorization": "Bearer two", "calc-headers/X-Team": "blue"}
                    )
                    async with asyncio.timeout(20):
                        while not any(sent.get("x-team") == "blue" for sent in mcp.headers[seen:]):
                            assert (await client.execute("boss", "hello")).text in ("it is 42", "no tools")
                    assert (await client.execute("boss", "hello")).text == "it is 42"
                    assert mcp.headers[-1]["authorization"] == "Bearer two"
                finally:
                    mcp.kill()
                with pytest.raises(RpcError, match="INVALID_ARGUMENT: input: has control characters"):
                    await client.execute("boss", "a\0b")

                # A caller that goes away, or has no time left, ends the request to the model.
                model.script = lambda _: "one two three"
                model.go_on.clear()
                async with aclosing(client.execute_stream("boss", "hello")) as stream:
                    assert isinstance(part := await anext(stream), Message)
                    assert text_of(part) == "one"
                async with asyncio.timeout(10):
                    await model.abandoned.wait()
                model.abandoned.clear()
                with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
                    await client.execute("boss", "hello", timeout=0.5)
                async with asyncio.timeout(10):
                    await model.abandoned.wait()
                _, metrics = await runtime.get("/metrics")
                assert 'aixgo_mcp_tool_calls_total{status="ok",tool="add"}' in metrics
        assert "Bearer one" not in "".join(runtime.output)
        assert "Bearer two" not in "".join(runtime.output)
