"""One API for two runtimes: agents in this process, and agents in a child process behind mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.agent_host import AgentHost
from tests.support.behaviour_agents import LAB, all_agents

from aixgo import DistributedRuntime, Message, Runtime, TLSConfig
from aixgo.session import Manager

ALL = tuple(agent.name for agent in all_agents())


def say(text: str) -> Message:
    return Message.new("question", {"text": text})


async def eventually(condition: Callable[[], Awaitable[Any]], what: str, timeout: float = 10) -> Any:
    """Return what ``condition`` returns as soon as that is true."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                if result := await condition():
                    return result
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {what}") from None


class World:
    """A started runtime, and what can be seen of its agents."""

    def __init__(self, runtime: Runtime, host: AgentHost | None, sessions: Manager | None) -> None:
        self.runtime = runtime
        self.host = host
        self._sessions = sessions

    @property
    def sessions(self) -> Manager:
        assert self._sessions is not None
        return self._sessions

    async def lab(self) -> dict[str, Any]:
        if self.host is not None:
            return dict(await self.host.do("lab"))
        return {"events": LAB.events, "most": LAB.most, "inside": LAB.inside, "produced": LAB.produced}

    async def open(self, gate: str) -> None:
        if self.host is not None:
            await self.host.do("open", gate=gate)
        else:
            LAB.gate(gate).set()

    async def happened(self, event: str, times: int = 1) -> None:
        """Wait until an agent has noted ``event`` so many times."""

        async def enough() -> bool:
            return bool((await self.lab())["events"].count(event) >= times)

        await eventually(enough, event)


class Worlds:
    """Makes worlds of one kind."""

    def __init__(self, kind: str, host: AgentHost, tls_dir: Path, sessions: Manager | None) -> None:
        self.kind = kind
        self.host = host
        self.tls_dir = tls_dir
        self.tls = TLSConfig(tls_dir / "tls.crt", tls_dir / "tls.key", tls_dir / "ca.crt")
        self._sessions = sessions

    @property
    def sessions(self) -> Manager:
        assert self._sessions is not None
        return self._sessions

    @asynccontextmanager
    async def make(
        self,
        *,
        agents: Sequence[str] = ALL,
        host_settings: dict[str, Any] | None = None,
        start: bool = True,
        **settings: Any,
    ) -> AsyncIterator[World]:
        """Make a runtime with agents; ``settings`` are the caller's, ``host_settings`` the child's."""
        settings.setdefault("timeout", 20)
        async with AsyncExitStack() as stack:
            if self.kind == "local":
                runtime = Runtime(session_manager=self._sessions, **settings)
                LAB.reset(runtime)
                for agent in all_agents():
                    if agent.name in agents:
                        runtime.register(agent)
            else:
                arguments = {"agents": list(agents), "settings": host_settings or {}}
                address = await self.host.do("begin", tls=str(self.tls_dir), **arguments)
                stack.push_async_callback(self.host.do, "end")
                here = DistributedRuntime(
                    "127.0.0.1:0", tls=self.tls, session_manager=self._sessions, **settings
                )
                for name in agents:
                    await here.connect(name, address)
                runtime = here
            if start:
                await runtime.start()
            stack.push_async_callback(runtime.stop)
            yield World(runtime, self.host if self.kind == "distributed" else None, self._sessions)
