"""Tools of real MCP servers, over HTTP and over stdio, in the hands of a scripted model over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import mcp_server
from tests.support.mcp_server import McpProcess
from tests.support.model_server import ModelServer, ToolCall
from tests.support.waiting import wait_until

from aixgo.agents.factory import build_agent
from aixgo.agents.react import ReactAgent
from aixgo.agents.services import AgentServices
from aixgo.agents.text import text_of
from aixgo.agents.url_guard import LOCAL, AddressPolicy
from aixgo.contract import AgentConfig
from aixgo.message import Message
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo.runtime.errors import AgentLoadError, UsageLimitError

STDIO = {
    "command": sys.executable,
    "args": ["-P", mcp_server.__file__, "stdio"],
    "env": {"GREETING": "hi; echo $HOME"},
}


def say(text: str) -> Message:
    return Message.new("user", {"text": text})


def use(name: str, /, **arguments: Any) -> Callable[[list[dict[str, Any]]], str | ToolCall]:
    """Return the script of a model that calls one tool and answers with its result."""

    def script(messages: list[dict[str, Any]]) -> str | ToolCall:
        if messages[-1]["role"] == "tool":
            return f"it says: {messages[-1]['content']}"
        return ToolCall(name, arguments)

    return script


@asynccontextmanager
async def react(
    model: ModelServer, *tools: dict[str, Any], services: AgentServices | None = None, **role_config: Any
) -> AsyncIterator[ReactAgent]:
    config = AgentConfig.from_document(
        {
            "name": "a",
            "namespace": "n",
            "model": {"name": "m", "baseURL": model.base_url},
            "tools": tools,
            "roleConfig": role_config,
        }
    )
    agent = build_agent(config, lambda _: "", services or AgentServices(policy=LOCAL, programs=True))
    assert isinstance(agent, ReactAgent)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def until_problem(agent: ReactAgent, text: str | None) -> None:
    def reached() -> bool:
        problem = agent.problem
        return problem is None if text is None else text in (problem or "")

    await asyncio.to_thread(wait_until, reached, f"problem {text}", timeout=20, every=0.01)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpProcess]:
    with McpProcess(tmp_path_factory.mktemp("mcp")) as mcp:
        yield mcp


@pytest.fixture(params=["http", "stdio"])
def server(request: pytest.FixtureRequest, http: McpProcess) -> dict[str, Any]:
    return {"stdio": STDIO} if request.param == "stdio" else {"url": http.url}


async def test_the_loop_runs_to_its_end_and_is_counted(server: dict[str, Any]) -> None:
    metrics = PrometheusMetrics()

    def add_three_times(messages: list[dict[str, Any]]) -> str | ToolCall:
        results = [int(message["content"]) for message in messages if message["role"] == "tool"]
        return f"{results}" if len(results) == 3 else ToolCall("add", {"a": sum(results), "b": 1})

    services = AgentServices(policy=LOCAL, programs=True, metrics=metrics)
    async with (
        ModelServer(add_three_times) as model,
        react(model, {"name": "calc", "mcp": server}, services=services) as agent,
    ):
        assert text_of(await agent.execute(say("go"))) == "[1, 2, 4]"
        assert {"add", "fail", "process"} <= set(model.tools())
        description = model.requests[0]["tools"][0]["function"]
        assert (description["name"], description["description"]) == ("add", "Add two numbers.")
        model.script = use("fail")
        said = text_of(await agent.execute(say("go")))
        assert "no such thing" in said
    exposition = metrics.exposition().decode()
    assert 'aixgo_mcp_tool_calls_total{status="ok",tool="add"} 3.0' in exposition
    assert 'aixgo_mcp_tool_calls_total{status="failed",tool="fail"} 1.0' in exposition
    assert 'aixgo_mcp_tool_call_duration_seconds_count{tool="add"} 3.0' in exposition


async def test_only_allowed_tools_are_offered(http: McpProcess) -> None:
    tool = {"name": "calc", "mcp": {"url": http.url, "allowedTools": ["add", "gone"]}}
    async with ModelServer(use("process")) as model, react(model, tool) as agent:
        # A model that calls what it was not offered is told so, and may not.
        with contextlib.suppress(Exception):
            await agent.execute(say("go"))
        assert model.tools() == ["add"]
        assert not any(
            message["content"].isdigit()
            for message in model.requests[-1]["messages"]
            if message["role"] == "tool"
        )
        await until_problem(agent, "tool calc: the MCP server does not offer gone")


async def test_the_stream_of_an_answer_with_tools(http: McpProcess) -> None:
    def script(messages: list[dict[str, Any]]) -> str | ToolCall:
        if messages[-1]["role"] == "tool":
            return f"It is {messages[-1]['content']} indeed."
        return ToolCall("add", {"a": 2, "b": 3}, text="Let me see.")

    async with (
        ModelServer(script) as model,
        react(model, {"name": "calc", "mcp": {"url": http.url}}) as agent,
    ):
        parts = [text_of(part) async for part in agent.execute_stream(say("go"))]
    assert "".join(parts) == "Let me see.\n\nIt is 5 indeed."
    assert len(parts) > 5


async def test_a_program_gets_its_arguments_as_they_are_and_no_shell() -> None:
    tool = {"name": "calc", "mcp": {"stdio": STDIO}}
    async with ModelServer(use("environment", name="GREETING")) as model, react(model, tool) as agent:
        assert text_of(await agent.execute(say("go"))) == "it says: hi; echo $HOME"


async def test_a_program_ends_with_its_agent_and_is_started_again_when_it_dies() -> None:
    tool = {"name": "calc", "mcp": {"stdio": STDIO}}
    async with ModelServer(use("process")) as model, react(model, tool) as agent:
        first = int(text_of(await agent.execute(say("go"))).split()[-1])
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not _lives(first), "the program is gone")
        said = text_of(await agent.execute(say("go")))
        if "not reachable" in said:  # this call has found out
            said = text_of(await agent.execute(say("go")))
        second = int(said.split()[-1])
        assert second != first
    await asyncio.to_thread(wait_until, lambda: not _lives(second), "the program ended with its agent")


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    with McpProcess(tmp_path) as mcp:
        async with (
            ModelServer(use("process")) as model,
            react(model, {"name": "calc", "mcp": {"url": mcp.url}}) as agent,
        ):
            first = text_of(await agent.execute(say("go")))
            mcp.kill()
            assert "not reachable" in text_of(await agent.execute(say("go")))
            assert agent.ready()
            await until_problem(agent, "tool calc: the MCP server is not reachable")
            assert str(mcp.port) not in (agent.problem or "")
            # What it offers is known, so that the model is told what is the matter.
            assert "process" in model.tools()
            await asyncio.to_thread(mcp.start)
            await until_problem(agent, None)
            second = text_of(await agent.execute(say("go")))
            assert second != first
            assert second.split()[-1].isdigit()


async def test_a_server_that_was_restarted_unnoticed_is_no_failure(tmp_path: Path) -> None:
    with McpProcess(tmp_path) as mcp:
        async with (
            ModelServer(use("process")) as model,
            react(model, {"name": "calc", "mcp": {"url": mcp.url}}) as agent,
        ):
            first = text_of(await agent.execute(say("go")))
            mcp.kill()
            await asyncio.to_thread(mcp.start)
            said = text_of(await agent.execute(say("go")))
            assert said != first
            assert said.split()[-1].isdigit()


async def test_a_server_that_is_down_at_the_start(tmp_path: Path) -> None:
    mcp = McpProcess(tmp_path)
    async with ModelServer() as model, react(model, {"name": "calc", "mcp": {"url": mcp.url}}) as agent:
        assert agent.ready()
        assert text_of(await agent.execute(say("hi"))).startswith("hi")
        await until_problem(agent, "tool calc: the MCP server is not reachable")
        await asyncio.to_thread(mcp.start)
        try:
            await until_problem(agent, None)
            model.script = use("add", a=1, b=2)
            assert text_of(await agent.execute(say("go"))) == "it says: 3"
        finally:
            mcp.kill()


async def test_two_servers_with_the_same_tool(http: McpProcess) -> None:
    async with ModelServer(use("other_process")) as model:
        tools = [
            {"name": "first", "mcp": {"stdio": STDIO, "allowedTools": ["process"]}},
            {"name": "other", "mcp": {"url": http.url, "allowedTools": ["process"]}},
        ]
        async with react(model, *tools) as agent:
            other = text_of(await agent.execute(say("go")))
            model.script = use("process")
            assert text_of(await agent.execute(say("go"))) != other
            assert model.tools() == ["process", "other_process"]


async def test_headers_come_from_the_secret_and_go_to_this_server_only(
    http: McpProcess, tmp_path: Path
) -> None:
    services = AgentServices(
        policy=LOCAL, headers=lambda secret: {"Authorization": f"Bearer of {secret}\n", "X-Team": "one"}
    )
    with McpProcess(tmp_path) as mcp:
        tools = [
            {"name": "first", "mcp": {"url": mcp.url, "headersSecret": "token"}},
            {"name": "other", "mcp": {"url": http.url, "allowedTools": ["add"]}},
        ]
        async with ModelServer(use("process")) as model, react(model, *tools, services=services) as agent:
            await agent.execute(say("go"))
        assert {(sent["authorization"], sent["x-team"]) for sent in mcp.headers} == {
            ("Bearer of token", "one")
        }
        assert http.headers
        assert "of token" not in json.dumps(http.headers)
        assert "of token" not in json.dumps(model.headers)


async def test_a_slow_tool_is_given_up(http: McpProcess) -> None:
    tool = {"name": "calc", "mcp": {"url": http.url}}
    async with (
        ModelServer(use("wait", seconds=30)) as model,
        react(model, tool, toolTimeoutSeconds=0.5) as agent,
    ):
        assert "did not answer within 0.5 s" in text_of(await agent.execute(say("go")))
        model.script = use("add", a=1, b=2)
        assert text_of(await agent.execute(say("go"))) == "it says: 3"


async def test_a_server_that_hangs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with McpProcess(tmp_path) as mcp:
        tool = {"name": "calc", "mcp": {"url": mcp.url}}
        async with ModelServer(use("process")) as model, react(model, tool, toolTimeoutSeconds=5) as agent:
            pid = int(text_of(await agent.execute(say("go"))).split()[-1])
            monkeypatch.setattr(agent._tools, "_timeout", 0.2)
            monkeypatch.setattr(agent._tools.sources[0], "_connect_seconds", 1.0)  # type: ignore[union-attr]
            os.kill(pid, signal.SIGSTOP)
            try:
                assert "did not answer" in text_of(await agent.execute(say("go")))
                await until_problem(agent, "tool calc: the MCP server is not reachable")
            finally:
                os.kill(pid, signal.SIGCONT)
            monkeypatch.setattr(agent._tools, "_timeout", 30.0)
            monkeypatch.setattr(agent._tools.sources[0], "_connect_seconds", 30.0)  # type: ignore[union-attr]
            await until_problem(agent, None)
            assert text_of(await agent.execute(say("go"))) == f"it says: {pid}"


async def test_a_loop_without_end_is_ended(http: McpProcess) -> None:
    def never(messages: list[dict[str, Any]]) -> ToolCall:
        return ToolCall("add", {"a": len(messages), "b": 1})

    tool = {"name": "calc", "mcp": {"url": http.url}}
    async with ModelServer(never) as model:
        async with react(model, tool, maxRequests=4) as agent:
            with pytest.raises(UsageLimitError, match="limit for one call is reached: maxRequests"):
                await agent.execute(say("go"))
            assert len(model.requests) == 4
        async with react(model, tool, maxToolCalls=2) as agent:
            with pytest.raises(UsageLimitError, match="limit for one call is reached: maxToolCalls"):
                await agent.execute(say("go"))
        async with react(model, tool, maxTotalTokens=40) as agent:
            with pytest.raises(UsageLimitError, match="limit for one call is reached: maxTotalTokens"):
                await agent.execute(say("go"))


@pytest.mark.parametrize(
    ("mcp", "services", "text"),
    [
        ({"url": "http://169.254.169.254/mcp"}, {}, "tool t: its url is refused: its host is a link-local"),
        ({"url": "http://127.0.0.1/mcp"}, {}, "tool t: its url is refused: its host is a loopback address"),
        ({"stdio": STDIO}, {}, "tool t: MCP servers over stdio run in local mode only"),
        ({}, {}, "either a url or a program"),
        ({"url": "http://m/mcp", "headersSecret": "gone"}, {}, "secret 'gone' is not available"),
        (
            {"url": "http://m/mcp", "headersSecret": "s"},
            {"headers": lambda _: {"X-A": "one\r\nX-B: two"}},
            "the value of header 'X-A' cannot be sent",
        ),
        (
            {"url": "http://m/mcp", "headersSecret": "s"},
            {"headers": lambda _: {"Host": "elsewhere"}},
            "key 'Host' of its headers Secret cannot be a header",
        ),
    ],
)
def test_what_can_never_work_is_said_at_once(
    mcp: dict[str, Any], services: dict[str, Any], text: str
) -> None:
    config = AgentConfig.from_document(
        {"name": "a", "namespace": "n", "model": {"provider": "test", "name": "m"}}
        | {"tools": [{"name": "t", "mcp": mcp}]}
    )
    with pytest.raises(AgentLoadError, match=text):
        build_agent(config, lambda _: "", AgentServices(policy=AddressPolicy(), **services))
