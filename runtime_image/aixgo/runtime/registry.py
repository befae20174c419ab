"""The agents of a runtime by name: registered, started at their first use, stopped together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aixgo.contract import SessionConfig
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentNotFoundError,
    AgentNotReadyError,
    RuntimeNotStartedError,
)
from aixgo.runtime.hosting import RunningAgent

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.agents.protocol import Agent, Mailbox


class Registered:
    """An agent, and how it is running if it is."""

    def __init__(self, name: str, agent: Agent, session: SessionConfig) -> None:
        self.name = name
        self.agent = agent
        #: How the agent uses sessions.
        self.session = session
        self.running: RunningAgent | None = None
        self.starting = asyncio.Lock()
        self.removed = False


class Registry:
    """Agents by name. For the event loop's thread only."""

    def __init__(self, start_timeout: float, mailbox: Callable[[str], Mailbox]) -> None:
        """Make an empty registry.

        Args:
            start_timeout: Seconds that an agent may take until it is ready.
            mailbox: Makes the channels that an agent is bound to.
        """
        self._agents: dict[str, Registered] = {}
        self._start_timeout = start_timeout
        self._mailbox = mailbox
        self._stops = 0

    def names(self) -> list[str]:
        """Return the names of all agents, in order."""
        return sorted(self._agents)

    def __contains__(self, name: object) -> bool:
        return name in self._agents

    def add(self, name: str, agent: Agent, session: SessionConfig | None = None) -> None:
        """Add an agent. ``session`` says how it uses sessions; None: as every agent does.

        Raises:
            AgentAlreadyRegisteredError: the name is taken.
        """
        if name in self._agents:
            raise AgentAlreadyRegisteredError(name)
        self._agents[name] = Registered(name, agent, session or SessionConfig())

    def find(self, name: str) -> Registered:
        """Return the agent called ``name``.

        Raises:
            AgentNotFoundError: there is none.
        """
        registered = self._agents.get(name)
        if registered is None:
            raise AgentNotFoundError(name)
        return registered

    async def remove(self, name: str) -> None:
        """Remove an agent and stop it.

        Raises:
            AgentNotFoundError: there is none.
        """
        registered = self.find(name)
        del self._agents[name]
        registered.removed = True
        async with registered.starting:
            running, registered.running = registered.running, None
        if running is not None:
            await running.stop()

    def is_serving(self, name: str) -> bool:
        """Say whether a call of the agent would be tried: it is ready, or not started yet."""
        registered = self._agents.get(name)
        if registered is None:
            return False
        return registered.running is None or registered.running.why_not_ready is None

    def why_not_ready(self, name: str) -> str | None:
        """Return why the agent does not answer calls now; None if it does.

        Raises:
            AgentNotFoundError: there is none.
        """
        running = self.find(name).running
        return "not started" if running is None else running.why_not_ready

    async def ready(self, registered: Registered) -> Agent:
        """Return the agent, started if need be, when it is ready.

        Raises:
            AgentNotReadyError: it does not answer calls now, or did not start.
            AgentNotFoundError: it was removed meanwhile.
        """
        if registered.running is None:
            await self._start(registered)
        running = registered.running
        if running is None:
            raise AgentNotFoundError(registered.name)
        why = running.why_not_ready
        if why is not None:
            raise AgentNotReadyError(registered.name, why)
        return registered.agent

    async def _start(self, registered: Registered) -> None:
        async with registered.starting:
            if registered.running is not None or registered.removed:
                return
            running = RunningAgent(registered.name, registered.agent)
            stops = self._stops
            try:
                running.bind(self._mailbox(registered.name))
                await running.start(self._start_timeout)
            except TimeoutError as error:
                raise AgentNotReadyError(registered.name, "it did not become ready in time") from error
            except Exception as error:
                why = f"start failed: {type(error).__name__}"
                raise AgentNotReadyError(registered.name, why) from error
            if stops != self._stops:  # the runtime was stopped meanwhile
                await running.stop()
                raise RuntimeNotStartedError
            registered.running = running

    async def stop(self) -> None:
        """Stop all agents; they start again when they are used again.

        When this is cancelled, what has not stopped yet is cancelled, too.
        """
        self._stops += 1
        running = [agent.running for agent in self._agents.values() if agent.running is not None]
        for agent in self._agents.values():
            agent.running = None
        try:
            await asyncio.gather(*(agent.stop() for agent in running))
        finally:
            for one in running:
                one.abandon()
