"""An agent that is running: started as a task of its own, watched, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aixgo.agents.protocol import is_ready
from aixgo.observability.logs import get_logger

if TYPE_CHECKING:
    from aixgo.agents.protocol import Agent

#: How often a starting agent is asked whether it is ready, in seconds.
READY_POLL_SECONDS = 0.01

_log = get_logger("aixgo.runtime")


class RunningAgent:
    """An agent with the task of its ``start``, which may work for as long as the agent lives."""

    def __init__(self, name: str, agent: Agent) -> None:
        self.name = name
        self.agent = agent
        self._task: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Start the agent and wait until it is ready, or until its ``start`` has returned.

        Raises:
            TimeoutError: it was neither within ``timeout`` seconds; it has been stopped again.
            Exception: whatever ``start`` raised.
        """
        self._task = asyncio.create_task(self.agent.start(), name=f"agent {self.name}")
        try:
            async with asyncio.timeout(timeout):
                while not self._task.done() and not is_ready(self.agent):
                    await asyncio.wait({self._task}, timeout=READY_POLL_SECONDS)
        except TimeoutError:
            await self.stop()
            raise
        except asyncio.CancelledError:
            await self.stop()
            raise
        if self._task.done():
            self._task.result()

    @property
    def failure(self) -> str | None:
        """What ended the agent's task after it was ready, by its type; None if nothing did."""
        task = self._task
        if task is None or not task.done() or task.cancelled():
            return None
        error = task.exception()
        return None if error is None else type(error).__name__

    @property
    def why_not_ready(self) -> str | None:
        """Why the agent does not answer calls now; None if it does."""
        if (failure := self.failure) is not None:
            return f"the agent ended with {failure}"
        return None if is_ready(self.agent) else "the agent says that it is not ready"

    async def stop(self) -> None:
        """Stop the agent. What it raises is logged: there is nobody left to tell."""
        try:
            await self.agent.stop()
        except Exception as error:  # noqa: BLE001 - user code; the process must go on
            _log.warning("agent failed to stop", agent=self.name, error=type(error).__name__, exc_info=True)
        if self._task is not None and not self._task.done():
            self._task.cancel()
        if self._task is not None:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await self._task
