"""A runtime full of recognisable secrets goes through every failure; none of them is ever printed or told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.mcp_server import McpProcess
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Authority, Leaf
from tests.support.redis_server import RedisServer, running_redis
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json
from tests.support.trace_collector import TraceCollector

from aixgo.observability.redaction import REPLACEMENT
from aixgo.rpc.client import AgentClient, RpcError
from aixgo_cli.conformance.scripted_model import ScriptedModel

FIRST_KEY, SECOND_KEY = "sk-first-4f1c9e7ab2", "sk-second-77d0c3be51"
TOKEN = "mcp-token-c0ffee-98121"
PROMPT = "You guard the recipe 5ea5a17-with-cinnamon."
PASSWORD, WRONG_PASSWORD = "redis-password-b00b1e5", "wrong-password-deadbeef"


@dataclass
class Told:
    """Everything that anybody outside the process could have seen of it."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + text

    async def ask(self, runtime: RuntimeProcess) -> None:
        for path in ("/metrics", "/statusz", "/health", "/health/ready"):
            self.add(path, (await runtime.get(path))[1])

    async def fail(self, client: AgentClient, agent: str, text: str, **options: Any) -> None:
        with pytest.raises(RpcError) as caught:
            await client.execute(agent, text, timeout=5, **options)
        self.add("gRPC errors", f"{caught.value} {caught.value.text}\n")

    def found(self, *secrets: str) -> list[tuple[str, str]]:
        forms = [form for s in secrets for form in (s, base64.b64encode(s.encode()).decode())]
        return [(where, form) for where, text in self.texts.items() for form in forms if form in text]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis", config=(f"requirepass {PASSWORD}",)) as server:
        yield server


def pem_lines(leaf: Leaf) -> list[str]:
    return [line for line in leaf.key.decode().splitlines() if not line.startswith("-----")]


def secrets(key: str, password: str) -> dict[str, str]:
    header = {"mcp/Authorization": f"Bearer {TOKEN}"}
    return {"llm/key": f"{key}\n", "redis/password": password, "prompt/text": PROMPT, **header}


def configuration(redis: RedisServer, model: str, tool_model: str, mcp: str) -> dict[str, Any]:
    def react(name: str, base_url: str, **more: Any) -> dict[str, Any]:
        prompt = {"secret": {"secret": "prompt", "key": "text"}}
        llm = {"name": "m", "baseURL": base_url, "apiKey": {"secret": "llm", "key": "key"}}
        return {"name": name, "prompt": prompt, "model": llm, **more}

    tool = {"name": "numbers", "mcp": {"url": mcp, "headersSecret": "mcp"}}
    connection = {
        "addresses": [redis.address],
        "tls": False,
        "password": {"secret": "redis", "key": "password"},
    }
    return runtime_json(
        [
            react("a", model),
            react("tools", tool_model, tools=[tool]),
            custom("fail"),
            custom("blab"),
            custom("never", "NeverStarts"),
        ],
        sessions={"type": "Redis", "redis": connection},
    )


