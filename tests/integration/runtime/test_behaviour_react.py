"""A react agent with a real HTTP model, here and behind mutual TLS."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from tests.support.behaviour import Worlds, say
from tests.support.model_server import ModelServer

from aixgo import DistributedRuntime, Runtime
from aixgo.agents.factory import build_agent
from aixgo.agents.services import AgentServices
from aixgo.agents.text import text_of
from aixgo.agents.url_guard import LOCAL
from aixgo.contract import AgentConfig, ModelConfig
from aixgo.runtime.errors import ModelError
from aixgo.session import Manager


async def test_r3_the_model_gets_the_whole_history_in_order_and_the_input_once(worlds: Worlds) -> None:
    """R3: only the last message was used, and on a match the input would have gone twice."""
    async with ModelServer() as model, AsyncExitStack() as stack:
        config = AgentConfig(
            name="assistant",
            namespace="team",
            model=ModelConfig(name="m", base_url=model.base_url),
        )
        agent = build_agent(config, lambda secret: "", AgentServices(policy=LOCAL))
        runtime, sessions = await _runtime_with(agent, worlds, stack)
        session = await sessions.create("assistant")
        first = await runtime.call_with_session("assistant", say("one"), session.id)
        await runtime.call_with_session("assistant", say("two"), session.id)
        parts = runtime.call_with_session_stream("assistant", say("three"), session.id)
        answer = "".join([text_of(part) async for part in parts])
        told = [(item["role"], item["content"]) for item in model.requests[-1]["messages"]]
        assert [role for role, _ in told if role != "system"] == ["user", "assistant"] * 2 + ["user"]
        assert [text for role, text in told if role == "user"] == ["one", "two", "three"]
        assert ("assistant", text_of(first)) in told
        assert text_of((await session.get_messages())[-1]) == answer
        model.fail_with = 500
        with pytest.raises(ModelError):
            await runtime.call_with_session("assistant", say("four"), session.id)
        assert len(await session.get_messages()) == 6


async def _runtime_with(agent: object, worlds: Worlds, stack: AsyncExitStack) -> tuple[Runtime, Manager]:
    sessions = worlds.sessions
    if worlds.kind == "local":
        local = await stack.enter_async_context(Runtime(session_manager=sessions, timeout=20))
        local.register(agent)  # type: ignore[arg-type]
        return local, sessions
    there = await stack.enter_async_context(DistributedRuntime("127.0.0.1:0", tls=worlds.tls))
    there.register(agent)  # type: ignore[arg-type]
    here = DistributedRuntime("127.0.0.1:0", tls=worlds.tls, session_manager=sessions, timeout=20)
    await stack.enter_async_context(here)
    await here.connect("assistant", there.listen_address)
    return here, sessions
