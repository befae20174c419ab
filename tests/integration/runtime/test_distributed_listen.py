"""Reading a channel of another process over connections that break: nothing lost, nothing twice (D8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.support.agent_host import AgentHost
from tests.support.behaviour import eventually, say
from tests.support.pki import Authority

from aixgo import DistributedRuntime, TLSConfig
from aixgo.agents.text import text_of
from aixgo.rpc.client import AgentClient, RpcError
from aixgo.runtime.errors import AgentNotReadyError


class Cable:
    """A TCP proxy whose connections can be cut, and that can be unplugged."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.connections = 0

    async def plug(self) -> None:
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def unplug(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections; what is on its way is gone."""
        for writer in self._writers:
            writer.transport.abort()
        for pipe in self._pipes:
            pipe.cancel()

    async def close(self) -> None:
        await self.unplug()
        if self._pipes:
            await asyncio.wait(self._pipes)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._writers.add(sink)
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()


@pytest.fixture
def directory(authority: Authority, tmp_path: Path) -> Path:
    return authority.runtime("r", "team").write(tmp_path / "tls")


@pytest.fixture
def tls(directory: Path) -> TLSConfig:
    return TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")


@pytest.fixture
async def cable(agent_host: AgentHost, directory: Path) -> AsyncIterator[Cable]:
    address = await agent_host.do("begin", tls=str(directory), agents=["echo"], settings={})
    cable = Cable(address)
    await cable.plug()
    yield cable
    await cable.close()
    await agent_host.do("end")


async def test_d8_no_message_is_lost_or_doubled_over_broken_streams(
    agent_host: AgentHost, cable: Cable, tls: TLSConfig
) -> None:
    sent = [str(number) for number in range(2000)]
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as here:
        await here.connect("echo", cable.address)
        sending = asyncio.create_task(agent_host.do("send", target="echo", texts=sent))
        got: list[str] = []
        async with asyncio.timeout(40):
            while len(got) < len(sent):
                got.append(text_of(await here.recv("echo")))
                if len(got) % 150 == 0:
                    cable.cut()
        await sending
        assert got == sent
        assert cable.connections > 10
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await here.recv("echo")


async def test_d8_the_client_connects_again_when_the_other_side_is_back(
    agent_host: AgentHost, cable: Cable, tls: TLSConfig
) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as here:
        await here.connect("echo", cable.address)
        await agent_host.do("send", target="echo", texts=["1"])
        assert text_of(await here.recv("echo")) == "1"
        await cable.unplug()
        reading = asyncio.create_task(here.recv("echo"))
        await agent_host.do("send", target="echo", texts=["2"])
        await asyncio.sleep(0.3)
        assert not reading.done()
        await cable.plug()
        async with asyncio.timeout(20):
            assert text_of(await reading) == "2"


async def test_d8_a_connection_that_stays_broken_is_reported(cable: Cable, tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=0.5) as here:
        await here.connect("echo", cable.address)
        await cable.unplug()
        with pytest.raises(AgentNotReadyError) as caught:
            async with asyncio.timeout(20):
                await here.recv("echo")
        assert cable.address not in str(caught.value)
        await cable.plug()


async def test_d8_what_a_reader_did_not_take_goes_to_the_next_one(
    agent_host: AgentHost, cable: Cable, tls: TLSConfig
) -> None:
    """A reader that leaves gives back at once what it had fetched ahead; one that dies, after a moment."""
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as second:
        await second.connect("echo", cable.address)
        first = DistributedRuntime("127.0.0.1:0", tls=tls)
        await first.start()
        await first.connect("echo", cable.address)
        await agent_host.do("send", target="echo", texts=["1", "2", "3"])
        assert text_of(await first.recv("echo")) == "1"
        await first.stop()
        assert [text_of(await second.recv("echo")) for _ in range(2)] == ["2", "3"]
        await second.unregister("echo")

    first = DistributedRuntime("127.0.0.1:0", tls=tls)
    await first.start()
    await first.connect("echo", cable.address)
    await agent_host.do("send", target="echo", texts=["4", "5", "6"])
    assert text_of(await first.recv("echo")) == "4"

    async def acknowledged() -> bool:
        return bool(await agent_host.do("channel", name="echo") == 0)

    await eventually(acknowledged, "all are on their way")
    await asyncio.sleep(0.1)
    await cable.unplug()  # as if the process had died
    await first.stop()
    await cable.plug()
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as third:
        await third.connect("echo", cable.address)
        async with asyncio.timeout(20):
            assert [text_of(await third.recv("echo")) for _ in range(2)] == ["5", "6"]


async def test_d8_readers_in_two_processes_share_a_channel(
    agent_host: AgentHost, cable: Cable, directory: Path
) -> None:
    async with AgentClient(cable.address, directory) as one, AgentClient(cable.address, directory) as two:
        got: list[str] = []

        async def read(client: AgentClient) -> None:
            async for message in client.listen("echo"):
                got.append(text_of(message))  # noqa: PERF401 - it is cancelled in the middle

        readers = [asyncio.create_task(read(client)) for client in (one, two)]
        await agent_host.do("send", target="echo", texts=[str(number) for number in range(500)])

        async def all_there() -> bool:
            return len(got) >= 500

        await eventually(all_there, "all messages")
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        assert sorted(got, key=int) == [str(number) for number in range(500)]


async def test_a_plain_reader_loses_nothing_before_it_connects(
    agent_host: AgentHost, cable: Cable, directory: Path
) -> None:
    """Another language's client, without our metadata, still gets every message that is sent to it."""
    from aixgo.rpc import agent_service_pb2 as pb
    from aixgo.rpc import agent_service_pb2_grpc as pb_grpc

    await agent_host.do("send", target="echo", texts=["1", "2"])
    async with AgentClient(cable.address, directory) as client:
        stub = pb_grpc.AgentServiceStub(client.channel())  # type: ignore[no-untyped-call]
        call = stub.Listen(pb.ListenRequest(agent_name="echo"))
        assert [(await call.read()).message.payload for _ in range(2)] == ['{"text":"1"}', '{"text":"2"}']
        call.cancel()
        with pytest.raises(RpcError) as caught:
            await anext(client.listen("nobody"))
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
        await client.send("echo", say("3"))
        assert text_of(await anext(client.listen("echo"))) == "3"
