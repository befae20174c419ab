"""A child process with a DistributedRuntime whose agents are those of the behaviour suite.

The test tells it what to do over a Unix socket, one JSON line each way; gRPC is left to what is tested.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import uvloop
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 30.0


def resources() -> dict[str, int]:
    """Return what this process holds now."""
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "kilobytes": int(Path("/proc/self/statm").read_text().split()[1]) * 4,
    }


class AgentHost:
    """The child process; kept for many tests, with a new runtime for each."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "host.sock"
        self._log = directory / "host.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.agent_host", str(self._socket)],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'runtime_image'}:{REPOSITORY}"},
            )
        process = self._process
        wait_until(
            lambda: "ready\n" in self.log() or process.poll() is not None, "child", timeout=START_SECONDS
        )
        if process.poll() is not None:
            raise AssertionError(f"the child process did not start:\n{self.log()}")
        return self

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self._log.read_text()

    async def do(self, what: str, **arguments: Any) -> Any:
        """Let the child do something and return what it says."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=2**24)
        try:
            writer.write(json.dumps({"what": what, **arguments}).encode() + b"\n")
            answer = json.loads(await reader.readline())
        finally:
            writer.close()
            await writer.wait_closed()
        if "error" in answer:
            raise AssertionError(f"{what}: {answer['error']}\n{self.log()}")
        return answer["result"]


class _Child:
    def __init__(self) -> None:
        from aixgo import DistributedRuntime

        self._runtime: DistributedRuntime | None = None
        self._sessions: Any = None

    async def begin(self, tls: str, agents: list[str], settings: dict[str, Any], redis: str = "") -> str:
        """Start a runtime with agents and return its address."""
        from tests.support.behaviour_agents import LAB, all_agents

        from aixgo import DistributedRuntime, TLSConfig
        from aixgo.session import Manager, RedisBackend

        directory = Path(tls)
        config = TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
        self._sessions = Manager(RedisBackend(redis)) if redis else None
        address = settings.pop("address", "127.0.0.1:0")
        runtime = DistributedRuntime(address, tls=config, session_manager=self._sessions, **settings)
        self._runtime = runtime
        LAB.reset(runtime)
        for agent in all_agents():
            if agent.name in agents:
                runtime.register(agent)
        await runtime.start()
        return runtime.listen_address

    async def end(self) -> None:
        if self._runtime is not None:
            await self._runtime.stop()
        if self._sessions is not None:
            await self._sessions.close()
        self._runtime = self._sessions = None

    async def lab(self) -> dict[str, Any]:
        from tests.support.behaviour_agents import LAB

        return {"events": LAB.events, "most": LAB.most, "inside": LAB.inside, "produced": LAB.produced}

    async def open(self, gate: str) -> None:
        from tests.support.behaviour_agents import LAB

        LAB.gate(gate).set()

    async def phases(self, definitions: dict[str, list[str]]) -> None:
        assert self._runtime is not None
        await self._runtime.start_agents_phased(definitions)

    async def register(self, name: str) -> None:
        from tests.support.behaviour_agents import all_agents

        assert self._runtime is not None
        self._runtime.register(next(agent for agent in all_agents() if agent.name == name))

    async def send(self, target: str, texts: list[str]) -> None:
        from aixgo import Message

        assert self._runtime is not None
        for text in texts:
            await self._runtime.send(target, Message.new("t", {"text": text}))

    async def route(self, inputs: dict[str, list[str]]) -> None:
        from aixgo.runtime.routing import Routing

        assert self._runtime is not None
        self._runtime.route(Routing(inputs))

    async def channel(self, name: str) -> int:
        from aixgo.runtime.errors import AgentNotFoundError

        assert self._runtime is not None
        try:
            return self._runtime.channel_stats(name).length
        except AgentNotFoundError:
            return 0

    async def usage(self) -> dict[str, int]:
        return resources()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        try:
            result = await getattr(self, request.pop("what"))(**request)
            answer = {"result": result}
        except Exception as error:  # noqa: BLE001 - the test shall see it
            answer = {"error": repr(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()


async def _serve(socket: str) -> None:
    child = _Child()
    server = await asyncio.start_unix_server(child.answer, socket, limit=2**24)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    # The loop of the pods; the test's process has the standard one.
    uvloop.run(_serve(sys.argv[1]))
