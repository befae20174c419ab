"""One call to one agent, with or without a session: the same code behind the library's Runtime and the
server.

A turn is all or nothing: the history goes in, and the input and the answer are appended together when the
agent has answered. A turn that fails, times out or is cancelled leaves the session as it was.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
import orjson

from aixgo.agents.protocol import to_message
from aixgo.agents.text import join_parts
from aixgo.cancellation import is_own_failure, see_through
from aixgo.contract import SessionConfig
from aixgo.errors import InvalidMessageError, SessionConflictError, SessionNotFoundError, StorageError
from aixgo.identifiers import new_id
from aixgo.observability.logs import describe_call
from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.observability.tracing import NO_TRACING, Tracing
from aixgo.runtime.errors import (
    AgentError,
    AgentFailedError,
    AnswerTooLargeError,
    CallLoopError,
    InvalidRequestError,
    ModelError,
    SessionManagerNotConfiguredError,
)
from aixgo.runtime.views import CallersSession, SessionView
from aixgo.session import validation
from aixgo.session.context import enter_session, has_session, leave_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aixgo.agents.protocol import Agent
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


class TurnRequest(msgspec.Struct, frozen=True):
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


class TurnResult(msgspec.Struct, frozen=True):
    """What a call gives back."""

    output: Message
    session_id: str = ""
    #: Number of entries of the session after the call; 0 without a session.
    session_version: int = 0
    #: What the agent added to a session that only the caller has, besides input and output.
    appended: tuple[Message, ...] = ()


class _Watch:
    """Counts the seconds of a turn, but for those of its agent."""

    __slots__ = ("_began", "agent_seconds")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.agent_seconds = 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began - self.agent_seconds


class _Work(msgspec.Struct, frozen=True):
    """One call on its way through a runner: who answers, what is asked, and how."""

    agent: Agent
    request: TurnRequest
    settings: SessionConfig
    #: Receives the parts of the answer while it is made; None: only the whole answer is wanted.
    emit: Emit | None
    #: Called when the agent has answered and only the commit is left: a deadline must not interrupt that.
    before_commit: Callable[[], None] | None
    watch: _Watch


@dataclass(frozen=True, slots=True)
class TurnRunner:
    """Runs turns of agents on the sessions of one manager."""

    sessions: Manager | None = None
    metrics: MetricsCollector = field(default_factory=NoMetrics)
    tracing: Tracing = NO_TRACING
    #: Looks at an answer before anything is stored; raises what its caller is told, or what is wrong with it.
    check_answer: Callable[[Message], None] | None = None

    def run(
        self,
        agent: Agent,
        request: TurnRequest,
        settings: SessionConfig | None = None,
        emit: Emit | None = None,
        before_commit: Callable[[], None] | None = None,
    ) -> Coroutine[Any, Any, TurnResult]:
        """Run one turn, when it is awaited.

        Args:
            agent: Who answers.
            request: What is asked, and in which session.
            settings: How the agent uses sessions.
            emit: Receives the parts of the answer while it is made. None: only the whole answer is wanted.
            before_commit: Called when the agent has answered and only the commit is left: a deadline must not
                interrupt that.

        Raises:
            InvalidRequestError: the request contradicts itself or the agent's session mode.
            SessionManagerNotConfiguredError: a session is asked for and there is no backend.
            SessionNotFoundError: no such session of this agent and this user.
            SessionConflictError: others kept changing the session (concurrency Parallel).
            StorageError: the session backend failed; nothing was appended.
            ModelError: the model provider failed.
            AgentFailedError: the agent raised something else, or answered what cannot be stored; the cause
                says what.
        """
        # Not a coroutine itself: it would be one more in every call.
        work = _Work(agent, request, settings or SessionConfig(), emit, before_commit, _Watch())
        if request.callers_history is not None:
            return self._with_callers_history(work, request.callers_history)
        if not request.session_id:
            return self._without_session(work)
        if work.settings.mode == "Stateless":
            raise InvalidRequestError("session_id", f"agent {request.agent_name!r} keeps no sessions")
        if self.sessions is None:
            raise SessionManagerNotConfiguredError
        if request.session_id == NEW_SESSION:
            return self._in_new_session(work, self.sessions)
        return self._in_session(work, self.sessions, request.session_id)

    async def _without_session(self, work: _Work) -> TurnResult:
        return TurnResult(await self._invoke(work, None))

    async def _with_callers_history(self, work: _Work, history: CallersHistory) -> TurnResult:
        request = work.request
        if request.session_id not in ("", history.id):
            raise InvalidRequestError("session_context", "its id is not the session_id of the request")
        view = CallersSession(
            history.id, request.agent_name, history.user_id, history.messages, work.settings.history_limit
        )
        output = await self._invoke(work, view)
        version = len(history.messages) + len(view.appended) + 2
        return TurnResult(output, history.id, version, tuple(view.appended))

    async def _in_new_session(self, work: _Work, sessions: Manager) -> TurnResult:
        session_id, made = new_id(), False
        try:
            creating = sessions.create(
                work.request.agent_name,
                user_id=work.request.user_id or "",
                ttl_seconds=work.settings.ttl_seconds,
                session_id=session_id,
            )
            await self._counted("create", creating)
            made = True
            return await self._in_session(msgspec.structs.replace(work, watch=_Watch()), sessions, session_id)
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

    async def _in_session(self, work: _Work, sessions: Manager, session_id: str) -> TurnResult:
        turn = self._serialized if work.settings.concurrency == "Serialize" else self._parallel
        try:
            if not self.tracing.enabled:
                result = await turn(work, sessions, session_id)
            else:
                about = {"agent.name": work.request.agent_name, "session.id": session_id}
                with self.tracing.span("session.turn", about) as span:
                    result = await turn(work, sessions, session_id)
                    span.set("session.version", result.session_version)
        except (StorageError, SessionConflictError):
            self.metrics.session_operation("turn", "failed", work.watch.seconds)
            raise
        except InvalidMessageError as error:
            if _can_be_stored(work.request.input):
                raise AgentFailedError(work.request.agent_name) from error
            raise
        self.metrics.session_operation("turn", "ok", work.watch.seconds)
        return result

    async def _serialized(self, work: _Work, sessions: Manager, session_id: str) -> TurnResult:
        """Run the turn while nobody else, in any process, can change the session."""
        request = work.request
        # As this process knew it before: the turn asks the store itself when it begins.
        session = sessions.recent(session_id)
        if session is None:
            session = await self._counted("get", sessions.get(session_id))
        describe_call(session_id=session_id)
        turn = session.turn(idempotency_key=request.idempotency_key or None)
        _check_owner(session, request)  # others' callers do not wait for the turn
        # Step by step and not as a block, whose ends are two coroutines.
        await turn.begin()
        try:
            _check_owner(session, request)  # it may have been deleted and made anew
            if turn.replayed is not None:
                return TurnResult(turn.replayed[-1], session_id, session.version)
            view = SessionView(session, work.settings.history_limit, turn)
            output = await self._invoke(work, view)
            turn.add((request.input, *view.appended, output))
            if work.before_commit is not None:
                work.before_commit()
            await turn.commit()
        finally:
            if turn.is_open:
                await turn.end()
        return TurnResult(output, session_id, session.version)

    async def _parallel(self, work: _Work, sessions: Manager, session_id: str) -> TurnResult:
        """Run the turn, again if somebody else changed the session meanwhile."""
        # What was streamed cannot be taken back, so a streamed turn has one attempt.
        attempts = 1 if work.emit is not None else PARALLEL_ATTEMPTS
        for attempt in range(1, attempts + 1):
            session = await self._counted("get", sessions.get(session_id))
            _check_owner(session, work.request)
            describe_call(session_id=session_id)
            try:
                return await self._optimistic(work, session)
            except SessionConflictError:
                if attempt == attempts:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _optimistic(self, work: _Work, session: Session) -> TurnResult:
        """Run the turn on a version of the session and append only if that is still the newest."""
        version = session.version
        key = work.request.idempotency_key or None
        if key is not None:
            async with session.turn(idempotency_key=key) as turn:
                if turn.replayed is not None:
                    return TurnResult(turn.replayed[-1], session.id, session.version)
        view = SessionView(session, work.settings.history_limit)
        output = await self._invoke(work, view)
        messages = [work.request.input, *view.appended, output]
        if work.before_commit is not None:
            work.before_commit()
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

    async def _invoke(self, work: _Work, session: SessionView | CallersSession | None) -> Message:
        """Let the agent answer, and turn what it raises into this module's errors."""
        began = time.perf_counter()
        agent, message = work.agent, work.request.input
        name = work.request.agent_name
        self.metrics.agent_message(name, "input")
        # An agent that is called by another one has its own session or none.
        scoped = session is not None or has_session()
        token = enter_session(cast("Session | None", session)) if scoped else None
        try:
            if work.emit is not None and hasattr(agent, "execute_stream"):
                output = await _streamed(agent, message, work.emit)
            elif session is not None and hasattr(agent, "execute_with_session"):
                with_session: Any = agent
                output = to_message(await with_session.execute_with_session(message, session))
            else:
                output = to_message(await agent.execute(message))
            if self.check_answer is not None:
                self.check_answer(output)
        except _EmitError as error:
            raise error.__cause__ or error from None
        except (ModelError, StorageError, CallLoopError, InvalidRequestError, AnswerTooLargeError):
            raise
        except BaseException as error:
            if not is_own_failure(error):
                raise
            # What an agent says of itself is fit for its caller, and so is what an agent in another process
            # says: it raises what its own runtime would raise.
            own = isinstance(error, AgentError) and error.agent == name
            if own or getattr(agent, "relays_errors", False):
                raise
            raise AgentFailedError(name) from error
        finally:
            if token is not None:
                leave_session(token)
            seconds = time.perf_counter() - began
            work.watch.agent_seconds += seconds
            self.metrics.agent_executed(name, seconds)
        self.metrics.agent_message(name, "output")
        return output

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


def _can_be_stored(message: Message) -> bool:
    try:
        validation.messages([message])
        orjson.dumps([message.id, message.type, message.payload, message.timestamp, dict(message.metadata)])
    except (InvalidMessageError, TypeError, ValueError):
        return False
    return True


class _EmitError(Exception):
    """The consumer of a stream failed, not the agent."""


async def _streamed(agent: Any, message: Message, emit: Emit) -> Message:
    parts: list[Message] = []
    async with aclosing(agent.execute_stream(message)) as stream:
        async for produced in stream:
            part = to_message(produced)
            parts.append(part)
            try:
                await emit(part)
            except Exception as error:
                raise _EmitError from error
    return to_message(join_parts(parts))
