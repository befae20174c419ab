"""What only a DistributedRuntime has: addresses, TLS modes, agents that are not there yet."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.pki import Authority

import aixgo
from aixgo import DistributedRuntime, Message, TLSConfig
from aixgo.agents.text import text_of
from aixgo.runtime.errors import (
    AgentNotReadyError,
    PhaseStartError,
)


@aixgo.agent("recall")
async def recall(message: Message) -> str:
    return text_of(message)


def say(text: str) -> Message:
    return Message.new("question", {"text": text})


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> TLSConfig:
    directory = authority.runtime("r", "team").write(tmp_path / "tls")
    return TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")


async def test_phases_wait_for_an_agent_elsewhere(tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as there:  # noqa: SIM117 - one inside the other
        async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=10) as here:
            await here.connect("late", there.listen_address)
            here.register("local", recall)
            starting = asyncio.create_task(here.start_agents_phased({"local": ["late"], "late": []}))
            await asyncio.sleep(0)
            assert not starting.done()
            there.register("late", recall)
            await starting
            assert text_of(await here.call("late", say("x"))) == "x"


async def test_an_agent_elsewhere_that_is_not_there(tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=0.3, timeout=2) as here:
        await here.connect("gone", "127.0.0.1:1")
        with pytest.raises(AgentNotReadyError):
            await here.call("gone", say("x"))
        with pytest.raises(PhaseStartError):
            await here.start_agents_phased({"gone": []})


async def test_what_it_listens_on_and_how(tls: TLSConfig) -> None:
    with pytest.raises(ValueError, match="allow_insecure"):
        DistributedRuntime("127.0.0.1:0")
    with pytest.raises(ValueError, match="cert_file"):
        TLSConfig()
    for settings in ({"allow_insecure": True}, {"tls": TLSConfig.external()}):
        plain = DistributedRuntime("127.0.0.1:0", **settings)  # type: ignore[arg-type]
        plain.register(recall)
        assert plain.listen_address == "127.0.0.1:0"
        async with plain:
            assert plain.listen_address != "127.0.0.1:0"
            async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=0.5) as other:
                await other.connect("recall", plain.listen_address)
                with pytest.raises(AgentNotReadyError):
                    await other.call("recall", say("x"))
            async with DistributedRuntime("127.0.0.1:0", **settings) as other:  # type: ignore[arg-type]
                await other.connect("recall", plain.listen_address)
                assert text_of(await other.call("recall", say("x"))) == "x"


async def test_stop_ends_with_calls_and_listeners_open(tls: TLSConfig) -> None:
    there = DistributedRuntime("127.0.0.1:0", tls=tls)
    there.register(recall)
    await there.start()
    async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=1) as here:
        await here.connect("recall", there.listen_address)
        await here.call("recall", say("x"))
        listening = asyncio.create_task(here.recv("recall"))
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            await there.stop()
        with pytest.raises(aixgo.AixgoError):
            await listening
        with pytest.raises(AgentNotReadyError):
            await here.call("recall", say("x"))
        await there.start()
        await here.unregister("recall")
        await here.connect("recall", there.listen_address)
        assert text_of(await here.call("recall", say("y"))) == "y"
        await there.stop()


async def test_it_listens_on_several_addresses(tls: TLSConfig) -> None:
    with pytest.raises(ValueError, match="at least one"):
        DistributedRuntime((), tls=tls)
    async with DistributedRuntime(("127.0.0.1:0", "127.0.0.1:0"), tls=tls) as there:
        there.register(recall)
        first, second = there.listen_addresses
        assert first == there.listen_address != second
        for address in (first, second):
            async with DistributedRuntime("127.0.0.1:0", tls=tls) as here:
                await here.connect("recall", address)
                assert text_of(await here.call("recall", say(address))) == address


async def test_an_answer_without_a_message_is_an_error(tls: TLSConfig) -> None:
    """D6: the original dereferenced an empty output. Only a foreign server sends one."""
    from aixgo.rpc import agent_service_pb2 as pb
    from aixgo.rpc import client

    with pytest.raises(client.RpcError, match="answered without a message"):
        client._result(pb.ExecuteResponse(session_id="s"))
