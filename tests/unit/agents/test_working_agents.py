"""Producer, logger and aggregator by themselves, on the channels of a real runtime (R1, R2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import structlog

from aixgo.agents.base import SENDER
from aixgo.agents.errors import AgentNotImplementedError
from aixgo.agents.factory import build_agent
from aixgo.contract import AgentConfig
from aixgo.message import Message
from aixgo.runtime import Runtime
from aixgo.runtime.errors import AgentLoadError
from aixgo.runtime.hosting import RunningAgent
from aixgo.runtime.routing import Routing

MAJORITY = {"aggregation_strategy": "voting_majority"}


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with Runtime(channel_buffer_size=4, send_timeout=0.05) as runtime:
        yield runtime


class Started:
    """``async with Started(runtime, role, ...) as agent:`` an agent that works on the runtime's channels."""

    def __init__(self, runtime: Runtime, role: str, **config: Any) -> None:
        self.agent: Any = build_agent(
            AgentConfig.from_document({"name": role, "namespace": "n", "role": role, **config}), lambda _: ""
        )
        self.running = RunningAgent(role, self.agent)
        self.mailbox = runtime.mailbox(role)

    async def __aenter__(self) -> Any:
        await self.running.start(5, self.mailbox)
        assert self.agent.ready()
        return self.agent

    async def __aexit__(self, *_: object) -> None:
        failure = self.running.failure
        await self.running.stop()
        assert not self.agent.ready()
        assert failure is None


async def receive(runtime: Runtime, channel: str) -> Message:
    async with asyncio.timeout(5):
        return await runtime.recv(channel)


def vote(content: str, sender: str | None = None, **more: Any) -> Message:
    message = Message.new("assistant", {"content": content, **more})
    return message if sender is None else message.with_metadata(SENDER, sender)


async def test_a_producer_sends_until_it_is_stopped(runtime: Runtime) -> None:
    async with Started(runtime, "producer", outputs=["a", "b"], roleConfig={"interval": "2ms"}):
        messages = [await receive(runtime, channel) for channel in "ababab"]
    for message in messages:
        assert message.type == "ray_burst"
        assert message.payload.startswith("Cosmic ray: ")
        assert message.payload.endswith(" TeV")
        assert message.metadata[SENDER] == "producer"
    assert [message.id for message in messages[::2]] == [message.id for message in messages[1::2]]
    assert len({message.id for message in messages}) == 3


@pytest.mark.parametrize(
    ("config", "kind", "payload"),
    [
        ({"message": "hello"}, "ray_burst", "hello"),
        ({"payload": {"n": [1]}, "type": "tick"}, "tick", '{"n":[1]}'),
    ],
)
async def test_a_producer_sends_what_is_configured(
    runtime: Runtime, config: dict[str, Any], kind: str, payload: str
) -> None:
    async with Started(runtime, "producer", outputs=["a"], roleConfig={"interval": "1ms", **config}):
        message = await receive(runtime, "a")
    assert (message.type, message.payload) == (kind, payload)


async def test_a_full_output_keeps_nothing_from_the_others(runtime: Runtime) -> None:
    async with Started(runtime, "producer", outputs=["full", "read"], roleConfig={"interval": "1ms"}):
        for _ in range(6):
            await receive(runtime, "read")
    assert runtime.channel_stats("full").length == 4


async def test_a_producer_without_outputs_or_without_channels(runtime: Runtime) -> None:
    async with Started(runtime, "producer", roleConfig={"interval": "1ms"}) as agent:
        with pytest.raises(AgentNotImplementedError, match="agent producer does not implement Execute"):
            await agent.execute(Message.new("user", {}))
    agent = build_agent(AgentConfig(name="p", namespace="n", role="producer"), lambda _: "")
    with pytest.raises(AgentLoadError, match="needs the channels of a runtime"):
        await agent.start()


