"""`aixgo run` with what is around it: other processes over mutual TLS, session stores, tool servers."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.mcp_server import McpProcess
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Authority
from tests.support.redis_server import RedisServer
from tests.support.run_process import RunProcess, wait_until

from aixgo.session import FileBackend, Manager

MESSAGES = "aixgo_agent_messages_total"
RECALL = "tests.support.custom_agents:recall"


@pytest.fixture
def tls_dir(tmp_path: Path) -> Path:
    return Authority().issue().write(tmp_path / "tls")


def call(address: str, tls_dir: Path, *arguments: str) -> Result:
    port = address.rpartition(":")[2]
    return aixgo("call", *arguments, "--address", f"127.0.0.1:{port}", "--tls-dir", tls_dir)


def session_in(result: Result) -> str:
    found = re.search(r"session=(\S+)", result.stderr)
    assert found is not None, result
    return found[1]


def test_d10_agents_of_two_processes_work_together_over_mutual_tls(tls_dir: Path) -> None:
    """D10: listen, addr and the gRPC port take effect. D7: agents may depend on agents elsewhere."""
    sink = """
agents:
  - {name: sink, role: logger, listen: "127.0.0.1:0", inputs: [{source: ticker}]}
  - {name: remember, role: custom, handler: "tests.support.custom_agents:recall", listen: "127.0.0.1:0"}
"""
    source = """
agents:
  - name: ticker
    role: producer
    interval: 20ms
    outputs: [{target: sink, addr: "ADDRESS"}]
    depends_on: [sink]
"""
    with RunProcess(sink, "--grpc-port", "0", "--tls-dir", tls_dir) as far:
        first, second = far.addresses
        assert first.startswith("127.0.0.1:")
        assert second.startswith("[::]:")
        with RunProcess(source.replace("ADDRESS", first), "--tls-dir", tls_dir) as near:
            alerts = far.wait_for_alerts("sink", 3)
            assert {alert["type"] for alert in alerts} == {"ray_burst"}
            assert near.stop() == 0
        for address in (first, second):
            answer = call(address, tls_dir, "remember", "hello")
            assert (answer.code, answer.stdout) == (0, "hello\n")
        tls = far.get("/statusz")[1]["tls"]
        assert tls["mode"] == "Mutual"
        assert tls["notAfter"]
        stranger = Authority().issue().write(tls_dir.parent / "stranger")
        assert call(first, stranger, "remember", "hello").code != 0
        assert far.stop() == 0


CONVERSATION = """
session:
  enabled: true
  store: file
  base_dir: BASE
  checkpoint: {auto_save: true, interval: 100ms}
agents:
  - {name: remember, role: custom, handler: "tests.support.custom_agents:recall", listen: ":0"}
  - {name: forget, role: custom, handler: "tests.support.custom_agents:recall", session_mode: disabled}
