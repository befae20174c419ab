"""A client opens new connections before the server closes the old ones, and no call notices."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc import credentials
from aixgo.rpc.client import AgentClient


async def test_what_runs_is_not_touched_when_the_client_takes_a_new_connection(
    files: RuntimeFiles, me: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_channel = credentials.open_channel

    def counted(address: str, *rest: object, **more: object) -> object:
        opened.append(address)
        return open_channel(address, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(credentials, "open_channel", counted)
    files.configure(runtime_json([custom("recall"), custom("wait"), custom("stream")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        address = f"127.0.0.1:{runtime.grpc_port}"
        directory = me.write(files.root / "me")
        async with AgentClient(address, directory, "r.team.svc", renew_seconds=0.2) as client:
            waiting = asyncio.create_task(client.execute("wait", "x"))
            parts = client.execute_stream("stream", "x")
            first = await anext(parts)
            while len(opened) < 5:
                assert (await client.execute("recall", "hello")).text == "hello"
            assert not waiting.done()
            runtime.gate.touch()
            assert (await waiting).text == "done: x"
            rest = [part async for part in parts]
            assert first != rest[-1]
            assert rest[-1].text == "first second"  # type: ignore[union-attr]


async def test_a_client_keeps_its_connection_for_a_while(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            channel = client.channel()
            for _ in range(20):
                await client.execute("recall", "hello")
            assert client.channel() is channel