async def test_a_producer_that_was_late_skips_and_does_not_hurry(runtime: Runtime) -> None:
    async with Started(runtime, "producer", outputs=["a"], roleConfig={"interval": "20ms"}):
        await receive(runtime, "a")
        time.sleep(0.15)  # noqa: ASYNC251 - the event loop is late; that is the point
        await receive(runtime, "a")
        begun = time.monotonic()
        for _ in range(3):
            await receive(runtime, "a")
        assert time.monotonic() - begun > 0.03


async def test_a_logger_logs_every_input_and_calls(runtime: Runtime) -> None:
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def keep(_logger: object, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
        lines.put_nowait(dict(line))
        raise structlog.DropEvent

    before = list(structlog.get_config()["processors"])
    structlog.configure(processors=[keep])
    try:
        async with Started(runtime, "logger", inputs=["x", "y"]) as agent:
            sent = [Message.new("alarm", {"n": n}) for n in range(4)]
            await runtime.send("x", None)
            for message, channel in zip(sent, "xyxy", strict=True):
                await runtime.send(channel, message)
            async with asyncio.timeout(5):
                logged = [await lines.get() for _ in sent]
            call = Message.new("q", {"text": "hi"})
            assert await agent.execute(call) == call
    finally:
        structlog.configure(processors=before)
    alerts = {line["id"]: line for line in logged}
    assert alerts.keys() == {message.id for message in sent}
    assert alerts[sent[2].id]["event"] == '[ALERT] alarm | {"n":2}'
    last = lines.get_nowait()
    assert (last["agent"], last["id"], last["type"], last["payload"]) == (
        "logger",
        call.id,
        "q",
        call.payload,
    )


async def test_an_aggregator_waits_for_all_inputs(runtime: Runtime) -> None:
    config = {**MAJORITY, "timeout_ms": 60_000}
    async with Started(runtime, "aggregator", inputs=["x", "y"], outputs=["out"], roleConfig=config):
        for round_ in ("first", "second"):
            await runtime.send("x", vote(round_, confidence=0.9))
            await runtime.send("y", vote(round_))
            message = await receive(runtime, "out")
            result = json.loads(message.payload)
            assert message.type == "aggregation_result"
            assert (result["aggregated_content"], sorted(result["sources"])) == (round_, ["x", "y"])
            assert message.metadata[SENDER] == "aggregator"


async def test_the_window_closes_after_its_time_with_the_newest_of_every_sender(runtime: Runtime) -> None:
    config = {**MAJORITY, "timeoutMs": 150}
    async with Started(runtime, "aggregator", inputs=["topic"], outputs=["out"], roleConfig=config):
        for sender, content in [("a", "old"), ("b", "new"), ("a", "new"), ("c", "other")]:
            await runtime.send("topic", vote(content, sender))
        result = json.loads((await receive(runtime, "out")).payload)
    assert (result["aggregated_content"], sorted(result["sources"])) == ("new", ["a", "b", "c"])


async def test_the_window_closes_when_enough_have_spoken(runtime: Runtime) -> None:
    config = {**MAJORITY, "timeout_ms": 60_000, "max_input_sources": 2}
    async with Started(runtime, "aggregator", inputs=["topic"], outputs=["out"], roleConfig=config):
        for sender in "abcd":
            await runtime.send("topic", vote("same", sender))
        results = [json.loads((await receive(runtime, "out")).payload) for _ in range(2)]
    assert [result["sources"] for result in results] == [["a", "b"], ["c", "d"]]


async def test_what_cannot_be_aggregated_hurts_nothing_else(runtime: Runtime) -> None:
    config = {"aggregation_strategy": "voting_unanimous", "timeout_ms": 20}
    async with Started(runtime, "aggregator", inputs=["x", "y"], outputs=["out"], roleConfig=config):
        await runtime.send("x", None)
        await runtime.send("x", Message("1", "t", "control \x01", ""))
        await runtime.send("x", vote("A"))
        await runtime.send("y", vote("B"))
        await asyncio.sleep(0.05)
        await runtime.send("x", vote("C", confidence="high"))
        await runtime.send("y", vote("C"))
        while (result := json.loads((await receive(runtime, "out")).payload))["aggregated_content"] != "C":
            pass
    assert result["consensus_level"] == 1.0


async def test_agents_of_a_runtime_work_until_it_stops(runtime: Runtime) -> None:
    """R1, R2: the producer names a topic, aggregator and consumer name each other."""
    inputs = {"source": (), "sum": ("topic",), "end": ("sum",)}
    outputs = {"source": ("topic",), "sum": ("end",), "end": ()}
    roles: dict[str, tuple[str, dict[str, Any]]] = {
        "source": ("producer", {"interval": "2ms", "message": "tick"}),
        "sum": ("aggregator", {**MAJORITY, "timeout_ms": 1}),
    }
    runtime.route(Routing(inputs, outputs))
    for name, (role, config) in roles.items():
        document = {"name": name, "namespace": "n", "role": role, "roleConfig": config}
        more = {"inputs": inputs[name], "outputs": outputs[name]}
        runtime.register(build_agent(AgentConfig.from_document(document | more), lambda _: ""))
    await runtime.start_agents_phased({"sum": ["source"], "source": []})
    mailbox = runtime.mailbox("end")
    async with asyncio.timeout(10):
        for _ in range(5):
            result = json.loads((await mailbox.recv("sum")).payload)
            assert (result["aggregated_content"], result["sources"]) == ("tick", ["source"])


@pytest.mark.parametrize(
    ("role", "config"),
    [("producer", {"interval": "1ms"}), ("aggregator", MAJORITY), ("logger", {})],
)
async def test_work_ends_quietly_with_the_channels(role: str, config: dict[str, Any]) -> None:
    async with Runtime() as runtime:
        started = Started(runtime, role, inputs=["x"], outputs=["out"], roleConfig=config)
        await started.running.start(5, started.mailbox)
    async with asyncio.timeout(5):
        await started.running._task
    assert started.running.failure is None
    assert started.agent.ready()
    await started.running.stop()


async def test_classifications_are_votes_for_their_category(runtime: Runtime) -> None:
    config = {**MAJORITY, "timeout_ms": 60_000}
    async with Started(runtime, "aggregator", inputs=["x", "y"], outputs=["out"], roleConfig=config):
        for source, tokens in (("x", 5), ("y", 9)):
            said = {"category": "spam", "confidence": 0.9, "tokens_used": tokens}
            await runtime.send(source, Message.new("classification", said))
        result = json.loads((await receive(runtime, "out")).payload)
    assert (result["aggregated_content"], result["consensus_level"]) == ("spam", 1.0)


async def test_waiting_for_inputs_costs_no_cpu_time(runtime: Runtime) -> None:
    turns = 0
    loop = asyncio.get_running_loop()
    original = loop.call_soon

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal turns
        turns += 1
        return original(*args, **more)

    async with Started(runtime, "aggregator", inputs=["x", "y"], outputs=["out"], roleConfig=MAJORITY):
        await asyncio.sleep(0.01)
        loop.call_soon = counted  # type: ignore[method-assign]
        try:
            await asyncio.sleep(0.1)
        finally:
            del loop.call_soon  # type: ignore[misc]
    assert turns < 10


async def test_classifier_and_planner_leave_their_inputs_to_the_pump() -> None:
    model = {"provider": "test", "name": "t"}
    for role, config in (("classifier", {"categories": [{"name": "a"}]}), ("planner", {})):
        agent = build_agent(
            AgentConfig.from_document(
                {"name": "a", "namespace": "n", "role": role, "model": model, "roleConfig": config}
            ),
            lambda _: "",
        )
        assert not hasattr(agent, "bind")