"""


def test_sessions_are_kept_and_checkpoints_made(tmp_path: Path, tls_dir: Path) -> None:
    base = tmp_path / "sessions"
    text = CONVERSATION.replace("BASE", str(base))

    def checkpoints() -> list[Any]:
        async def read() -> list[Any]:
            async with Manager(FileBackend(base)) as sessions:
                (session,) = await sessions.list("remember")
                return await session.list_checkpoints()

        return asyncio.run(read())

    with RunProcess(text, "--tls-dir", tls_dir) as process:
        (address,) = process.addresses
        session = session_in(call(address, tls_dir, "remember", "one", "--session", "new"))
        wait_until(lambda: len(checkpoints()) == 1, "a checkpoint is made")
        assert checkpoints()[0].metadata == {"auto": True}
        assert (
            "agent 'forget' keeps no sessions"
            in call(address, tls_dir, "forget", "x", "--session", "new").stderr
        )
        assert call(address, tls_dir, "forget", "x").stdout == "x\n"
        assert process.get("/statusz")[1]["sessions"] == {
            "type": "File",
            "ready": True,
            "error": None,
            "trustBundle": None,
        }
        assert process.stop() == 0
    assert len(checkpoints()) == 1, "nothing changed, so there is no other checkpoint"
    with RunProcess(text, "--tls-dir", tls_dir) as process:
        answer = call(process.addresses[0], tls_dir, "remember", "two", "--session", session)
        assert answer.stdout == "one | one | two\n"
        assert process.stop() == 0
    assert len(checkpoints()) == 2, "the end makes the last one"


def test_sessions_are_on_by_default_and_can_be_turned_off(tmp_path: Path, tls_dir: Path) -> None:
    agents = f'agents: [{{name: remember, role: custom, handler: "{RECALL}", listen: ":0"}}]'
    home = tmp_path / "home"
    with RunProcess(agents, "--tls-dir", tls_dir, home=home) as process:
        session = session_in(call(process.addresses[0], tls_dir, "remember", "one", "--session", "new"))
        assert process.stop() == 0
    assert (home / ".aixgo" / "sessions" / "remember" / f"{session}.jsonl").exists()
    with RunProcess("session: {enabled: false}\n" + agents, "--tls-dir", tls_dir, home=home) as process:
        refused = call(process.addresses[0], tls_dir, "remember", "one", "--session", session)
        assert refused.code != 0
        assert process.get("/statusz")[1]["sessions"]["type"] == "None"
        assert process.stop() == 0


def test_calls_in_flight_end_before_the_process_and_a_second_signal_does_not_wait(
    tmp_path: Path, tls_dir: Path
) -> None:
    gate = tmp_path / "gate"
    text = 'agents: [{name: wait, role: custom, handler: "tests.support.custom_agents:wait", listen: ":0"}]'
    with ThreadPoolExecutor() as threads:
        for patient in (True, False):
            with RunProcess(text, "--tls-dir", tls_dir, env={"AIXGO_TEST_GATE": str(gate)}) as process:
                calling = threads.submit(call, process.addresses[0], tls_dir, "wait", "x")
                wait_until(lambda: process.metric(MESSAGES, 'agent="wait"') >= 1, "it is called")
                process.process.send_signal(signal.SIGTERM)
                wait_until(lambda: process.log("stopping"), "the process is stopping")
                if patient:
                    gate.touch()
                    assert process.wait() == 0
                    assert calling.result().stdout == "done: x\n"
                    gate.unlink()
                else:
                    process.process.send_signal(signal.SIGTERM)
                    assert process.wait() == 1
                    assert calling.result().code != 0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", config=("requirepass s3cret-of-redis",)).start()
    try:
        yield server
    finally:
        server.kill()


def test_the_store_may_be_redis(tls_dir: Path, redis: RedisServer) -> None:
    text = f"""
session:
  store: redis
  redis: {{address: "{redis.address}", password_env: MY_REDIS, key_prefix: "mine:"}}
agents: [{{name: remember, role: custom, handler: "tests.support.custom_agents:recall", listen: ":0"}}]
"""
    with RunProcess(text, "--tls-dir", tls_dir, env={"MY_REDIS": "s3cret-of-redis"}) as process:
        (address,) = process.addresses
        session = session_in(call(address, tls_dir, "remember", "one", "--session", "new"))
        assert call(address, tls_dir, "remember", "two", "--session", session).stdout == "one | one | two\n"
        assert process.get("/statusz")[1]["sessions"]["type"] == "Redis"
        redis.kill()
        wait_until(lambda: process.get("/health/ready")[0] == 503, "the loss of the store is seen")
        redis.start()
        wait_until(lambda: process.get("/health/ready")[0] == 200, "its return is seen")
        assert "s3cret" not in process.text
        assert process.stop() == 0


def test_r11_tools_of_an_mcp_server_are_used(tmp_path: Path, tls_dir: Path, model: ModelServer) -> None:
    """R11: a model behind any provider can use tools; the token goes to the tool server only."""
    model.script = lambda messages: (
        f"it is {messages[-1]['content']}"
        if messages[-1]["role"] == "tool"
        else ToolCall("add", {"a": 2, "b": 3})
    )
    with McpProcess(tmp_path) as tools:
        text = f"""
mcp_servers:
  - name: tools
    transport: http
    address: {tools.url}
    auth: {{type: bearer, token_env: TOOLS_TOKEN}}
agents:
  - {{name: counter, role: react, model: gpt-4, mcp_servers: [tools], listen: ":0"}}
"""
        env = {
            "TOOLS_TOKEN": "token-of-tools",
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-openai-key",
        }
        with RunProcess(text, "--tls-dir", tls_dir, env=env) as process:
            answer = call(process.addresses[0], tls_dir, "counter", "2 + 3?")
            assert (answer.code, answer.stdout) == (0, "it is 5\n"), process.text
            assert process.stop() == 0
            assert "token-of-tools" not in process.text
        assert tools.headers
        assert {headers.get("authorization") for headers in tools.headers} == {"Bearer token-of-tools"}
        assert set(model.authorizations) == {"Bearer sk-openai-key"}
