"""``aixgo.AgentService``: the rules of the runtime contract around one turn of an agent."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import grpc
import grpc.aio

from aixgo.errors import StorageError
from aixgo.observability.logs import describe_call, get_logger
from aixgo.observability.tracing import NO_TRACING, Span, Tracing
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.authorization import uris_of
from aixgo.rpc.convert import from_caller, from_wire, to_wire
from aixgo.rpc.errors import RpcFailure, to_failure
from aixgo.runtime.errors import (
    AgentNotFoundError,
    CallDeadlineError,
    CallerNotAllowedError,
    CallLoopError,
    DrainingError,
    InvalidRequestError,
    ModelError,
    ModelUnreachableError,
    RuntimeNotStartedError,
)
from aixgo.runtime.streaming import Emit
from aixgo.runtime.turns import CallersHistory, TurnRequest, TurnResult, TurnRunner

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

T = TypeVar("T")

AGENT_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
#: Metadata key with the agents through which a call came, separated by commas.
CALLER_CHAIN: Final = "aixgo-caller-chain"
MAX_CHAIN: Final = 16
SERVICE: Final = "aixgo.AgentService"
#: So many characters of what a caller sent go into a log.
MAX_LOGGED: Final = 256

_log = get_logger("aixgo.rpc")


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
    ) -> None:
        self.rules = rules
        self._agents = agents
        self._sessions = sessions
        self._gate = gate
        self._channels = channels
        self._metrics = metrics
        self._on_model_unreachable = on_model_unreachable
        self._tracing = tracing

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802
        """Let an agent answer."""
        work = self._execute("Execute", request, context, None)
        return await self._guarded("Execute", request.agent_name, context, work)

    async def ExecuteStream(self, request: pb.ExecuteRequest, context: Context) -> None:  # noqa: N802
        """Let an agent answer and send the answer while it is made."""

        async def emit(part: Message) -> None:
            await context.write(pb.ExecuteStreamResponse(partial=to_wire(part)))

        async def stream() -> None:
            final = await self._execute("ExecuteStream", request, context, emit)
            await context.write(pb.ExecuteStreamResponse(final=final))

        await self._guarded("ExecuteStream", request.agent_name, context, stream())

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
        turn = _turn_request(request)
        with self._span(method, name, context), self._gate.admit():
            async with self._agents.use(name) as callee:
                return _response(await self._turn(callee, turn, context, emit))

    def _span(self, method: str, agent: str, context: Context) -> AbstractContextManager[Span]:
        """Open the span of a call; a trace that the caller is in goes on."""
        if not self._tracing.enabled:
            return self._tracing.span("")
        wanted = self._agents.wanted(agent)
        return self._tracing.call(
            agent,
            wanted.role if wanted is not None else "",
            kind="server",
            metadata=tuple(context.invocation_metadata() or ()),
            attributes={"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method},
        )

    async def _turn(
        self, callee: Callee, turn: TurnRequest, context: Context, emit: Emit | None
    ) -> TurnResult:
        seconds = _deadline(context.time_remaining(), callee.config.timeout_seconds)
        needs_session = bool(turn.session_id) and turn.callers_history is None
        try:
            with self._sessions.borrow() if needs_session else nullcontext() as manager:
                runner = TurnRunner(manager, self._metrics, self._tracing)
                async with asyncio.timeout(seconds):
                    return await runner.run(callee.agent, turn, callee.config.session, emit)
        except TimeoutError as error:
            raise CallDeadlineError(seconds) from error
        except StorageError:
            self._sessions.look_now()
            raise
        except ModelUnreachableError:
            self._on_model_unreachable()
            raise

    async def _send(self, request: pb.SendRequest, context: Context) -> pb.SendResponse:
        name = self._authorized(request.target, "target", context)
        if not request.HasField("message"):
            raise InvalidRequestError("message", "is required")
        message = from_caller(request.message, "message")
        with self._gate.admit():
            await self._channels.send(name, message)
        return pb.SendResponse(success=True)

    async def _listen(self, request: pb.ListenRequest, context: Context) -> None:
        name = self._authorized(request.agent_name, "agent_name", context)
        while True:
            try:
                message = await self._channels.receive(name)
            except RuntimeNotStartedError as error:
                raise DrainingError from error
            await context.write(pb.ListenResponse(message=to_wire(message)))

    def _authorized(self, name: str, field: str, context: Context) -> str:
        """Return the name if there is such an agent and the caller may call it."""
        if not name:
            raise InvalidRequestError(field, "is required")
        if not AGENT_NAME.fullmatch(name):
            raise InvalidRequestError(field, f"must match ^{AGENT_NAME.pattern}$")
        if self._gate.draining:
            raise DrainingError
        wanted = self._agents.wanted(name)
        uris = uris_of(context.auth_context())
        describe_call(agent=name, caller=uris[0][:MAX_LOGGED] if uris else "")
        try:
            self.rules.authorizer.check(uris, name, wanted, self.rules.namespace)
        except CallerNotAllowedError:
            # The name of an agent that does not exist comes from the caller and would be an unbounded label.
            self._metrics.authorization_refused(name if wanted is not None else "")
            raise
        if wanted is None:
            raise AgentNotFoundError(name)
        _check_chain(tuple(context.invocation_metadata() or ()))
        return name

    async def _guarded(self, method: str, agent: str, context: Context, work: Awaitable[T]) -> T:
        """Await the work of a method, count it, and turn its error into a status."""
        began = time.perf_counter()
        status = grpc.StatusCode.OK
        try:
            return await work
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            failure = to_failure(error)
            status = failure.code
            _log_failure(method, agent, failure, error)
            await context.abort(failure.code, failure.text, failure.trailers())
            raise AssertionError("abort always raises") from error
        finally:
            self._metrics.rpc_finished(method, status.name, time.perf_counter() - began)


def _turn_request(request: pb.ExecuteRequest) -> TurnRequest:
    if not request.HasField("input"):
        raise InvalidRequestError("input", "is required")
    return TurnRequest(
        agent_name=request.agent_name,
        input=from_caller(request.input, "input"),
        session_id=request.session_id,
        user_id=request.user_id,
        idempotency_key=request.idempotency_key,
        callers_history=_callers_history(request) if request.HasField("session_context") else None,
    )


def _callers_history(request: pb.ExecuteRequest) -> CallersHistory:
    session = request.session_context
    if not session.id:
        raise InvalidRequestError("session_context.id", "is required")
    if session.agent_name not in ("", request.agent_name):
        raise InvalidRequestError("session_context.agent_name", "is not the agent that is called")
    return CallersHistory(
        session.id, session.user_id, tuple(from_wire(message) for message in session.history)
    )


def _response(result: TurnResult) -> pb.ExecuteResponse:
    return pb.ExecuteResponse(
        output=to_wire(result.output), session_id=result.session_id, session_version=result.session_version
    )


def _deadline(remaining: float | None, timeout: float) -> float:
    """Return the seconds that a call may take: the caller's deadline, capped by the agent's timeout."""
    return timeout if remaining is None else min(remaining, timeout)


def _check_chain(metadata: Sequence[tuple[str, str | bytes]]) -> None:
    """Refuse a call that came through too many agents: they call each other in a circle."""
    hops = 0
    for key, value in metadata:
        if key == CALLER_CHAIN:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            hops += sum(1 for hop in text.split(",") if hop.strip())
    if hops > MAX_CHAIN:
        raise CallLoopError(MAX_CHAIN)


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
