"""How agents start and stop is the same here and in another process."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.behaviour import Worlds, eventually, say
from tests.support.behaviour_agents import SECRET

from aixgo.agents.text import text_of
from aixgo.errors import AixgoError
from aixgo.runtime.errors import (
    AgentNotFoundError,
    AgentNotReadyError,
    CallDeadlineError,
    CycleError,
    PhaseStartError,
    RuntimeNotStartedError,
    UnknownDependencyError,
)


class Local:
    """An agent of the calling process that says when it was started."""

    role = "custom"

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self._log = log

    async def start(self) -> None:
        self._log.append(self.name)

    async def stop(self) -> None: ...

    async def execute(self, message: object) -> object:
        return message

    def ready(self) -> bool:
        return True


async def test_d7_a_local_agent_depends_on_one_that_is_elsewhere_and_waits_for_it(worlds: Worlds) -> None:
    """D7: phased start dropped remote dependencies."""
    async with worlds.make(agents=["late"]) as world:
        log: list[str] = []
        for name in ("first", "last"):
            world.runtime.register(Local(name, log))  # type: ignore[arg-type]
        if world.host is not None:
            starting_there = asyncio.create_task(world.host.do("phases", definitions={"late": []}))
        starting = asyncio.create_task(
            world.runtime.start_agents_phased({"last": ["first", "late"], "first": []})
        )
        while "first" not in log:  # noqa: ASYNC110 - a turn of the event loop at a time
            await asyncio.sleep(0)
        if world.host is None:
            # A remote agent is met while its process starts it: ready is what that process says.
            await asyncio.sleep(0.05)
            assert log == ["first"]
            assert not starting.done()
        await world.open("late")
        await starting
        if world.host is not None:
            await starting_there
        assert log == ["first", "last"]
        assert text_of(await world.runtime.call("late", say("x"))) == "x"


async def test_wrong_definitions_are_named(worlds: Worlds) -> None:
    async with worlds.make(agents=["echo"]) as world:
        with pytest.raises(CycleError, match=r"^dependency cycle detected: a -> b -> a$"):
            await world.runtime.start_agents_phased({"a": ["b"], "b": ["a"]})
        with pytest.raises(UnknownDependencyError) as caught:
            await world.runtime.start_agents_phased({"echo": ["nobody"]})
        assert str(caught.value) == 'unknown dependency: agent "echo" depends on unknown agent "nobody"'
        await world.runtime.stop()
        with pytest.raises(RuntimeNotStartedError):
            await world.runtime.start_agents_phased({"echo": []})


async def test_r7_an_agent_that_does_not_start_fails_its_phase(worlds: Worlds) -> None:
    """R7: Ready() was true from construction, and errors of Start were only logged."""
    settings = {"agent_start_timeout": 0.3}
    async with worlds.make(agents=["late", "broken"], host_settings=dict(settings), **settings) as world:
        phases = world.runtime.start_agents_phased if world.host is None else None

        async def start(name: str) -> None:
            if phases is not None:
                await phases({name: []})
            else:
                assert world.host is not None
                await world.host.do("phases", definitions={name: []})

        expected = PhaseStartError if world.host is None else AssertionError
        with pytest.raises(expected, match="phase 0 startup failed: agent late failed to become ready"):
            await start("late")
        with pytest.raises(expected, match="start failed: ValueError") as caught:
            await start("broken")
        if world.host is None:
            assert not any(word in str(caught.value) for word in SECRET.split())
        with pytest.raises(AgentNotReadyError):
            await world.runtime.call("broken", say("x"))
        with pytest.raises(AgentNotReadyError):
            await world.runtime.call("late", say("x"))
        await world.open("late")
        assert text_of(await world.runtime.call("late", say("x"))) == "x", "what failed is tried again"


async def test_r1_agents_that_work_by_themselves_work_until_stop(worlds: Worlds) -> None:
    """R1: the context of a phase was cancelled when the phase was ready."""
    async with worlds.make(agents=["worker", "echo"], timeout=5) as world:
        if world.host is None:
            await world.runtime.start_agents_phased({"worker": [], "echo": ["worker"]})
        else:
            await world.host.do("phases", definitions={"worker": [], "echo": ["worker"]})
            await world.runtime.start_agents_phased({"worker": [], "echo": ["worker"]})
        await world.happened("worker started")
        for round_ in range(3):
            await asyncio.sleep(0.02)
            if world.host is None:
                await world.runtime.send("work", say(str(round_)))
                assert text_of(await world.runtime.recv("done")) == str(round_)
            else:
                await world.host.do("send", target="work", texts=[str(round_)])
        assert "worker ended" not in (await world.lab())["events"]
        if world.host is None:
            await world.runtime.stop()
        else:
            await world.host.do("end")
        await world.happened("worker ended")


async def test_a_start_that_takes_longer_than_a_call_goes_on(worlds: Worlds) -> None:
    async with worlds.make(agents=["late"], timeout=0.3) as world:
        for _ in range(2):
            with pytest.raises(CallDeadlineError):
                await world.runtime.call("late", say("x"))
        await world.open("late")
        await world.happened("late ready")

        async def answers() -> bool:
            try:
                return text_of(await world.runtime.call("late", say("x"))) == "x"
            except CallDeadlineError:  # a busy machine
                return False

        await eventually(answers, "it answers")
        assert (await world.lab())["events"] == ["late ready"], "it was started once"


async def test_what_an_agent_does_by_itself_has_no_deadline_and_no_session(worlds: Worlds) -> None:
    """The first call starts the agent; its own work must not inherit that call's context."""
    async with worlds.make(agents=["lone"], timeout=5) as world:
        session = await world.sessions.create("lone")
        answer = await world.runtime.call_with_session("lone", say("x"), session.id)
        assert answer.payload_as(dict) == {"remaining": None, "chain": [], "session": False}


async def test_agents_that_are_starting_are_given_up_with_the_runtime(worlds: Worlds) -> None:
    async with worlds.make(agents=["late", "echo"], timeout=20) as world:
        phases = asyncio.create_task(world.runtime.start_agents_phased({"late": []}))
        call = asyncio.create_task(world.runtime.call("late", say("x")))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            if world.host is None:
                await world.runtime.unregister("late")
                with pytest.raises(AgentNotFoundError):
                    await call
            else:
                await world.runtime.stop()
                with pytest.raises(AixgoError):
                    await call
            await asyncio.gather(phases, return_exceptions=True)
