"""One call to one agent, with or without a session: the same code behind the library's Runtime and the
server.

A turn is all or nothing: the history goes in, and the input and the answer are appended together when the
agent has answered. A turn that fails, times out or is cancelled leaves the session as it was.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from aixgo.agents.protocol import Agent, to_message
from aixgo.agents.text import join_parts
from aixgo.cancellation import see_through
from aixgo.contract import SessionConfig
from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.identifiers import new_id
from aixgo.observability.logs import describe_call
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.observability.tracing import NO_TRACING, Tracing
from aixgo.runtime.errors import (
    AgentError,
    AgentFailedError,
    CallLoopError,
    InvalidRequestError,
    ModelError,
    SessionManagerNotConfiguredError,
)
from aixgo.runtime.views import CallersSession, SessionView
from aixgo.session.context import enter_session, has_session, leave_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from aixgo.message import Message
    from aixgo.runtime.streaming import Emit
    from aixgo.session import Manager, Session

T = TypeVar("T")

#: The session id that asks for a new session.
NEW_SESSION: Final = "new"
#: How often a turn is run when others keep changing its session (concurrency Parallel).
PARALLEL_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class CallersHistory:
    """A session that only the caller has: its id, and its messages, oldest first."""

    id: str
    user_id: str
    messages: tuple[Message, ...]


class TurnRequest(NamedTuple):
    """What a call asks for."""

    agent_name: str
    input: Message
    #: "" for no session, ``new`` for a new one, else the id of an existing one.
    session_id: str = ""
    #: The session's owner. None: the caller is trusted with every session (calls inside the process).
    user_id: str | None = None
    #: "" for none. The same key on the same session is executed once.
    idempotency_key: str = ""
    callers_history: CallersHistory | None = None


class TurnResult(NamedTuple):
    """What a call gives back."""

    output: Message
    session_id: str = ""
    #: Number of entries of the session after the call; 0 without a session.
    session_version: int = 0
    #: What the agent added to a session that only the caller has, besides input and output.
    appended: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnRunner:
    """Runs turns of agents on the sessions of one manager."""

    sessions: Manager | None = None
    metrics: MetricsCollector = field(default_factory=NoMetrics)
    tracing: Tracing = NO_TRACING
    #: Called when the agent has answered and only the commit is left: a deadline must not interrupt that.
    before_commit: Callable[[], None] | None = None

    def run(
        self,
        agent: Agent,
        request: TurnRequest,
        settings: SessionConfig | None = None,
        emit: Emit | None = None,
    ) -> Coroutine[Any, Any, TurnResult]:
        """Run one turn, when it is awaited.

        Args:
            agent: Who answers.
            request: What is asked, and in which session.
            settings: How the agent uses sessions.
            emit: Receives the parts of the answer while it is made. None: only the whole answer is wanted.

        Raises:
            InvalidRequestError: the request contradicts itself or the agent's session mode.
            SessionManagerNotConfiguredError: a session is asked for and there is no backend.
            SessionNotFoundError: no such session of this agent and this user.
            SessionConflictError: others kept changing the session (concurrency Parallel).
            StorageError: the session backend failed; nothing was appended.
            ModelError: the model provider failed.
            AgentFailedError: the agent raised something else; it is the cause.
        """
        # Not a coroutine itself: it would be one more in every call.
        settings = settings or SessionConfig()
        if request.callers_history is not None:
            return self._with_callers_history(agent, request, request.callers_history, settings, emit)
        if not request.session_id:
            return self._without_session(agent, request, emit)
        if settings.mode == "Stateless":
            raise InvalidRequestError("session_id", f"agent {request.agent_name!r} keeps no sessions")
        if self.sessions is None:
            raise SessionManagerNotConfiguredError
        if request.session_id == NEW_SESSION:
            return self._in_new_session(self.sessions, agent, request, settings, emit)
        return self._in_session(self.sessions, agent, request, request.session_id, settings, emit)

    async def _without_session(self, agent: Agent, request: TurnRequest, emit: Emit | None) -> TurnResult:
        return TurnResult(await self._invoke(agent, request, None, emit))

    async def _with_callers_history(
        self,
        agent: Agent,
        request: TurnRequest,
        history: CallersHistory,
        settings: SessionConfig,
        emit: Emit | None,
    ) -> TurnResult:
        if request.session_id not in ("", history.id):
            raise InvalidRequestError("session_context", "its id is not the session_id of the request")
        view = CallersSession(
            history.id, request.agent_name, history.user_id, history.messages, settings.history_limit
        )
        output = await self._invoke(agent, request, view, emit)
        version = len(history.messages) + len(view.appended) + 2
        return TurnResult(output, history.id, version, tuple(view.appended))

    async def _in_new_session(
        self,
        sessions: Manager,
        agent: Agent,
        request: TurnRequest,
        settings: SessionConfig,
        emit: Emit | None,
    ) -> TurnResult:
        session_id, made = new_id(), False
        try:
            creating = sessions.create(
                request.agent_name,
                user_id=request.user_id or "",
                ttl_seconds=settings.ttl_seconds,
                session_id=session_id,
            )
            await self._counted("create", creating)
            made = True
            return await self._in_session(sessions, agent, request, session_id, settings, emit)
        except BaseException as error:
            # Nobody else knows this session yet. A failed or cancelled call leaves nothing behind, not even
            # one that is cancelled while the session is being made.
            if made or isinstance(error, asyncio.CancelledError):
                await see_through(self._forget(sessions, session_id))
            raise

    async def _forget(self, sessions: Manager, session_id: str) -> None:
        try:
            await self._counted("delete", sessions.delete(session_id))
        except (StorageError, SessionNotFoundError):
            return  # an empty session stays; its time to live removes it

    async def _in_session(
        self,
        sessions: Manager,
        agent: Agent,
        request: TurnRequest,
        session_id: str,
        settings: SessionConfig,
        emit: Emit | None,
    ) -> TurnResult:
        watch = _Stopwatch()
        try:
            with self.tracing.span(
                "session.turn", {"agent.name": request.agent_name, "session.id": session_id}
            ) as span:
                result = await self._turn(sessions, agent, request, session_id, settings, emit, watch)
                span.set("session.version", result.session_version)
        except (StorageError, SessionConflictError):
            self.metrics.session_operation("turn", "failed", watch.seconds)
            raise
        self.metrics.session_operation("turn", "ok", watch.seconds)
        return result

    async def _turn(
        self,
        sessions: Manager,
        agent: Agent,
        request: TurnRequest,
        session_id: str,
        settings: SessionConfig,
        emit: Emit | None,
        watch: _Stopwatch,
    ) -> TurnResult:
        if settings.concurrency == "Serialize":
            # The turn asks the store itself when it begins.
            session = await self._open(sessions, request, session_id, newest=False)
            return await self._serialized(session, agent, request, settings, emit, watch)
        # What was streamed cannot be taken back, so a streamed turn has one attempt.
        attempts = 1 if emit is not None else PARALLEL_ATTEMPTS
        for attempt in range(1, attempts + 1):
            session = await self._open(sessions, request, session_id)
            try:
                return await self._optimistic(session, agent, request, settings, emit, watch)
            except SessionConflictError:
                if attempt == attempts:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _open(
        self, sessions: Manager, request: TurnRequest, session_id: str, *, newest: bool = True
    ) -> Session:
        """Return the session of the call. Without ``newest`` it may be as this process knew it before."""
        session = None if newest else sessions.recent(session_id)
        if session is None:
            session = await self._counted("get", sessions.get(session_id))
        _check_owner(session, request)
        describe_call(session_id=session.id)
        return session

    async def _serialized(
        self,
        session: Session,
        agent: Agent,
        request: TurnRequest,
        settings: SessionConfig,
        emit: Emit | None,
        watch: _Stopwatch,
    ) -> TurnResult:
        """Run the turn while nobody else, in any process, can change the session."""
        view = SessionView(session, settings.history_limit)
        async with session.turn(idempotency_key=request.idempotency_key or None) as turn:
            _check_owner(session, request)  # of a session that was deleted and made anew
            if turn.replayed is not None:
                return TurnResult(turn.replayed[-1], session.id, session.version)
            with watch.paused():
                output = await self._invoke(agent, request, view, emit)
            await turn.append_messages((request.input, *view.appended, output))
            self._committing()
        return TurnResult(output, session.id, session.version)

    async def _optimistic(
        self,
        session: Session,
        agent: Agent,
        request: TurnRequest,
        settings: SessionConfig,
        emit: Emit | None,
        watch: _Stopwatch,
    ) -> TurnResult:
        """Run the turn on a version of the session and append only if that is still the newest."""
        version = session.version
        key = request.idempotency_key or None
        if key is not None:
            async with session.turn(idempotency_key=key) as turn:
                if turn.replayed is not None:
                    return TurnResult(turn.replayed[-1], session.id, session.version)
        view = SessionView(session, settings.history_limit)
        with watch.paused():
            output = await self._invoke(agent, request, view, emit)
        messages = [request.input, *view.appended, output]
        self._committing()
        if key is None:
            await session.append_messages(messages, expected_version=version)
        else:
            async with session.turn(idempotency_key=key) as turn:
                if turn.replayed is not None:
                    return TurnResult(turn.replayed[-1], session.id, session.version)
                if session.version != version:
                    raise SessionConflictError
                await turn.append_messages(messages)
        return TurnResult(output, session.id, session.version)

    async def _invoke(
        self,
        agent: Agent,
        request: TurnRequest,
        session: SessionView | CallersSession | None,
        emit: Emit | None,
    ) -> Message:
        """Let the agent answer, and turn what it raises into this module's errors."""
        began = time.perf_counter()
        name = request.agent_name
        self.metrics.agent_message(name, "input")
        # An agent that is called by another one has its own session or none.
        scoped = session is not None or has_session()
        token = enter_session(cast("Session | None", session)) if scoped else None
        try:
            if emit is not None and hasattr(agent, "execute_stream"):
                output = await _streamed(agent, request.input, emit)
            elif session is not None and hasattr(agent, "execute_with_session"):
                with_session: Any = agent
                output = to_message(await with_session.execute_with_session(request.input, session))
            else:
                output = to_message(await agent.execute(request.input))
        except _EmitError as error:
            raise error.__cause__ or error from None
        except (ModelError, StorageError, CallLoopError, InvalidRequestError):
            raise
        except Exception as error:
            # What an agent says of itself is fit for its caller, and so is what an agent in another process
            # says: it raises what its own runtime would raise.
            own = isinstance(error, AgentError) and error.agent == name
            if own or getattr(agent, "relays_errors", False):
                raise
            raise AgentFailedError(name) from error
        finally:
            if token is not None:
                leave_session(token)
            self.metrics.agent_executed(name, time.perf_counter() - began)
        self.metrics.agent_message(name, "output")
        return output

    def _committing(self) -> None:
        if self.before_commit is not None:
            self.before_commit()

    async def _counted(self, operation: str, awaitable: Awaitable[T]) -> T:
        began = time.perf_counter()
        try:
            result = await awaitable
        except StorageError:
            self.metrics.session_operation(operation, "failed", time.perf_counter() - began)
            raise
        self.metrics.session_operation(operation, "ok", time.perf_counter() - began)
        return result


def _check_owner(session: Session, request: TurnRequest) -> None:
    foreign = request.user_id is not None and session.user_id != request.user_id
    if foreign or session.agent_name != request.agent_name:
        raise SessionNotFoundError


class _Stopwatch:
    """Counts the seconds since it was made, but for those in which it was paused."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - began


class _EmitError(Exception):
    """The consumer of a stream failed, not the agent."""


async def _streamed(agent: Any, message: Message, emit: Emit) -> Message:
    parts: list[Message] = []
    async with aclosing(agent.execute_stream(message)) as stream:
        async for part in stream:
            parts.append(part)
            try:
                await emit(part)
            except Exception as error:
                raise _EmitError from error
    return to_message(join_parts(parts))
