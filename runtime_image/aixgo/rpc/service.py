"""``aixgo.AgentService``: the rules of the runtime contract around one turn of an agent."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import grpc
import grpc.aio

from aixgo.agents.text import batched
from aixgo.contract import GrpcConfig
from aixgo.errors import StorageError
from aixgo.observability.logs import describe_call, get_logger
from aixgo.observability.tracing import NO_SPAN, NO_TRACING, Span, Tracing
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.authorization import uris_of
from aixgo.rpc.convert import from_caller, to_wire
from aixgo.rpc.deliveries import Deliveries
from aixgo.rpc.errors import RpcFailure, to_failure
from aixgo.rpc.metadata import NO_MESSAGE, NUMBERING, SENDER, WAIT, Listening
from aixgo.rpc.refused_calls import Refusals
from aixgo.rpc.requests import (
    check_agent_name,
    execute_response,
    listen_response,
    turn_request,
    waiting_time,
)
from aixgo.runtime.call_context import NO_CALL, CallContext, chain_of, current_call
from aixgo.runtime.errors import (
    AgentNotFoundError,
    AnswerTooLargeError,
    CallerNotAllowedError,
    DrainingError,
    InvalidRequestError,
    ModelError,
    ModelUnreachableError,
    RuntimeNotStartedError,
)
from aixgo.runtime.running_calls import RunningCalls
from aixgo.runtime.streaming import Emit, Streaming
from aixgo.runtime.turns import TurnRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from aixgo.agents.protocol import Agent
    from aixgo.contract import AgentConfig
    from aixgo.message import Message
    from aixgo.observability.metrics import MetricsCollector
    from aixgo.rpc.authorization import Authorizer
    from aixgo.runtime.channels import Channels
    from aixgo.runtime.gate import CallGate
    from aixgo.session import Manager

    Context = grpc.aio.ServicerContext[Any, Any]
    Metadata = Sequence[tuple[str, str | bytes]]

T = TypeVar("T")

SERVICE: Final = "aixgo.AgentService"
#: What a response has beside the answer, at most, but for what the agent added to a session of the caller.
RESPONSE_BYTES: Final = 1024
#: So many characters of what a caller sent go into a log.
MAX_LOGGED: Final = 256

_log = get_logger("aixgo.rpc")
#: A line for every call costs as much as a good part of the call: metrics count, debug logs tell.
_access = logging.getLogger("aixgo.rpc")


@dataclass(frozen=True, slots=True)
class Callee:
    """An agent that answers calls, and the configuration that it was built from."""

    config: AgentConfig
    agent: Agent


class Agents(Protocol):
    """The agents that may be called over the wire."""

    def wanted(self, name: str) -> AgentConfig | None:
        """Return the newest configuration of an agent, be it ready or not; None if there is no such agent."""

    def use(self, name: str) -> AbstractAsyncContextManager[Callee]:
        """Return the agent for the time of one call.

        Raises (on entering): AgentNotFoundError, AgentNotReadyError.
        """


class SessionSource(Protocol):
    """Where the sessions of calls are."""

    def borrow(self) -> AbstractContextManager[Manager]:
        """Return the manager for the time of one call.

        Raises (on entering): SessionManagerNotConfiguredError, StorageError.
        """

    def look_now(self) -> None:
        """Hear that the backend failed a call."""


@dataclass(slots=True)
class Rules:
    """What a new configuration may change while calls are running."""

    authorizer: Authorizer
    namespace: str


class AgentService(pb_grpc.AgentServiceServicer):
    """Execute, ExecuteStream, Send and Listen."""

    def __init__(
        self,
        *,
        agents: Agents,
        sessions: SessionSource,
        gate: CallGate,
        channels: Channels,
        rules: Rules,
        metrics: MetricsCollector,
        on_model_unreachable: Callable[[], None],
        tracing: Tracing = NO_TRACING,
        max_message_bytes: int = GrpcConfig().max_message_bytes,
    ) -> None:
        self.rules = rules
        self._agents = agents
        self._sessions = sessions
        self._gate = gate
        self._channels = channels
        self._metrics = metrics
        self._on_model_unreachable = on_model_unreachable
        self._tracing = tracing
        self._max_message_bytes = max_message_bytes
        self._stateless = self._stateful = TurnRunner(None, metrics, tracing, self._check_answer)
        self._calls = RunningCalls()
        self._deliveries = Deliveries(channels)
        self.refusals = Refusals(lambda: datetime.now(UTC))

    def apply(self, rules: Rules) -> None:
        """Put other rules in force, after the agents that they are about."""
        self.rules = rules
        self.refusals.keep(self._refused)

    def _refused(self, agent: str, caller: str) -> bool:
        """Whether there is such an agent, and the rules of now refuse the caller."""
        wanted = self._agents.wanted(agent)
        if wanted is None:
            return False
        try:
            self.rules.authorizer.check([caller] if caller else [], agent, wanted, self.rules.namespace)
        except CallerNotAllowedError:
            return True
        return False

    def close(self) -> None:
        """Give messages that are on their way to readers back to their channels."""
        self._deliveries.close()

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802
        """Let an agent answer."""
        # As _guarded, which is a coroutine more: every small call would pay for it.
        began = time.perf_counter()
        try:
            response = await self._execute("Execute", request, context, None)
        except BaseException as error:
            await self._failed("Execute", request.agent_name, context, error, began)
            raise
        self._finished("Execute", "OK", began)
        return response

    async def ExecuteStream(self, request: pb.ExecuteRequest, context: Context) -> None:  # noqa: N802
        """Let an agent answer and send the answer while it is made."""
        await self._guarded("ExecuteStream", request.agent_name, context, self._stream(request, context))

    async def Send(self, request: pb.SendRequest, context: Context) -> pb.SendResponse:  # noqa: N802
        """Put a message into an agent's channel."""
        return await self._guarded("Send", request.target, context, self._send(request, context))

    async def Listen(self, request: pb.ListenRequest, context: Context) -> None:  # noqa: N802
        """Send what is put into an agent's channel until the caller goes away."""
        await self._guarded("Listen", request.agent_name, context, self._listen(request, context))

    async def _execute(
        self, method: str, request: pb.ExecuteRequest, context: Context, emit: Emit | None
    ) -> pb.ExecuteResponse:
        name = self._authorized(request.agent_name, "agent_name", context)
        turn = turn_request(request)
        metadata: Metadata = context.invocation_metadata() or ()  # type: ignore[assignment]
        chain = chain_of(metadata)
        try:
            with self._span(method, name, metadata):
                entered = self._gate.enter()
                try:
                    async with self._agents.use(name) as callee:
                        config = callee.config
                        outer = current_call()  # knows the place that the call may have been given just now
                        if chain or outer is not NO_CALL:
                            outer = CallContext(chain, None, outer.places)
                        seconds, remaining = float(config.timeout_seconds), context.time_remaining()
                        if remaining is not None and remaining < seconds:
                            seconds = remaining
                        with self._calls.call(name, seconds, outer) as call:
                            if not turn.session_id or turn.callers_history is not None:
                                result = await self._stateless.run(callee.agent, turn, config.session, emit)
                            else:
                                with self._sessions.borrow() as manager:
                                    result = await self._runner(manager).run(
                                        callee.agent, turn, config.session, emit, call.commit
                                    )
                    return execute_response(result)
                finally:
                    self._gate.leave(entered)
        except StorageError:
            self._sessions.look_now()
            raise
        except ModelUnreachableError:
            self._on_model_unreachable()
            raise

    def _runner(self, manager: Manager) -> TurnRunner:
        """Return the runner of turns on the sessions of a manager; there is one manager most of the time."""
        if self._stateful.sessions is not manager:
            self._stateful = replace(self._stateless, sessions=manager)
        return self._stateful

    def _check_answer(self, answer: Message) -> None:
        """Refuse an answer that its caller could not get, before a session has it.

        Raises:
            AnswerTooLargeError: it does not fit into a message.
        """
        room = self._max_message_bytes - RESPONSE_BYTES
        small = len(answer.payload) * 4 < room and not answer.metadata  # however it is encoded
        if not small and to_wire(answer).ByteSize() > room:
            raise AnswerTooLargeError(self._max_message_bytes)

    async def _stream(self, request: pb.ExecuteRequest, context: Context) -> None:
        async def work(emit: Emit) -> pb.ExecuteResponse:
            return await self._execute("ExecuteStream", request, context, emit)

        async with Streaming(work) as stream:
            # What comes while a write is on its way goes together in the next one.
            while parts := await stream.take():
                for part in batched(parts) if len(parts) > 1 else parts:
                    await context.write(pb.ExecuteStreamResponse(partial=to_wire(part)))
            await context.write(pb.ExecuteStreamResponse(final=stream.result()))

    def _span(self, method: str, agent: str, metadata: Metadata) -> AbstractContextManager[Span]:
        """Open the span of a call; a trace that the caller is in goes on."""
        if not self._tracing.enabled:
            return NO_SPAN
        wanted = self._agents.wanted(agent)
        return self._tracing.call(
            agent,
            wanted.role if wanted is not None else "",
            kind="server",
            metadata=tuple(metadata),
            attributes={"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method},
        )

    async def _send(self, request: pb.SendRequest, context: Context) -> pb.SendResponse:
        name = self._authorized(request.target, "target", context, topics=True)
        metadata = dict(context.invocation_metadata() or ())
        message: Message | None = None
        if request.HasField("message"):
            message = from_caller(request.message, "message")
        elif NO_MESSAGE not in metadata:
            raise InvalidRequestError("message", "is required")
        sender = str(metadata.get(SENDER, ""))
        timeout = waiting_time(str(metadata.get(WAIT, "")), context.time_remaining())
        with self._gate.admit():
            await self._channels.deliver(name, message, sender=sender, timeout=timeout)
        return pb.SendResponse(success=True)

    async def _listen(self, request: pb.ListenRequest, context: Context) -> None:
        try:
            listening = Listening.of(context.invocation_metadata() or ())
        except ValueError as error:
            raise InvalidRequestError("metadata", "is malformed") from error
        name = self._authorized(request.agent_name, "agent_name", context, draining=bool(listening.only))
        if listening.only:
            self._deliveries.note(name, listening)
            return
        try:
            if not listening.reader:
                await self._listen_once(name, context)
            with self._deliveries.connected(name, listening) as reader:
                await context.send_initial_metadata(((NUMBERING, reader.numbering),))
                async for message in self._deliveries.messages(reader):
                    await context.write(listen_response(message))
        except RuntimeNotStartedError as error:
            raise DrainingError from error

    async def _listen_once(self, name: str, context: Context) -> None:
        """Serve a reader that does not acknowledge: what it was not sent goes back, what is on its way may be
        lost with the connection.
        """
        while True:
            message = await self._channels.receive(name)
            try:
                await context.write(listen_response(message))
            except BaseException:
                self._channels.put_back(name, [message])
                raise

    def _authorized(
        self, name: str, field: str, context: Context, *, topics: bool = False, draining: bool = False
    ) -> str:
        """Return the name if there is such an agent, or topic, and the caller may call it."""
        check_agent_name(name, field)
        if self._gate.draining and not draining:
            raise DrainingError
        wanted = self._agents.wanted(name)
        authorizer = self.rules.authorizer
        if authorizer.enforced:
            uris = uris_of(context.auth_context())
            describe_call(agent=name, caller=uris[0][:MAX_LOGGED] if uris else "")
            try:
                authorizer.check(uris, name, wanted, self.rules.namespace)
            except CallerNotAllowedError:
                # The name of an agent that does not exist comes from the caller and would be an unbounded
                # label.
                self._metrics.authorization_refused(name if wanted is not None else "")
                if wanted is not None:
                    self.refusals.add(name, uris[0] if uris else "")
                raise
        else:
            describe_call(agent=name)
        if wanted is None and not (topics and self._channels.routing.is_topic(name)):
            raise AgentNotFoundError(name)
        return name

    async def _guarded(self, method: str, agent: str, context: Context, work: Awaitable[T]) -> T:
        """Await the work of a method, count it, and turn its error into a status."""
        began = time.perf_counter()
        try:
            result = await work
        except BaseException as error:
            await self._failed(method, agent, context, error, began)
            raise
        self._finished(method, "OK", began)
        return result

    async def _failed(
        self, method: str, agent: str, context: Context, error: BaseException, began: float
    ) -> None:
        """Count a call that failed, and raise what gives its caller the status."""
        if not isinstance(error, Exception):
            self._finished(method, grpc.StatusCode.CANCELLED.name, began)
            return
        failure = to_failure(error)
        _log_failure(method, agent, failure, error)
        # Before the caller knows: who has the answer finds it counted.
        self._finished(method, failure.code.name, began)
        await context.abort(failure.code, failure.text, failure.trailers())

    def _finished(self, method: str, status: str, began: float) -> None:
        seconds = time.perf_counter() - began
        self._metrics.rpc_finished(method, status, seconds)
        if _access.isEnabledFor(logging.DEBUG):
            _log.debug("call", method=method, code=status, seconds=round(seconds, 6))


def _log_failure(method: str, agent: str, failure: RpcFailure, error: Exception) -> None:
    """Log what the caller was not told under the same id; expected refusals take one line."""
    details = {"method": method, "agent": agent[:64], "code": failure.code.name}
    if isinstance(error, ModelError):
        # The text of its cause may quote what was sent; the kind of the cause says enough.
        cause = type(error.__cause__).__name__
        _log.warning("model failed", **details, error_id=failure.error_id, error=failure.text, cause=cause)
    elif failure.error_id is not None:
        _log.error("call failed", **details, error_id=failure.error_id, error=failure.text, exc_info=error)
    else:
        _log.info("call refused", **details, error=failure.text)
