"""Agents that raise what is no Exception, wherever they are asked, harm nobody but themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from aixgo import Message, Runtime
from aixgo.agents.custom import load_custom
from aixgo.agents.text import text_of
from aixgo.contract import AgentConfig
from aixgo.runtime.errors import AgentFailedError, AgentLoadError, AgentNotReadyError, PhaseStartError

QUESTION = Message.new("question", {"text": "x"})


class Panic(BaseException):
    """As of an extension module."""


class Careless:
    """Raises ``error`` in the method called ``where``."""

    name, role = "careless", "custom"

    def __init__(self, where: str, error: BaseException) -> None:
        self._where = where
        self._error = error
        self.stopped = False

    def _ask(self, method: str) -> None:
        if method == self._where:
            raise self._error

    def bind(self, _: object) -> None:
        self._ask("bind")

    async def start(self) -> None:
        self._ask("start")

    async def execute(self, message: Message) -> Message:
        self._ask("execute")
        return message

    async def stop(self) -> None:
        self.stopped = True
        self._ask("stop")

    def ready(self) -> bool:
        self._ask("ready")
        return True


class Streaming(Careless):
    """Raises between two parts, which are texts and no messages."""

    async def execute_stream(self, _: Message) -> AsyncIterator[str]:
        yield "one "
        self._ask("execute_stream")
        yield "two"


def errors() -> list[BaseException]:
    return [SystemExit(3), Panic("secret"), BaseExceptionGroup("", [Panic()]), asyncio.CancelledError()]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
async def test_a_call_fails_and_others_do_not(error: BaseException) -> None:
    async with Runtime() as runtime:
        runtime.register(Careless("execute", error))
        runtime.register("well", Careless("", error))
        for _ in range(2):
            with pytest.raises(AgentFailedError) as caught:
                await runtime.call("careless", QUESTION)
            assert caught.value.__cause__ is error
        answers, failures = await runtime.call_parallel(["careless", "well"], QUESTION)
        assert list(answers) == ["well"]
        assert type(failures["careless"]) is AgentFailedError


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["bind", "start", "ready"])
async def test_a_start_fails_and_others_do_not(where: str, error: BaseException) -> None:
    async with Runtime() as runtime:
        runtime.register(Careless(where, error))
        runtime.register("well", Careless("", error))
        why = f"start failed: {type(error).__name__}"
        with pytest.raises(AgentNotReadyError, match=why):
            await runtime.call("careless", QUESTION)
        with pytest.raises(PhaseStartError, match=f"agent careless failed to become ready: {why}$"):
            await runtime.start_agents_phased({"careless": [], "well": []})
        assert await runtime.call("well", QUESTION) == QUESTION


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
async def test_an_agent_that_cannot_say_whether_it_is_ready_is_not(error: BaseException) -> None:
    agent = Careless("", error)
    async with Runtime() as runtime:
        runtime.register(agent)
        await runtime.call("careless", QUESTION)
        agent._where = "ready"
        with pytest.raises(AgentNotReadyError, match=rf"its ready\(\) failed with {type(error).__name__}"):
            await runtime.call("careless", QUESTION)


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
async def test_all_agents_are_stopped_although_one_cannot_be(error: BaseException) -> None:
    agents = {"careless": Careless("stop", error), "well": Careless("", error)}
    async with Runtime() as runtime:
        for name, agent in agents.items():
            runtime.register(name, agent)
            await runtime.call(name, QUESTION)
    assert all(agent.stopped for agent in agents.values())


async def test_streams_end_with_the_failure_and_parts_may_be_what_answers_may_be() -> None:
    async with Runtime() as runtime:
        runtime.register(Streaming("execute_stream", SystemExit(3)))
        runtime.register("well", Streaming("", SystemExit(3)))
        parts = runtime.call_stream("careless", QUESTION)
        assert text_of(await anext(parts)) == "one "
        with pytest.raises(AgentFailedError):
            await anext(parts)
        assert [text_of(part) async for part in runtime.call_stream("well", QUESTION)] == ["one ", "two"]


class Dying(Careless):
    """Works for a while after it was ready, then raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("", error)
        self.die = asyncio.Event()

    async def start(self) -> None:
        await self.die.wait()
        raise self._error


@pytest.mark.parametrize("error", [ValueError("why"), SystemExit(3)], ids=lambda error: type(error).__name__)
async def test_an_agent_that_ends_by_itself_is_not_ready_and_the_log_says_why(error: BaseException) -> None:
    agent = Dying(error)
    with structlog.testing.capture_logs() as log:
        async with Runtime() as runtime:
            runtime.register(agent)
            await runtime.call("careless", QUESTION)
            agent.die.set()
            while runtime.why_not_ready("careless") is None:  # noqa: ASYNC110 - a turn of the event loop
                await asyncio.sleep(0)
            with pytest.raises(AgentNotReadyError, match=f"the agent ended with {type(error).__name__}"):
                await runtime.call("careless", QUESTION)
    (line,) = [line for line in log if line["event"] == "agent ended"]
    assert (line["agent"], line["error"], line["exc_info"]) == ("careless", type(error).__name__, error)


async def test_a_start_that_waits_in_vain_is_no_start_that_takes_too_long() -> None:
    async with Runtime(agent_start_timeout=30) as runtime:
        runtime.register(Careless("start", TimeoutError("no database")))
        with pytest.raises(AgentNotReadyError, match="start failed: TimeoutError"):
            await runtime.call("careless", QUESTION)


class Exits(Careless):
    """Cannot be made."""

    def __init__(self) -> None:
        raise SystemExit(3)


def test_a_constructor_that_exits_fails_its_agent_only() -> None:
    config = AgentConfig(name="a", namespace="n", role="custom", handler=f"{__name__}:Exits")
    with pytest.raises(AgentLoadError, match="the constructor failed: SystemExit"):
        load_custom(config)
