"""Agents in this process (Go: aixgo.Runtime)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from aixgo.agents.protocol import Agent
from aixgo.message import Message
from aixgo.observability.logs import get_logger
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    PhaseStartError,
    RuntimeAlreadyStartedError,
    RuntimeNotStartedError,
)
from aixgo.runtime.messaging import Messaging
from aixgo.runtime.phases import start_phases
from aixgo.runtime.running_calls import RunningCall, RunningCalls
from aixgo.runtime.settings import RuntimeSettings, check_parts, tracing_of
from aixgo.runtime.streaming import Emit, Streaming
from aixgo.runtime.turns import TurnRequest, TurnResult, TurnRunner
from aixgo.session import validation
from aixgo.session.agent_state import StateKeeper

if TYPE_CHECKING:
    import builtins
    from contextlib import AbstractContextManager
    from types import TracebackType

    from aixgo.contract import SessionConfig
    from aixgo.observability.tracing import AttributeValue, Span, Tracing
    from aixgo.runtime.registry import Registered
    from aixgo.session import Manager

#: How many agents ``call_parallel`` asks at once when calls are not limited (Go: the same).
PARALLEL_WORKERS = 8

_log = get_logger("aixgo.runtime")


class Runtime(Messaging):
    """Holds agents and calls them. ``async with Runtime() as runtime:`` starts and stops it.

    An agent is started by :meth:`start_agents_phased` or before its first call, and stopped with the runtime.
    """

    def __init__(
        self,
        *,
        session_manager: Manager | None = None,
        metrics: MetricsCollector | None = None,
        timeout: float | None = None,
        tracing: Tracing | bool | None = None,
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
            tracing: Where spans go. True: to the tracer provider of the process, of OpenTelemetry (Go:
                WithTracing). None or False: nowhere.
            channel_buffer_size: How many messages a channel holds.
            max_concurrent_calls: How many calls run at once; more of them wait. 0: no limit.
            agent_start_timeout: Seconds that an agent may take until it is ready.
            send_timeout: Seconds that :meth:`send` waits for room.
            channel_full_warning_threshold: Per cent of a channel's capacity at which the log warns.

        Raises:
            ValueError: a number is out of range.
            TypeError: a manager, a collector or a tracing is none.
        """
        check_parts(session_manager=session_manager, metrics=metrics)
        super().__init__(
            RuntimeSettings(
                timeout,
                channel_buffer_size,
                max_concurrent_calls,
                agent_start_timeout,
                send_timeout,
                channel_full_warning_threshold,
            )
        )
        self._tracing = tracing_of(tracing)
        self._runner = TurnRunner(session_manager, metrics or NoMetrics(), self._tracing)
        self._calls = RunningCalls(max_concurrent_calls)
        self._started = False
        #: Starting and stopping happen one after the other.
        self._changing = asyncio.Lock()

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

    def register(
        self, name: str | Agent, agent: Agent | None = None, *, session: SessionConfig | None = None
    ) -> None:
        """Add an agent, under ``name`` or under its own: ``register("x", agent)`` or ``register(agent)`` (Go:
        Register).

        Args:
            name: The name that calls are addressed to, or the agent.
            agent: The agent.
            session: How the agent uses sessions. None: with the whole history, one turn after the other.

        Raises:
            AgentAlreadyRegisteredError: the name is taken.
            ValueError: the name is empty.
            TypeError: no agent was given, or something that is none.
        """
        if isinstance(name, str):
            if agent is None:
                raise TypeError("register(name, agent) needs an agent")
            key = name
        else:
            agent, key = name, getattr(name, "name", "")
        if not isinstance(agent, Agent):
            raise TypeError(
                f"{type(agent).__name__} is no agent: a function needs the decorator @aixgo.agent"
            )
        if not isinstance(key, str) or not key:
            raise ValueError("an agent needs a name")
        self._agents.add(key, agent, session)
        if self._runner.sessions is not None and isinstance(agent, StateKeeper):
            self._runner.sessions.keep_state(key, agent)

    async def unregister(self, name: str) -> None:
        """Stop and remove an agent and its channels (Go: Unregister).

        Raises:
            AgentNotFoundError: there is none.
        """
        removing = self._agents.remove(name)
        if self._runner.sessions is not None:
            self._runner.sessions.keep_state(name, None)
        self._channels.remove(name)
        await removing

    def get(self, name: str) -> Agent:
        """Return the agent called ``name`` (Go: Get).

        Raises:
            AgentNotFoundError: there is none.
        """
        return self._agents.find(name).agent

    def list(self) -> builtins.list[str]:
        """Return the names of all agents, in order (Go: List)."""
        return self._agents.names()

    def session_settings(self, name: str) -> SessionConfig:
        """Return how an agent uses sessions.

        Raises:
            AgentNotFoundError: there is none of this name.
        """
        return self._agents.find(name).session

    def why_not_ready(self, name: str) -> str | None:
        """Return why an agent does not answer calls now; None if it does. Starts nothing.

        Raises:
            AgentNotFoundError: there is none of this name.
        """
        return self._agents.why_not_ready(name)

    async def ready_agent(self, name: str) -> Agent:
        """Return an agent that has been started, if need be by this call, and is ready.

        Raises:
            AgentNotFoundError: there is none of this name.
            AgentNotReadyError: it does not answer calls now.
        """
        return await self._agents.ready(self._agents.find(name))

    async def start(self) -> None:
        """Allow calls (Go: Start).

        Raises:
            RuntimeAlreadyStartedError: it was started and not stopped.
        """
        async with self._changing:
            if self._started:
                raise RuntimeAlreadyStartedError
            self._open_channels()
            # Their deadlines belong to one event loop, and this may be another one than the last time.
            self._calls = RunningCalls(self._settings.max_concurrent_calls)
            await self._open()
            self._started = True

    async def stop(self) -> None:
        """Cancel running calls, stop all agents and close the channels (Go: Stop).

        Does nothing if not started. It is stopped afterwards whatever happens: when this is cancelled, agents
        that have not stopped yet are cancelled, too.
        """
        async with self._changing:
            if self._started:
                self._started = False
                await self._close()

    async def _open(self) -> None:
        """Begin to take calls from elsewhere."""

    async def _close(self) -> None:
        """End all that :meth:`start` and calls began."""
        self._channels.close()
        try:
            await self._calls.end()
        finally:
            await self._agents.stop()

    async def start_agents_phased(self, definitions: Mapping[str, Sequence[str]] | Iterable[Any]) -> None:
        """Start agents so that everything they depend on is ready before them (Go: StartAgentsPhased).

        Args:
            definitions: For each agent's name the names that it depends on, or objects with ``name`` and
                ``depends_on``. Dependencies may also be agents that are only registered or connected.

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
        for needed in tuple(dependencies.values()):
            for name in needed:
                if name in self._agents:  # of another process, or started by its first call
                    dependencies.setdefault(name, ())
        for number, phase in enumerate(start_phases(dependencies)):
            await asyncio.gather(*(self._start_in_phase(number, name) for name in phase))

    async def call(self, target: str, message: Message) -> Message:
        """Let an agent answer, without a session (Go: Call).

        Raises:
            TypeError: the message is none.
            RuntimeNotStartedError: the runtime is not started.
            AgentNotFoundError: there is no such agent.
            AgentNotReadyError: it does not answer calls now.
            CallDeadlineError: it took longer than the runtime's timeout.
            ModelError: its model provider failed.
            AgentFailedError: it raised something else, which is the cause.
            CallLoopError: agents call each other in a circle.
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
            InvalidPathComponentError: the session id cannot be one.
            StorageError: the session backend failed; nothing was appended.
            AixgoError: as :meth:`call`.
        """
        request = _in_session(target, message, session_id, idempotency_key)
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
        return self._stream(_in_session(target, message, session_id, idempotency_key))

    async def call_parallel(
        self, targets: Sequence[str], message: Message
    ) -> tuple[dict[str, Message], dict[str, Exception]]:
        """Call several agents with one message; return answers and errors by name (Go: CallParallel)."""
        workers = self._settings.max_concurrent_calls or PARALLEL_WORKERS
        names = tuple(dict.fromkeys(targets))
        slots = asyncio.Semaphore(workers)
        results: dict[str, Message] = {}
        errors: dict[str, Exception] = {}

        async def one(target: str) -> None:
            async with slots:
                try:
                    results[target] = await self.call(target, message)
                except Exception as error:  # noqa: BLE001 - it is handed to the caller
                    errors[target] = error

        attributes: dict[str, AttributeValue] = {
            "agents.count": len(names),
            "agents.names": names,
            "execution.max_workers": workers,
        }
        with self._tracing.span("runtime.call_parallel", attributes) as span:
            await asyncio.gather(*(one(target) for target in names))
            span.set("execution.success_count", len(results))
            span.set("execution.error_count", len(errors))
        return results, errors

    async def _stream(self, request: TurnRequest) -> AsyncIterator[Message]:
        async with Streaming(lambda emit: self._call(request, emit)) as stream:
            streamed = False
            while parts := await stream.take():
                streamed = True
                for part in parts:
                    yield part
            result = stream.result()
            if not streamed:
                yield result.output

    async def _call(self, request: TurnRequest, emit: Emit | None = None) -> TurnResult:
        if not self._started:
            raise RuntimeNotStartedError
        if not isinstance(request.input, Message):
            raise TypeError(f"a call needs a Message, not {type(request.input).__name__}")
        name = request.agent_name
        registered = self._agents.find(name)
        running = self._calls.call(name, self._settings.timeout)
        with self._span(name, registered.agent), running as call:
            if not self._calls.limited:
                return await self._run(registered, request, emit, call)
            async with self._calls.place():
                return await self._run(registered, request, emit, call)

    async def _run(
        self, registered: Registered, request: TurnRequest, emit: Emit | None, call: RunningCall
    ) -> TurnResult:
        agent = await self._agents.ready(registered)
        try:
            return await self._runner.run(agent, request, registered.session, emit, call.commit)
        except AgentFailedError as error:
            _log_failure(request.agent_name, error)
            raise

    def _span(self, name: str, agent: Agent) -> AbstractContextManager[Span]:
        if not self._tracing.enabled:
            return self._tracing.span("")
        address = getattr(agent, "address", "") if agent.role == "remote" else ""
        return self._tracing.call(name, agent.role, remote_address=address)

    async def _start_in_phase(self, number: int, name: str) -> None:
        try:
            await self.ready_agent(name)
        except AgentNotReadyError as error:
            raise PhaseStartError(number, name, error.why or str(error)) from error
        except AgentNotFoundError as error:
            raise PhaseStartError(number, name, str(error)) from error


def _in_session(target: str, message: Message, session_id: str, key: str) -> TurnRequest:
    if not session_id:  # it would be a call without a session, which leaves nothing behind
        validation.session_id(session_id)
    return TurnRequest(target, message, session_id, idempotency_key=key)


def _log_failure(agent: str, error: AgentFailedError) -> None:
    """Say that an agent failed, under the id that its caller gets. The caller has what it raised, too."""
    if (cause := error.__cause__) is not None:
        _log.warning("agent failed", agent=agent, error_id=error.error_id, error=type(cause).__name__)
