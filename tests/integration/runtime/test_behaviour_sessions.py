"""Turns of sessions are the same for agents in this process and in another one: whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.agent_host import AgentHost
from tests.support.behaviour import World, Worlds, say
from tests.support.pki import Authority
from tests.support.redis_server import RedisServer

from aixgo import DistributedRuntime, Runtime, TLSConfig
from aixgo.agents.text import text_of
from aixgo.errors import AixgoError, SessionNotFoundError
from aixgo.rpc.client import AgentClient, RpcError
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    CallDeadlineError,
    RuntimeNotStartedError,
    SessionManagerNotConfiguredError,
)
from aixgo.session import Manager, RedisBackend, Session


async def texts(session: Session) -> list[str]:
    return [text_of(message) for message in await session.get_messages()]


async def test_d6_the_agent_sees_the_history_and_both_sides_append_the_same(world: World) -> None:
    """D6: a remote agent sees the same history as a local one, and what it adds stays, too."""
    session = await world.sessions.get_or_create("recall", user_id="ada")
    assert text_of(await world.runtime.call_with_session("recall", say("1"), session.id)) == "1"
    assert text_of(await world.runtime.call_with_session("recall", say("2"), session.id)) == "1 | 1 | 2"
    assert await texts(session) == ["1", "1", "2", "1 | 1 | 2"]
    noted = await world.sessions.create("annotate")
    await world.runtime.call_with_session("annotate", say("q"), noted.id)
    assert await texts(noted) == ["q", "noted", "answer"]


async def test_streams_of_sessions(world: World) -> None:
    session = await world.sessions.create("stream")
    parts = world.runtime.call_with_session_stream("stream", say("three"), session.id)
    assert "".join([text_of(part) async for part in parts]) == "one two three"
    assert await texts(session) == ["three", "one two three"]
    recalled = await world.sessions.create("recall")
    for text in ("1", "2"):
        answer = [
            part async for part in world.runtime.call_with_session_stream("recall", say(text), recalled.id)
        ]
    assert text_of(answer[-1]) == "1 | 1 | 2"


@pytest.mark.parametrize("name", ["fail", "nothing", "half"])
async def test_r4_a_failed_turn_leaves_nothing(world: World, name: str) -> None:
    """R4: nothing of a failed call stays, and no empty answer is stored."""
    session = await world.sessions.create(name)
    with pytest.raises(AgentFailedError):
        await world.runtime.call_with_session(name, say("x"), session.id)
    with pytest.raises(AgentFailedError):
        async for _ in world.runtime.call_with_session_stream(name, say("x"), session.id):
            pass
    assert await session.get_messages() == []


async def test_r4_a_cancelled_turn_leaves_nothing_and_frees_the_session(world: World) -> None:
    session = await world.sessions.create("hang")
    call = asyncio.create_task(world.runtime.call_with_session("hang", say("x"), session.id))
    await world.happened("hang entered")
    call.cancel()
    await asyncio.wait([call])
    await world.happened("hang cancelled")
    await session.append_message(say("free"))
    assert await texts(session) == ["free"]


async def test_r4_a_turn_that_takes_too_long_leaves_nothing(worlds: Worlds) -> None:
    async with worlds.make(timeout=0.3) as world:
        session = await world.sessions.create("hang")
        with pytest.raises(CallDeadlineError):
            await world.runtime.call_with_session("hang", say("x"), session.id)
        assert await session.get_messages() == []


async def test_r4_everything_is_checked_before_anything_is_written(worlds: Worlds) -> None:
    async with worlds.make(
        start=False, agent_start_timeout=0.3, host_settings={"agent_start_timeout": 0.3}
    ) as world:
        session = await world.sessions.create("recall")
        with pytest.raises(RuntimeNotStartedError):
            await world.runtime.call_with_session("recall", say("x"), session.id)
        await world.runtime.start()
        with pytest.raises(AgentNotFoundError):
            await world.runtime.call_with_session("nobody", say("x"), session.id)
        with pytest.raises(SessionNotFoundError, match=r"^session not found$"):
            await world.runtime.call_with_session("echo", say("x"), session.id)
        with pytest.raises(SessionNotFoundError):
            await world.runtime.call_with_session("recall", say("x"), "2b1e7a3c-0000-4000-8000-000000000000")
        late = await world.sessions.create("late")
        with pytest.raises(AixgoError, match="not ready"):
            await world.runtime.call_with_session("late", say("x"), late.id)
        assert await session.get_messages() == await late.get_messages() == []


async def test_r4_without_a_session_manager(worlds: Worlds) -> None:
    without = Worlds(worlds.kind, worlds.host, worlds.tls_dir, None)
    async with without.make() as world:
        with pytest.raises(SessionManagerNotConfiguredError, match=r"^session manager not configured$"):
            await world.runtime.call_with_session("recall", say("x"), "any")


async def test_r4_the_same_key_is_executed_once(world: World) -> None:
    session = await world.sessions.create("count")
    answers = [
        await world.runtime.call_with_session("count", say("x"), session.id, idempotency_key="k")
        for _ in range(3)
    ]
    racing = (
        world.runtime.call_with_session("count", say("x"), session.id, idempotency_key="l") for _ in range(5)
    )
    answers += await asyncio.gather(*racing)
    assert [text_of(answer) for answer in answers] == ["1"] * 3 + ["2"] * 5
    assert len(await session.get_messages()) == 4
    assert (await world.lab())["produced"] == 2


async def test_r4_turns_of_one_session_never_interleave(world: World) -> None:
    session = await world.sessions.create("tally")
    calls = (world.runtime.call_with_session("tally", say(str(number)), session.id) for number in range(20))
    await asyncio.gather(*calls)
    history = await texts(session)
    assert len(history) == 40
    for turn in range(20):
        assert history[2 * turn + 1] == f"{2 * turn} {2 * turn}"


async def test_r4_limit_and_timeout_hold_for_sessions(worlds: Worlds) -> None:
    async with worlds.make(max_concurrent_calls=2, timeout=10) as world:
        sessions = [await world.sessions.create("wait") for _ in range(5)]
        calls = [
            asyncio.create_task(world.runtime.call_with_session("wait", say("x"), session.id))
            for session in sessions
        ]
        await world.happened("wait entered", 2)
        await world.open("go")
        await asyncio.gather(*calls)
        assert (await world.lab())["most"] == 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    server = RedisServer(tmp_path / "redis").start()
    yield server.address
    server.kill()


async def test_r4_turns_are_serial_across_processes_on_one_redis(
    redis: str, agent_host: AgentHost, authority: Authority, tmp_path: Path
) -> None:
    """One session, three ways in: a local agent, a remote one with the history, the other's own backend."""
    directory = authority.runtime("r", "team").write(tmp_path / "tls")
    tls = TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    from tests.support.behaviour_agents import tally

    address = await agent_host.do("begin", tls=str(directory), agents=["tally"], settings={}, redis=redis)
    try:
        async with Manager(RedisBackend(redis)) as sessions, AgentClient(address, directory) as client:
            session = await sessions.create("tally", user_id="ada")
            async with (
                Runtime(session_manager=sessions, timeout=20) as local,
                DistributedRuntime("127.0.0.1:0", tls=tls, session_manager=sessions, timeout=20) as caller,
            ):
                local.register(tally)
                await caller.connect("tally", address)
                calls = []
                for number in range(8):
                    calls += [
                        local.call_with_session("tally", say(f"a{number}"), session.id),
                        caller.call_with_session("tally", say(f"b{number}"), session.id),
                        client.execute("tally", f"c{number}", session_id=session.id, user_id="ada"),
                    ]
                await asyncio.gather(*calls)
                history = await texts(session)
                assert len(history) == 48
                for turn in range(24):
                    assert history[2 * turn + 1] == f"{2 * turn} {2 * turn}"
                # Once, whichever process is asked.
                keyed = await asyncio.gather(
                    *(
                        client.execute(
                            "tally", "k", session_id=session.id, user_id="ada", idempotency_key="k"
                        )
                        for _ in range(3)
                    ),
                )
                again = await local.call_with_session("tally", say("k"), session.id, idempotency_key="k")
                assert {result.text for result in keyed} == {text_of(again)}
                assert len(await session.get_messages()) == 50
            for user in ("", "bob"):
                with pytest.raises(RpcError, match="session not found"):
                    await client.execute("tally", "x", session_id=session.id, user_id=user)
    finally:
        await agent_host.do("end")
