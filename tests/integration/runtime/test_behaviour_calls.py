"""Calls behave the same for agents in this process and in another one: answers, errors, limits, deadlines."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.support.behaviour import World, Worlds, say
from tests.support.behaviour_agents import SECRET

from aixgo.agents.errors import AgentNotImplementedError
from aixgo.agents.text import text_of
from aixgo.errors import StorageError
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    CallDeadlineError,
    CallLoopError,
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    RuntimeAlreadyStartedError,
    RuntimeNotStartedError,
    UsageLimitError,
)


async def test_agents_are_registered_once_and_listed_in_order(worlds: Worlds) -> None:
    async with worlds.make(agents=["recall", "echo"]) as world:
        runtime = world.runtime
        assert runtime.list() == ["echo", "recall"]
        assert runtime.get("echo").name == "echo"
        with pytest.raises(AgentAlreadyRegisteredError, match=r"^agent already registered: echo$"):
            runtime.register("echo", runtime.get("echo"))
        await runtime.call("echo", say("x"))
        await runtime.unregister("echo")
        for refused in (lambda: runtime.get("echo"), lambda: runtime.channel_stats("nobody")):
            with pytest.raises(AgentNotFoundError):
                refused()
        with pytest.raises(AgentNotFoundError, match="agent not found"):
            await runtime.call("echo", say("x"))
        with pytest.raises(AgentNotFoundError):
            await runtime.unregister("echo")
        assert runtime.list() == ["recall"]


async def test_d1_d2_d3_a_message_comes_back_as_it_went(world: World) -> None:
    """D1 every method works between processes; D2 name and target are sent; D3 nested metadata is equal."""
    message = say("x").with_metadata("nested", {"a": [1, {"b": None}], "c": "d", "e": 1.5, "f": True})
    assert await world.runtime.call("echo", message) == message
    await world.runtime.send("echo", message)
    assert await world.runtime.recv("echo") == message
    assert [part async for part in world.runtime.call_stream("echo", message)] == [message]


async def test_start_and_stop_twice(worlds: Worlds) -> None:
    async with worlds.make(start=False) as world:
        runtime = world.runtime
        with pytest.raises(RuntimeNotStartedError, match=r"^runtime not started$"):
            await runtime.call("echo", say("x"))
        for _ in range(2):
            await runtime.start()
            with pytest.raises(RuntimeAlreadyStartedError, match=r"^runtime already started$"):
                await runtime.start()
            assert text_of(await runtime.call("echo", say("x"))) == "x"
            await runtime.stop()
            await runtime.stop()
            with pytest.raises(RuntimeNotStartedError):
                await runtime.call("echo", say("x"))


async def test_d5_start_stop_and_call_at_once_give_a_result_or_a_named_error(worlds: Worlds) -> None:
    async with worlds.make(start=False) as world:
        runtime = world.runtime

        async def call() -> None:
            assert text_of(await runtime.call("echo", say("x"))) == "x"

        steps = [runtime.start, runtime.stop, call, runtime.start, call, runtime.stop, call] * 4
        results = await asyncio.gather(*(step() for step in steps), return_exceptions=True)
        errors = {type(result) for result in results if result is not None}
        assert errors <= {RuntimeNotStartedError, RuntimeAlreadyStartedError}
        await runtime.stop()


async def test_parallel_calls_give_partial_results(world: World) -> None:
    names = ["echo", "fail", "nobody", "recall", "echo"]
    answers, errors = await world.runtime.call_parallel(names, say("x"))
    assert {name: text_of(answer) for name, answer in answers.items()} == {"echo": "x", "recall": "x"}
    kinds = {name: type(error) for name, error in errors.items()}
    assert kinds == {"fail": AgentFailedError, "nobody": AgentNotFoundError}


async def test_d8_parallel_calls_respect_the_cap(worlds: Worlds) -> None:
    async with worlds.make(max_concurrent_calls=2) as world:
        calls = asyncio.create_task(world.runtime.call_parallel(["wait", "hang", "echo", "recall"], say("x")))
        await world.happened("wait entered")
        await world.happened("hang entered")
        assert not calls.done(), "two of four are running, the others wait"
        calls.cancel()
        await asyncio.wait([calls])


async def test_d9_no_more_than_so_many_calls_at_once(worlds: Worlds) -> None:
    async with worlds.make(max_concurrent_calls=3) as world:
        calls = [asyncio.create_task(world.runtime.call("wait", say(str(number)))) for number in range(12)]
        await world.happened("wait entered", 3)
        await world.open("go")
        assert [text_of(answer) for answer in await asyncio.gather(*calls)] == [str(n) for n in range(12)]
        assert (await world.lab())["most"] == 3


async def test_d9_the_limit_of_the_process_with_the_agents(worlds: Worlds) -> None:
    if worlds.kind == "local":
        settings = {"max_concurrent_calls": 2}
    else:
        settings = {"host_settings": {"max_concurrent_calls": 2}}  # type: ignore[dict-item]
    async with worlds.make(**settings) as world:  # type: ignore[arg-type]
        calls = [asyncio.create_task(world.runtime.call("wait", say("x"))) for _ in range(6)]
        await world.happened("wait entered", 2)
        await world.open("go")
        await asyncio.gather(*calls)
        assert (await world.lab())["most"] == 2
        # An agent that asks another one while its own call has the only place must not wait for itself.
        pairs = [world.runtime.call("ask", say("echo")) for _ in range(4)]
        assert {text_of(answer) for answer in await asyncio.gather(*pairs)} == {"echo"}


async def test_the_deadline_reaches_the_agent_and_cancels_it(worlds: Worlds) -> None:
    async with worlds.make(timeout=0.8) as world:
        told = (await world.runtime.call("context", say("x"))).payload_as(dict)
        assert 0 < told["remaining"] <= 0.8
        with pytest.raises(CallDeadlineError, match="deadline exceeded"):
            await world.runtime.call("hang", say("x"))
        await world.happened("hang cancelled")
        with pytest.raises(TimeoutError):
            async for _ in world.runtime.call_stream("hang", say("x")):
                pass
        await world.happened("hang cancelled", 2)


async def test_calls_of_an_agent_inherit_its_deadline_and_no_session(worlds: Worlds) -> None:
    async with worlds.make(timeout=5) as world:
        session = await world.sessions.create("ask")
        answer = await world.runtime.call_with_session("ask", say("context"), session.id)
        told = answer.payload_as(dict)
        assert 0 < told["remaining"] <= 5
        assert told["chain"][-2:] == ["ask", "context"]
        assert told["session"] is False, "the session is the conversation with the other agent"


async def test_agents_that_call_each_other_in_a_circle(world: World) -> None:
    with pytest.raises(CallLoopError, match="deeper than 16"):
        await world.runtime.call("ask", say("ask"))


async def test_a_cancelled_caller_cancels_the_agent(world: World) -> None:
    call = asyncio.create_task(world.runtime.call("hang", say("x")))
    await world.happened("hang entered")
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    await world.happened("hang cancelled")
    assert text_of(await world.runtime.call("echo", say("x"))) == "x"


async def test_r8_what_an_agent_raises_stays_secret_and_fails_one_call(world: World) -> None:
    """R8: an agent's exception fails that call only. Its text, a path, a key, an address do not get out."""
    with pytest.raises(AgentFailedError) as caught:
        await world.runtime.call("fail", say("x"))
    text = str(caught.value)
    assert re.fullmatch(r"agent 'fail' failed \(error id [0-9a-f]{12}\)", text)
    assert not any(word in text for word in SECRET.split())
    assert caught.value.error_id in text
    if world.host is not None:
        assert caught.value.error_id in world.host.log(), "the log has the same id"
    with pytest.raises(AgentFailedError):
        await world.runtime.call("nothing", say("x"))
    for no_exception in ("exit", "panic"):
        with pytest.raises(AgentFailedError, match="error id") as caught:
            await world.runtime.call("fail", say(no_exception))
        assert not any(word in str(caught.value) for word in SECRET.split())
    assert text_of(await world.runtime.call("echo", say("x"))) == "x"


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("busy", ModelRateLimitError, "rate limit"),
        ("limited", UsageLimitError, "limit for one call is reached: maxRequests"),
        ("away", ModelUnavailableError, "the model provider failed"),
        ("long", InvalidRequestError, "input: is too long"),
        ("store", StorageError, "full|failed"),
        ("role", AgentNotImplementedError, "agent fail does not implement execute"),
    ],
)
async def test_errors_are_of_the_same_kind_wherever_the_agent_is(
    world: World, text: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        await world.runtime.call("fail", say(text))
    if isinstance(caught.value, ModelRateLimitError):
        assert caught.value.retry_after == 3.0
    if isinstance(caught.value, InvalidRequestError):
        assert caught.value.field == "input"
    if isinstance(caught.value, UsageLimitError):
        assert caught.value.limit == "maxRequests"
    if world.host is not None:
        assert "/var/lib" not in str(caught.value)


async def test_r8_stopping_is_complete_although_it_is_interrupted(worlds: Worlds) -> None:
    class Stubborn:
        name, role = "stubborn", "custom"

        async def start(self) -> None: ...

        async def stop(self) -> None:
            await asyncio.Event().wait()

        async def execute(self, message: object) -> object:
            return message

        def ready(self) -> bool:
            return True

    async with worlds.make(agents=["echo"]) as world:
        world.runtime.register(Stubborn())  # type: ignore[arg-type]
        await world.runtime.call("stubborn", say("x"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await world.runtime.stop()
        with pytest.raises(RuntimeNotStartedError):
            await world.runtime.call("echo", say("x"))
        await world.runtime.start()
        assert text_of(await world.runtime.call("echo", say("x"))) == "x"


async def test_stop_ends_running_calls_but_not_their_callers(world: World) -> None:
    async def caller() -> str:
        with pytest.raises(RuntimeNotStartedError):
            await world.runtime.call("hang", say("x"))
        return "alive"

    call = asyncio.create_task(caller())
    await world.happened("hang entered")
    await world.runtime.stop()
    assert await call == "alive"
    await world.happened("hang cancelled")


async def test_unregistering_an_agent_ends_no_task_of_a_caller(world: World) -> None:
    async def caller() -> str:
        try:
            return text_of(await world.runtime.call("wait", say("answer")))
        except AgentNotReadyError:
            return "not ready"

    call = asyncio.create_task(caller())
    await world.happened("wait entered")
    await world.runtime.unregister("wait")
    await world.open("go")
    # In this process the agent answers to the end; in another one its connection is gone.
    assert await call == ("answer" if world.host is None else "not ready")
