"""Agents in this process (Go: aixgo.Runtime)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.runtime.channels import Channels, ChannelStats
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentNotFoundError,
    AgentNotReadyError,
    CallDeadlineError,
    PhaseStartError,
    RuntimeAlreadyStartedError,
    RuntimeNotStartedError,
)
from aixgo.runtime.hosting import RunningAgent
from aixgo.runtime.phases import start_phases
from aixgo.runtime.turns import Emit, TurnRequest, TurnResult, TurnRunner

if TYPE_CHECKING:
    import builtins
    from types import TracebackType

    from aixgo.agents.protocol import Agent
    from aixgo.message import Message
    from aixgo.session import Manager

#: How many agents ``call_parallel`` asks at once when calls are not limited (Go: the same).
PARALLEL_WORKERS = 8


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How a runtime was made (Go: RuntimeConfig). Times are in seconds."""

    timeout: float | None = None
    channel_buffer_size: int = 100
    #: 0: no limit.
    max_concurrent_calls: int = 0
    agent_start_timeout: float = 30.0
    send_timeout: float = 5.0
    #: Per cent of a channel's capacity.
    channel_full_warning_threshold: int = 80


class _Registered:
    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.running: RunningAgent | None = None
        self.starting = asyncio.Lock()


class Runtime:
    """Holds agents and calls them. ``async with Runtime() as runtime:`` starts and stops it.

    An agent is started by :meth:`start_agents_phased` or before its first call, and stopped with the runtime.
    """

    def __init__(
        self,
        *,
        session_manager: Manager | None = None,
        metrics: MetricsCollector | None = None,
        timeout: float | None = None,
        channel_buffer_size: int = 100,
        max_concurrent_calls: int = 0,
        agent_start_timeout: float = 30.0,
        send_timeout: float = 5.0,
        channel_full_warning_threshold: int = 80,
    ) -> None:
        """Make a runtime (Go: NewRuntime).

        Args:
            session_manager: Where sessions are; needed by the calls with a session. It stays the caller's to
                close.
            metrics: Where measurements go.
            timeout: Seconds that a call may take. None: no limit.
            channel_buffer_size: How many messages a channel holds.
            max_concurrent_calls: How many calls run at once; more of them wait. 0: no limit.
            agent_start_timeout: Seconds that an agent may take until it is ready.
            send_timeout: Seconds that :meth:`send` waits for room.
            channel_full_warning_threshold: Per cent of a channel's capacity at which the log warns.
        """
        self._settings = RuntimeSettings(
            timeout,
            channel_buffer_size,
            max_concurrent_calls,
            agent_start_timeout,
            send_timeout,
            channel_full_warning_threshold,
        )
        self._runner = TurnRunner(session_manager, metrics or NoMetrics())
        self._agents: dict[str, _Registered] = {}
        self._channels = self._new_channels()
        self._slots = asyncio.Semaphore(max_concurrent_calls) if max_concurrent_calls > 0 else nullcontext()
        self._started = False
        self._messages_sent = 0
        self._calls: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def config(self) -> RuntimeSettings:
        """Return how the runtime was made (Go: Config)."""
        return self._settings

    def register(self, name: str | Agent, agent: Agent | None = None) -> None:
        """Add an agent, under ``name`` or under its own: ``register("x", agent)`` or ``register(agent)`` (Go:
        Register).

        Raises:
            AgentAlreadyRegisteredError: the name is taken.
            TypeError: no agent was given.
        """
        if isinstance(name, str):
            if agent is None:
                raise TypeError("register(name, agent) needs an agent")
            key = name
        else:
            agent, key = name, name.name
        if key in self._agents:
            raise AgentAlreadyRegisteredError(key)
        self._agents[key] = _Registered(agent)

    async def unregister(self, name: str) -> None:
        """Stop and remove an agent and its channel (Go: Unregister).

        Raises:
            AgentNotFoundError: there is none.
        """
        registered = self._registered(name)
        del self._agents[name]
        self._channels.remove(name)
        if registered.running is not None:
            await registered.running.stop()

    def get(self, name: str) -> Agent:
        """Return the agent called ``name`` (Go: Get).

        Raises:
            AgentNotFoundError: there is none.
        """
        return self._registered(name).agent

    def list(self) -> builtins.list[str]:
        """Return the names of all agents, in order (Go: List)."""
        return sorted(self._agents)

    async def ready_agent(self, name: str) -> Agent:
        """Return an agent that has been started, if need be by this call, and is ready.

        Raises:
            AgentNotFoundError: there is none of this name.
            AgentNotReadyError: it does not answer calls now.
        """
        registered = self._registered(name)
        await self._ensure_ready(name, registered)
        return registered.agent

    async def start(self) -> None:
        """Allow calls (Go: Start).

        Raises:
            RuntimeAlreadyStartedError: it was started and not stopped.
        """
        if self._started:
            raise RuntimeAlreadyStartedError
        if self._channels.closed:
            self._channels = self._new_channels()
        self._started = True

    async def stop(self) -> None:
        """Cancel running calls, stop all agents and close the channels (Go: Stop).

        Does nothing if not started.
        """
        if not self._started:
            return
        self._started = False
        self._channels.close()
        for call in tuple(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        running = [
            registered.running for registered in self._agents.values() if registered.running is not None
        ]
        for registered in self._agents.values():
            registered.running = None
        await asyncio.gather(*(agent.stop() for agent in running))

    async def start_agents_phased(self, definitions: Mapping[str, Sequence[str]] | Iterable[Any]) -> None:
        """Start agents so that everything they depend on is ready before them (Go: StartAgentsPhased).

        Args:
            definitions: For each agent's name the names that it depends on, or objects with ``name`` and
                ``depends_on``.

        Raises:
            RuntimeNotStartedError: call :meth:`start` first.
            CycleError: agents depend on each other in a circle.
            UnknownDependencyError: an agent depends on an unknown one.
            PhaseStartError: an agent did not become ready in time, or its start failed.
        """
        if not self._started:
            raise RuntimeNotStartedError
        if isinstance(definitions, Mapping):
            dependencies = {name: tuple(needed) for name, needed in definitions.items()}
        else:
            dependencies = {item.name: tuple(item.depends_on) for item in cast("Iterable[Any]", definitions)}
        for number, phase in enumerate(start_phases(dependencies)):
            await asyncio.gather(*(self._start_in_phase(number, name) for name in phase))

    async def send(self, target: str, message: Message) -> None:
        """Put a message into the channel ``target`` (Go: Send). The runtime need not be started.

        Raises:
            ChannelFullError: there was no room in time.
            RuntimeNotStartedError: the runtime was stopped.
        """
        await self._channels.send(target, message)
        self._messages_sent += 1

    async def recv(self, source: str) -> Message:
        """Take the oldest message out of the channel ``source``, waiting for one (Go: Recv).

        Raises:
            RuntimeNotStartedError: the runtime was stopped and the channel is empty.
        """
        return await self._channels.receive(source)

    async def broadcast(self, message: Message) -> None:
        """Send a message to every agent (Go: Broadcast).

        Raises:
            ChannelFullError: the first failure, after all agents were tried.
        """
        results = await asyncio.gather(
            *(self.send(name, message) for name in self.list()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def channel_stats(self, name: str) -> ChannelStats:
        """Return how full a channel is (Go: GetChannelStats).

        Raises:
            AgentNotFoundError: no agent and no channel has this name.
        """
        stats = self._channels.stats(name)
        if stats is not None:
            return stats
        self._registered(name)
        return ChannelStats(self._settings.channel_buffer_size, 0)

    def messages_sent(self) -> int:
        """Return how many messages were sent to channels (Go: MessagesSent)."""
        return self._messages_sent

    async def call(self, target: str, message: Message) -> Message:
        """Let an agent answer, without a session (Go: Call).

        Raises:
            RuntimeNotStartedError: the runtime is not started.
            AgentNotFoundError: there is no such agent.
            AgentNotReadyError: it does not answer calls now.
            CallDeadlineError: it took longer than the runtime's timeout.
            ModelError: its model provider failed.
            AgentFailedError: it raised something else, which is the cause.
        """
        return (await self._call(TurnRequest(target, message))).output

    async def call_with_session(
        self, target: str, message: Message, session_id: str, *, idempotency_key: str = ""
    ) -> Message:
        """Let an agent answer in a session: with its history, and appended to it on success only (Go:
        CallWithSession).

        Raises:
            SessionManagerNotConfiguredError: the runtime has no session manager.
            SessionNotFoundError: there is no such session of this agent.
            StorageError: the session backend failed; nothing was appended.
            AixgoError: as :meth:`call`.
        """
        request = TurnRequest(target, message, session_id, idempotency_key=idempotency_key)
        return (await self._call(request)).output

    def call_stream(self, target: str, message: Message) -> AsyncIterator[Message]:
        """Like :meth:`call`, but yield the answer in parts. An agent that cannot stream gives one part."""
        return self._stream(TurnRequest(target, message))

    def call_with_session_stream(
        self, target: str, message: Message, session_id: str, *, idempotency_key: str = ""
    ) -> AsyncIterator[Message]:
        """Like :meth:`call_with_session`, but yield the answer in parts.

        The turn is committed after the last part.
        """
        return self._stream(TurnRequest(target, message, session_id, idempotency_key=idempotency_key))

    async def call_parallel(
        self, targets: Sequence[str], message: Message
    ) -> tuple[dict[str, Message], dict[str, Exception]]:
        """Call several agents with one message; return answers and errors by name (Go: CallParallel)."""
        slots = asyncio.Semaphore(self._settings.max_concurrent_calls or PARALLEL_WORKERS)
        results: dict[str, Message] = {}
        errors: dict[str, Exception] = {}

        async def one(target: str) -> None:
            async with slots:
                try:
                    results[target] = await self.call(target, message)
                except Exception as error:  # noqa: BLE001 - it is handed to the caller
                    errors[target] = error

        await asyncio.gather(*(one(target) for target in dict.fromkeys(targets)))
        return results, errors

    async def _stream(self, request: TurnRequest) -> AsyncIterator[Message]:
        parts: asyncio.Queue[Message | None] = asyncio.Queue()

        async def work() -> TurnResult:
            try:
                return await self._call(request, parts.put)
            finally:
                parts.put_nowait(None)

        task = asyncio.create_task(work())
        try:
            streamed = False
            while (part := await parts.get()) is not None:
                streamed = True
                yield part
            result = await task
            if not streamed:
                yield result.output
        finally:
            if not task.done():  # the consumer lost interest
                task.cancel()
                await asyncio.wait({task})

    async def _call(self, request: TurnRequest, emit: Emit | None = None) -> TurnResult:
        """Run a call as a task of its own, so that :meth:`stop` can end it without touching the caller's
        task.
        """
        if not self._started:
            raise RuntimeNotStartedError
        work = asyncio.create_task(self._work(request, emit))
        self._calls.add(work)
        work.add_done_callback(self._calls.discard)
        try:
            return await work
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not self._started and caller is not None and not caller.cancelling():
                raise RuntimeNotStartedError from None
            raise

    async def _work(self, request: TurnRequest, emit: Emit | None) -> TurnResult:
        timeout = self._settings.timeout
        registered = self._registered(request.agent_name)
        try:
            async with asyncio.timeout(timeout), self._slots:
                await self._ensure_ready(request.agent_name, registered)
                return await self._runner.run(registered.agent, request, emit=emit)
        except TimeoutError as error:
            raise CallDeadlineError(timeout or 0) from error

    async def _ensure_ready(self, name: str, registered: _Registered) -> None:
        async with registered.starting:
            if registered.running is None:
                running = RunningAgent(name, registered.agent)
                try:
                    await running.start(self._settings.agent_start_timeout)
                except TimeoutError as error:
                    raise AgentNotReadyError(name, "it did not become ready in time") from error
                except Exception as error:
                    raise AgentNotReadyError(name, f"start failed: {type(error).__name__}") from error
                registered.running = running
        why = registered.running.why_not_ready
        if why is not None:
            raise AgentNotReadyError(name, why)

    async def _start_in_phase(self, number: int, name: str) -> None:
        try:
            await self._ensure_ready(name, self._registered(name))
        except (AgentNotReadyError, AgentNotFoundError) as error:
            raise PhaseStartError(number, name, str(error)) from error

    def _registered(self, name: str) -> _Registered:
        registered = self._agents.get(name)
        if registered is None:
            raise AgentNotFoundError(name)
        return registered

    def _new_channels(self) -> Channels:
        settings = self._settings
        return Channels(
            buffer_size=settings.channel_buffer_size,
            send_timeout=settings.send_timeout,
            full_warning_threshold=settings.channel_full_warning_threshold,
        )
