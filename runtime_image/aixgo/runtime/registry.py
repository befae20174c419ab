"""The agents of a runtime by name: registered, started at their first use, stopped together."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from aixgo.cancellation import is_cancelled
from aixgo.contract import SessionConfig
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentLoadError,
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
        self.starting: asyncio.Task[None] | None = None

    def started(self, starting: asyncio.Task[None]) -> None:
        """Hear that a start has ended; whoever waits for it hears how."""
        if self.starting is starting:
            self.starting = None
        if not starting.cancelled():
            starting.exception()


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
        await self._stop([registered])

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
        """Start an agent, or wait for the start that is going on.

        It goes on when this is cancelled: a call may be shorter than the start of its agent.
        """
        if registered.starting is None:
            # In a context of its own: it outlives the call, with its deadline and its session.
            starting = asyncio.create_task(self._begin(registered), context=Context())
            starting.add_done_callback(registered.started)
            registered.starting = starting
        starting = registered.starting
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled() and not is_cancelled():
                raise self._gone(registered) from None
            raise

    async def _begin(self, registered: Registered) -> None:
        name = registered.name
        running = RunningAgent(name, registered.agent)
        try:
            await running.start(self._start_timeout, self._mailbox(name))
        except AgentLoadError as error:
            raise AgentNotReadyError(name, str(error)) from error
        registered.running = running

    def _gone(self, registered: Registered) -> Exception:
        if self._agents.get(registered.name) is registered:
            return RuntimeNotStartedError()
        return AgentNotFoundError(registered.name)

    async def stop(self) -> None:
        """Stop all agents; they start again when they are used again.

        When this is cancelled, what has not stopped yet is cancelled, too.
        """
        await self._stop(list(self._agents.values()))

    async def _stop(self, agents: list[Registered]) -> None:
        starting = [agent.starting for agent in agents if agent.starting is not None]
        running = [agent.running for agent in agents if agent.running is not None]
        for agent in agents:
            agent.running = agent.starting = None
        for task in starting:
            task.cancel()
        try:
            if starting:
                await asyncio.wait(starting)
            await asyncio.gather(*(agent.stop() for agent in running))
        finally:
            for one in running:
                one.abandon()
