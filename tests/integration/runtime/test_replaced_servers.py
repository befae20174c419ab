"""Servers go and come, and no call of a client fails or is done twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from tests.support.custom_agents import TALLY
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc import refusals
from aixgo.rpc.client import AgentClient, ExecuteResult, RpcError

WORKERS = 30
#: Longer than any machine needs to start a process.
LONG = 120.0


@pytest.fixture
def client_files(files: RuntimeFiles, me: Leaf) -> Path:
    return me.write(files.root / "me")


async def test_no_call_fails_or_is_done_twice_while_servers_are_told_to_go(
    files: RuntimeFiles, client_files: Path, authority: Authority, tmp_path: Path
) -> None:
    """Two servers behind one client. One after the other is replaced, with calls under way all the time."""
    tally = tmp_path / "tally"
    others = [RuntimeFiles(tmp_path / name) for name in ("second", "third")]
    for other in others:
        other.certify(authority.runtime("r", "team"))
    env = {TALLY: str(tally)}
    for each in (files, *others):
        each.configure(runtime_json([custom("tally")]))
    answered, stopping = 0, asyncio.Event()

    async def calls(client: AgentClient, number: int) -> None:
        nonlocal answered
        while not stopping.is_set():
            text = f"{number} {answered}"
            if number % 2:
                result = await client.execute("tally", text)
            else:
                events = [event async for event in client.execute_stream("tally", text)]
                result = next(event for event in events if isinstance(event, ExecuteResult))
            assert result.text == text
            answered += 1

    async def more(count: int) -> None:
        until = answered + count
        while answered < until:  # noqa: ASYNC110 - counted by other tasks
            await asyncio.sleep(0.01)

    async with (
        RuntimeProcess(files, env) as first,
        RuntimeProcess(others[0], env) as second,
        RuntimeProcess(others[1], env) as third,
    ):
        for runtime in (first, second, third):
            await runtime.ready()
        ports = [runtime.grpc_port for runtime in (first, second, third)]
        address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        async with AgentClient(address, client_files, "r.team.svc") as client:
            workers = [asyncio.create_task(calls(client, number)) for number in range(WORKERS)]
            for runtime in (first, second):
                await more(10 * WORKERS)
                runtime.terminate()
                assert await runtime.exit_code() == 0
            await more(10 * WORKERS)
            stopping.set()
            await asyncio.gather(*workers)
        assert tally.stat().st_size == answered


async def test_a_client_that_was_connected_waits_for_the_next_server(
    files: RuntimeFiles, client_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "PATIENCE", LONG)
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as old:
        await old.ready()
        port = old.grpc_port
        async with AgentClient(f"127.0.0.1:{port}", client_files, "r.team.svc") as client:
            assert (await client.execute("recall", "a")).text == "a"
            old.terminate()
            assert await old.exit_code() == 0
            waiting = asyncio.create_task(client.execute("recall", "b"))
            files.configure(runtime_json([custom("recall")], grpc={"port": port}))
            async with RuntimeProcess(files) as new:
                await new.ready()
                assert (await waiting).text == "b"


async def test_a_client_that_never_was_connected_hears_at_once_that_nobody_is_there(
    client_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "PATIENCE", 10 * LONG)
    async with AgentClient("127.0.0.1:1", client_files, "r.team.svc") as client, asyncio.timeout(LONG):
        with pytest.raises(RpcError) as error:
            await client.execute("recall", "a")
    assert error.value.code is grpc.StatusCode.UNAVAILABLE


async def test_patience_ends_and_the_next_call_has_none(
    files: RuntimeFiles, me: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client, asyncio.timeout(LONG):
            await client.execute("recall", "a")
            runtime.terminate()
            await runtime.exit_code()
            for patience in (0.3, 10 * LONG):
                monkeypatch.setattr(refusals, "PATIENCE", patience)
                with pytest.raises(RpcError) as error:
                    await client.execute("recall", "b")
                assert error.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_call_does_not_wait_longer_than_it_may_take(
    files: RuntimeFiles, me: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "PATIENCE", 10 * LONG)
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client, asyncio.timeout(LONG):
            await client.execute("recall", "a")
            runtime.terminate()
            await runtime.exit_code()
            with pytest.raises(RpcError):
                await client.execute("recall", "b", timeout=0.5)