async def test_nothing_that_is_secret_is_told(
    files: RuntimeFiles, authority: Authority, me: Leaf, redis: RedisServer
) -> None:
    told = Told()
    key_of_pod = authority.runtime("r", "team")
    files.certify(key_of_pod)
    files.keep_secrets(secrets(FIRST_KEY, WRONG_PASSWORD))
    with McpProcess(files.root) as mcp:
        async with ScriptedModel() as model, ModelServer() as tool_model, TraceCollector() as collector:
            tool_model.script = lambda messages: (
                "done" if messages[-1]["role"] == "tool" else ToolCall(messages[-1]["content"], {})
            )
            document = configuration(redis, model.base_url, tool_model.base_url, mcp.url)
            files.configure(document)
            async with RuntimeProcess(files, collector.environment, log_level="debug") as runtime:
                await runtime.until(lambda s: s.sessions.error, "the wrong password is reported")
                await told.ask(runtime)
                files.keep_secrets(secrets(FIRST_KEY, PASSWORD))
                await runtime.until(
                    lambda s: s.sessions.ready and sum(a.ready for a in s.agents) == 4,
                    "all but one are ready",
                )
                async with runtime.client(me) as client:
                    await provider_fails(told, client)
                    assert (await client.execute("a", "hello", session_id="new")).session_version == 2
                    await agents_quote_secrets(told, client, key_of_pod)
                    await tools_fail(told, client, mcp)
                    files.keep_secrets(secrets(SECOND_KEY, PASSWORD))
                    async with asyncio.timeout(20):
                        while model.keys[-1] != SECOND_KEY:
                            await client.execute("a", "again")
                    redis.kill()
                    await told.fail(client, "a", "x", session_id="new")
                    await runtime.until(lambda s: not s.sessions.ready, "the loss of Redis is told")
                await bad_files(told, files, authority, runtime, document)
                runtime.terminate()
                await runtime.exit_code()
            for body in collector.bodies:
                told.add("traces", body.decode("utf-8", "replace"))
    told.add("log", "".join(runtime.output))
    stored = next(line for line in runtime.events("call") if line["code"] == "OK" and "session_id" in line)
    assert (stored["method"], stored["agent"], len(stored["trace_id"])) == ("Execute", "a", 32)
    assert stored["caller"] == "spiffe://cluster.local/ns/team/client/me"

    assert {FIRST_KEY, SECOND_KEY} <= set(model.keys), "the keys were in use"
    assert f"Bearer {TOKEN}" in {headers.get("authorization") for headers in mcp.headers}
    assert PROMPT in model.system_prompts[-1]
    assert told.texts["log"].count(REPLACEMENT) > 5, "something did try to tell them"
    assert set(told.texts) == {
        *("/metrics", "/statusz", "/health", "/health/ready", "gRPC errors", "traces", "log")
    }
    everything = (FIRST_KEY, SECOND_KEY, TOKEN, PROMPT, PASSWORD, WRONG_PASSWORD, *pem_lines(key_of_pod))
    assert told.found(*everything) == []


async def provider_fails(told: Told, client: AgentClient) -> None:
    """The model echoes the key in every error."""
    for status in (400, 401, 429, 500):
        await told.fail(client, "a", f"fail {status}")


async def agents_quote_secrets(told: Told, client: AgentClient, leaf: Leaf) -> None:
    """A user's agent puts secrets into its exceptions and its own log lines."""
    for text in (FIRST_KEY, PASSWORD, PROMPT, TOKEN, leaf.key.decode()):
        await told.fail(client, "fail", text)
        await told.fail(client, "fail", text, session_id="new")
        await client.execute("blab", text)


async def tools_fail(told: Told, client: AgentClient, mcp: McpProcess) -> None:
    assert (await client.execute("tools", "fail")).text == "done"
    mcp.kill()
    assert (await client.execute("tools", "fail", timeout=25)).text == "done"


async def bad_files(
    told: Told, files: RuntimeFiles, authority: Authority, runtime: RuntimeProcess, document: dict[str, Any]
) -> None:
    """Half a key pair, and a user who writes the key itself where its name should be."""
    good = authority.runtime("r", "team")
    files.certify(authority.runtime("r", "team"), **{"tls.key": good.key})
    await runtime.until(lambda s: s.tls.last_reload_error, "half a pair is refused")
    model = {"name": "m", "apiKey": FIRST_KEY, "temperature": PASSWORD}
    files.configure({**document, "agents": [{"name": "a", "namespace": "team", "model": model}]})
    await runtime.until(lambda s: s.last_config_error, "the configuration is refused")
    await told.ask(runtime)


async def test_a_refused_start_tells_no_value(files: RuntimeFiles) -> None:
    document = runtime_json([custom("recall")])
    model = {"name": "m", "apiKey": FIRST_KEY, "maxTokens": PASSWORD}
    files.configure({**document, "agents": [{"name": "a", "namespace": "team", "model": model}]})
    runtime = RuntimeProcess(files, log_level="debug")
    await runtime.launch()
    assert await runtime.exit_code() == 2
    told = Told({"log": "".join(runtime.output), "termination log": files.termination_log.read_text()})
    assert "agents[0].model.apiKey" in told.texts["termination log"]
    assert told.found(FIRST_KEY, PASSWORD) == []
