"""An agent that is running: started as a task of its own, watched, and stopped."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from aixgo.agents.protocol import is_ready
from aixgo.cancellation import is_own_failure
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from aixgo.agents.protocol import Agent, Mailbox

#: How often a starting agent is asked whether it is ready, in seconds (Go: the same).
READY_POLL_SECONDS = 0.01
#: How long the ``start`` of an agent that has always said that it is ready gets to fail, in seconds.
START_GRACE_SECONDS = 0.05
#: How long an agent may take to stop, in seconds.
STOP_SECONDS = 10.0

_log = get_logger("aixgo.runtime")


class RunningAgent:
    """An agent with the task of its ``start``, which may work for as long as the agent lives."""

    def __init__(self, name: str, agent: Agent) -> None:
        self.name = name
        self.agent = agent
        #: Returns what the agent's start raised.
        self._task: asyncio.Task[BaseException | None] | None = None
        #: What ended the agent's task, by its type; None if nothing did.
        self.failure: str | None = None
        self._started = False

    def _equip(self, mailbox: Mailbox | None) -> None:
        """Give the agent its channels and its memory, if it wants them."""
        bind = getattr(self.agent, "bind", None)
        if bind is not None and mailbox is not None:
            bind(mailbox)
        set_memory = getattr(self.agent, "set_memory", None)
        if set_memory is not None:
            from aixgo.agents.memory import SessionMemory

            set_memory(SessionMemory())

    async def start(self, timeout: float, mailbox: Mailbox | None = None) -> None:
        """Start the agent and wait until it is ready, or until its ``start`` has returned.

        Args:
            timeout: Seconds that it may take.
            mailbox: The channels for an agent with ``bind``; None: it gets none.

        Raises:
            AgentLoadError: it was neither within ``timeout`` seconds and has been stopped again, or it raised
                something; the text says what.
        """
        try:
            self._equip(mailbox)
            await self._start(timeout)
        except AgentLoadError:
            raise
        except BaseException as error:
            if not is_own_failure(error):
                raise
            _log.warning("agent failed to start", agent=self.name, error=type(error).__name__, exc_info=True)
            raise AgentLoadError(f"start failed: {type(error).__name__}") from error

    async def _start(self, timeout: float) -> None:
        always_ready = is_ready(self.agent)
        task = self._task = asyncio.create_task(self._work(), name=f"agent {self.name}", context=Context())
        task.add_done_callback(self._ended)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                if always_ready:
                    # What it says tells nothing; a start that fails does so at once, or is seen later.
                    await asyncio.wait((task,), timeout=min(START_GRACE_SECONDS, timeout))
                while not task.done() and not is_ready(self.agent):
                    await asyncio.wait((task,), timeout=READY_POLL_SECONDS)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError) and limit.expired():
                raise AgentLoadError(f"timeout after {timeout:g}s") from None
            raise
        if task.done() and (failure := task.result()) is not None:
            raise failure
        self._started = True

    async def _work(self) -> BaseException | None:
        # An exit that left a task would end the whole process.
        try:
            await self.agent.start()
        except BaseException as error:
            if not is_own_failure(error):
                raise
            return error
        return None

    def _ended(self, task: asyncio.Task[BaseException | None]) -> None:
        error = None if task.cancelled() else task.exception() or task.result()
        self.failure = None if error is None else type(error).__name__
        if error is not None and self._started:  # else whoever starts it hears of it
            _log.error("agent ended", agent=self.name, error=self.failure, exc_info=error)

    @property
    def why_not_ready(self) -> str | None:
        """Why the agent does not answer calls now; None if it does."""
        if self.failure is not None:
            return f"the agent ended with {self.failure}"
        try:
            return None if is_ready(self.agent) else "the agent says that it is not ready"
        except BaseException as error:
            if not is_own_failure(error):
                raise
            return f"its ready() failed with {type(error).__name__}"

    @property
    def problem(self) -> str | None:
        """What does not work although the agent answers calls, as it says itself; None if nothing."""
        try:
            problem = getattr(self.agent, "problem", None)
        except BaseException as error:
            if not is_own_failure(error):
                raise
            return f"its problem failed with {type(error).__name__}"
        return problem if isinstance(problem, str) else None  # an agent of a user may mean something else

    async def stop(self) -> None:
        """Stop the agent. What it raises is logged: there is nobody left to tell.

        An agent that does not end in time, or whose stopping is cancelled, is cancelled.
        """
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.agent.stop()
        except BaseException as error:
            if not is_own_failure(error):
                raise
            _log.warning("agent failed to stop", agent=self.name, error=type(error).__name__, exc_info=True)
        finally:
            self.abandon()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait((self._task,), timeout=STOP_SECONDS)

    def abandon(self) -> None:
        """Cancel the agent's task without waiting for its end."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            task.add_done_callback(_forget_outcome)


def _forget_outcome(task: asyncio.Task[BaseException | None]) -> None:
    if not task.cancelled():
        task.exception()
