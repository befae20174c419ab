"""The client of all servers: one process on a core of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from benchmarks.common.workers import run_worker
from benchmarks.runtime.agents import CHUNK, CHUNKS
from benchmarks.runtime.frames import call_light
from benchmarks.runtime.servers import SERVER_NAME

from aixgo.message import Message
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc.convert import to_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_EXECUTE = "/aixgo.AgentService/Execute"
_STREAM = "/aixgo.AgentService/ExecuteStream"
_TEXT = "The order 4711 left the warehouse this morning and should be with you on Thursday."


class Target:
    """The connections to one server."""

    def __init__(self, port: int, tls: str | None, pids: list[int], connections: int) -> None:
        self.pids, self.port, self.connections = pids, port, connections
        options = [("grpc.use_local_subchannel_pool", 1)]  # else channels of one address share a connection
        self._channels = [
            grpc.aio.secure_channel(f"{SERVER_NAME}:{port}", _credentials(Path(tls)), options)
            if tls
            else grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
            for _ in range(connections)
        ]
        # As bytes: what the client does with protobuf would hide the servers' differences.
        self._execute: list[Any] = [channel.unary_unary(_EXECUTE) for channel in self._channels]
        self._stream: list[Any] = [channel.unary_stream(_STREAM) for channel in self._channels]

    async def execute(self, client: int, request: bytes) -> bytes:
        answer: bytes = await self._execute[client % len(self._execute)](request)
        return answer

    async def stream(self, client: int, request: bytes) -> list[bytes]:
        return [part async for part in self._stream[client % len(self._stream)](request)]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


class Client:
    """Answers the driver's requests."""

    def __init__(self, places: dict[str, Any]) -> None:
        os.sched_setaffinity(0, {places["core"]})
        self._targets: dict[str, Target] = {}

    async def answer(self, request: dict[str, Any]) -> Any:
        """Do what a request asks for."""
        if request["do"] == "open":
            self._targets[request["row"]] = Target(**request["target"])
            return None
        if request["do"] == "close":
            for target in self._targets.values():
                await target.close()
            return None
        gc.collect()
        target = self._targets[request["row"]]
        measure = getattr(self, f"_{request['kind']}")
        return await measure(target, request["clients"], request["seconds"])

    async def _echo(self, target: Target, clients: int, seconds: float) -> dict[str, Any]:
        body = _request("echo")
        await target.execute(0, body)

        async def call(client: int) -> int:
            await target.execute(client, body)
            return 1

        return await _window(call, target, clients, seconds)

    async def _light(self, target: Target, clients: int, seconds: float) -> dict[str, Any]:
        body = _request("echo")
        answer = pb.ExecuteResponse.FromString(await target.execute(0, body))
        if _TEXT not in answer.output.payload:
            raise AssertionError(f"{answer.output.payload} is no echo")
        cpu, begin = _cpu_seconds(target.pids), time.perf_counter()
        times = await call_light(target.port, _EXECUTE, body, target.connections, clients, seconds)
        elapsed = time.perf_counter() - begin
        cpu = _cpu_seconds(target.pids) - cpu
        return {"times": times, "count": len(times), "elapsed": elapsed, "cpu": cpu}

    async def _remember(self, target: Target, clients: int, seconds: float) -> dict[str, Any]:
        bodies = []
        for client in range(clients):
            answer = pb.ExecuteResponse.FromString(await target.execute(client, _request("remember", "new")))
            bodies.append(_request("remember", answer.session_id))
            await target.execute(client, bodies[-1])

        async def call(client: int) -> int:
            await target.execute(client, bodies[client])
            return 1

        return await _window(call, target, clients, seconds)

    async def _tokens(self, target: Target, clients: int, seconds: float) -> dict[str, Any]:
        """Every call brings all tokens, however many of them come in one message."""
        body = _request("tokens")
        parts = await target.stream(0, body)
        text = "".join(_text(pb.ExecuteStreamResponse.FromString(part)) for part in parts)
        if text != CHUNK * CHUNKS:
            raise AssertionError(f"{len(text)} characters instead of {len(CHUNK) * CHUNKS}")

        async def call(client: int) -> int:
            await target.stream(client, body)
            return CHUNKS

        return await _window(call, target, clients, seconds) | {"messages": len(parts) - 1}


async def _window(
    call: Callable[[int], Awaitable[int]], target: Target, clients: int, seconds: float
) -> dict[str, Any]:
    """Let every client call, one call after the other, for some seconds."""
    times: list[float] = []
    done = 0
    cpu, begin = _cpu_seconds(target.pids), time.perf_counter()
    deadline = begin + seconds

    async def client(number: int) -> None:
        nonlocal done
        start = begin
        while start < deadline:
            count = await call(number)
            now = time.perf_counter()
            done += count
            times.append((now - start) * 1e6)
            start = now

    await asyncio.gather(*(client(number) for number in range(clients)))
    elapsed = time.perf_counter() - begin
    return {"times": times, "count": done, "elapsed": elapsed, "cpu": _cpu_seconds(target.pids) - cpu}


def _cpu_seconds(pids: list[int]) -> float:
    """Return how long the threads of processes have been running, to the nanosecond."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _credentials(directory: Path) -> grpc.ChannelCredentials:
    ca, key, certificate = ((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _request(agent: str, session_id: str = "") -> bytes:
    message = to_wire(Message.new("user", {"text": _TEXT}))
    return pb.ExecuteRequest(agent_name=agent, input=message, session_id=session_id).SerializeToString()


def _text(event: pb.ExecuteStreamResponse) -> str:
    if event.WhichOneof("event") != "partial":
        return ""
    text: str = json.loads(event.partial.payload)["text"]
    return text


if __name__ == "__main__":
    run_worker(lambda places: Client(places).answer)
