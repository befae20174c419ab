"""Inputs and outputs of agents in real runtime processes: agents that work without being called."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.agents.text import text_of
from aixgo.message import Message
from aixgo.rpc.client import AgentClient


async def heard(client: AgentClient, agent: str, count: int) -> list[Message]:
    """Return the next messages in an agent's channel."""
    messages: list[Message] = []
    async with aclosing(client.listen(agent)) as stream:
        async for message in stream:
            messages.append(message)
            if len(messages) == count:
                return messages
    raise AssertionError("the stream ended")


async def test_messages_flow_between_agents_and_runtimes(
    files: RuntimeFiles, authority: Authority, me: Leaf, tmp_path: Path
) -> None:
    lab_files = RuntimeFiles(tmp_path / "lab")
    lab_files.certify(authority.runtime("lab", "team"))
    lab_files.configure(runtime_json([custom("far", "recall")], runtime={"name": "lab", "namespace": "team"}))
    producer = {
        "name": "clock",
        "role": "producer",
        "roleConfig": {"interval": "20ms", "type": "tick", "payload": {"text": "tick"}},
        "outputs": ["work"],
    }

    def document(greeting: str) -> dict[str, Any]:
        answers = custom(
            "answers",
            "Configured",
            roleConfig={"greeting": greeting},
            inputs=["work"],
            outputs=["sink", "far"],
            revision=greeting,
        )
        there = {
            "agent": "far",
            "namespace": "team",
            "address": f"127.0.0.1:{lab.grpc_port}",
            "serverName": "lab.team.svc",
            "spiffeId": "spiffe://cluster.local/ns/team/agentruntime/lab",
        }
        return runtime_json([producer, answers, custom("sink", "recall")], routes=[there])

    async with RuntimeProcess(lab_files) as lab:
        files.configure(document("hello"))
        async with RuntimeProcess(files) as runtime:
            await lab.ready()
            await runtime.ready()
            async with runtime.client(me) as client, lab.client(me) as lab_client, asyncio.timeout(30):
                assert {text_of(message) for message in await heard(client, "sink", 3)} == {"hello tick"}
                assert {text_of(message) for message in await heard(lab_client, "far", 3)} == {"hello tick"}
                # A new configuration takes over; what waits in channels is not lost.
                files.configure(document("bye"))
                while text_of((await heard(client, "sink", 1))[0]) != "bye tick":
                    pass
            runtime.terminate()
            assert await runtime.exit_code() == 0


async def test_what_was_read_is_answered_before_the_end(files: RuntimeFiles, me: Leaf) -> None:
    slow = custom("slow", "wait", inputs=["work"], outputs=["sink"])
    files.configure(runtime_json([slow, custom("sink", "recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client, aclosing(client.listen("sink")) as sink:
            await client.send("sink", Message.new("user", {"text": "connected"}), timeout=10)
            assert text_of(await anext(sink)) == "connected"  # a runtime that drains takes no new listeners
            await client.send("work", Message.new("user", {"text": "one"}), timeout=10)
            runtime.terminate()
            await runtime.until(lambda s: s.draining, "it drains")
            runtime.gate.touch()
            assert text_of(await anext(sink)) == "done: one"
        assert await runtime.exit_code() == 0
        assert not [line for line in runtime.log if line.get("level") == "error"]
