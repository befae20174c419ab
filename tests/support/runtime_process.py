"""A real runtime process on loopback, with the files of the contract in a directory of the test."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp
from tests.support.custom_agents import GATE
from tests.support.grpc_at_fork import environment
from tests.support.pki import Leaf
from tests.support.waiting import PATIENCE

from aixgo.contract import RuntimeConfig, Statusz
from aixgo.rpc.client import AgentClient
from aixgo_cli.conformance.volumes import replace_volume

SERVE = """
import sys
from pathlib import Path
from aixgo.contract import RuntimePaths
from aixgo.server.main import run
root = Path(sys.argv[1])
paths, log = RuntimePaths.under(root), root / "termination-log"
sys.exit(run(paths, host="127.0.0.1", log_level=sys.argv[2], termination_log=log))
"""
START_SECONDS = 60.0 * PATIENCE
REPOSITORY = Path(__file__).parents[2]


def custom(name: str, handler: str = "", **more: Any) -> dict[str, Any]:
    """Return an agent of runtime.json that runs one of the agents in tests/support/custom_agents.py."""
    return {
        "name": name,
        "role": "custom",
        "handler": f"tests.support.custom_agents:{handler or name}",
        **more,
    }


def runtime_json(agents: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return a runtime.json for loopback: free ports, namespace ``team``."""
    document = {
        "runtime": {"name": "r", "namespace": "team"},
        "grpc": {"port": 0},
        "admin": {"port": 0},
        "agents": [{"namespace": "team", **agent} for agent in agents],
        **changes,
    }
    RuntimeConfig.from_document(document)
    return document


class RuntimeFiles:
    """The directories that a runtime reads, replaced as Kubernetes does it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.termination_log = root / "termination-log"
        root.mkdir(parents=True, exist_ok=True)
        self.termination_log.touch()

    def configure(self, document: dict[str, Any] | bytes) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        replace_volume(self.root / "config", {"runtime.json": content})

    def certify(self, leaf: Leaf, **parts: bytes) -> None:
        replace_volume(self.root / "tls", {**leaf.files(), **parts})

    def keep_secrets(self, secrets: dict[str, str]) -> None:
        replace_volume(self.root / "secrets", {path: value.encode() for path, value in secrets.items()})


class RuntimeProcess:
    """``async with RuntimeProcess(files) as runtime:`` is listening; killed at the end if it still runs."""

    def __init__(
        self, files: RuntimeFiles, env: dict[str, str] | None = None, *, log_level: str = "info"
    ) -> None:
        self.files = files
        self._log_level = log_level
        self.grpc_port = self.admin_port = 0
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        #: The agents in tests/support/custom_agents.py go on when this file exists.
        self.gate = files.root / "gate"
        self._env = {**environment(), GATE: str(self.gate), "PYTHONPATH": str(REPOSITORY), **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.launch()
        waits = [asyncio.create_task(self._listening.wait()), asyncio.create_task(self.process.wait())]
        await asyncio.wait(waits, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._listening.is_set():
            await self._end()
            raise AssertionError("the runtime did not start:\n" + "".join(self.output))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def launch(self) -> None:
        """Start the process without waiting for anything."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SERVE,
            str(self.files.root),
            self._log_level,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
        )
        self._reader = asyncio.create_task(self._read())

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()

    async def exit_code(self, timeout: float = 20) -> int:
        """Wait until the process has ended; its output is complete then."""
        async with asyncio.timeout(timeout):
            code = await self.process.wait()
            assert self._reader is not None
            await self._reader
        return code

    def client(self, leaf: Leaf | None, server_name: str | None = None) -> AgentClient:
        """Return a client with this certificate; None: plaintext."""
        directory = None
        if leaf is not None:
            directory = leaf.write(self.files.root / f"client-{leaf.serial}")
        return AgentClient(f"127.0.0.1:{self.grpc_port}", directory, server_name)

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the admin server."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status, await response.text()

    async def statusz(self) -> Statusz:
        return Statusz.from_json((await self.get("/statusz"))[1])

    async def until(self, condition: Any, what: str, timeout: float = 20 * PATIENCE) -> Statusz:
        """Wait until ``condition(statusz)`` is true and return that document."""
        status: Statusz | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    status = await self.statusz()
                    if condition(status):
                        return status
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {timeout} s: {what}; last seen: {status}") from None

    async def ready(self) -> Self:
        """Wait until every agent and the session backend are ready."""
        await self.until(
            lambda s: s.sessions.ready and all(agent.ready for agent in s.agents), "agents and sessions ready"
        )
        return self

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines with this message."""
        return [line for line in self.log if line.get("message") == name]

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode()
            self.output.append(text)
            try:
                event = json.loads(text)
            except ValueError:
                continue
            self.log.append(event)
            if event.get("message") == "listening":
                self.grpc_port, self.admin_port = event["grpc_port"], event["admin_port"]
                self._listening.set()

    async def _end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._reader is not None:
            await self._reader
