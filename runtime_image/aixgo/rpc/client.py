"""A client of one runtime: calls its agents over gRPC, with mutual TLS when it has a certificate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import grpc.aio

from aixgo.agents.text import text_of
from aixgo.errors import AixgoError
from aixgo.message import Message
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.certificates import CertificateFiles, CertificateStore
from aixgo.rpc.convert import from_wire, to_wire, with_json_payload
from aixgo.rpc.credentials import RENEW_SECONDS, ReloadingChannel
from aixgo.rpc.errors import failure_details
from aixgo.rpc.metadata import NO_MESSAGE, NUMBERING, SENDER, WAIT, Listening, of_call
from aixgo.rpc.refusals import Refusals, is_not_connected
from aixgo.runtime.call_context import current_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

#: The type of a message that a person or a program sends as plain text.
USER = "user"


class RpcError(AixgoError):
    """A call failed. The text is the server's; :attr:`code` is the gRPC status code."""

    def __init__(
        self,
        code: grpc.StatusCode,
        text: str,
        retry_after: float | None = None,
        *,
        reason: str = "",
        error_id: str | None = None,
    ) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code: grpc.StatusCode = code
        self.text: str = text
        #: Which error of a runtime it is (see ``rpc/errors.py``); "" if the server did not say.
        self.reason: str = reason
        #: Under which id the log of the server has more; None if it did not say.
        self.error_id: str | None = error_id
        #: Seconds after which the server expects a new try to succeed; None if it did not say.
        self.retry_after: float | None = retry_after


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """An agent's answer."""

    output: Message
    #: The session of the call, also when it was made by it; "" without one.
    session_id: str
    #: Number of entries of the session after the call; 0 without one.
    session_version: int
    #: What the agent added to a session that only the caller has, besides input and output.
    appended: tuple[Message, ...] = ()

    @property
    def text(self) -> str:
        """The text of the answer."""
        return text_of(self.output)


@dataclass(frozen=True, slots=True)
class CallerSession:
    """A session that the caller has and the agent's runtime does not: it goes with the call."""

    id: str
    user_id: str
    agent_name: str
    #: Oldest first.
    history: tuple[Message, ...]


class AgentClient:
    """Calls the agents of one runtime. A call that no server took, because the one that was asked is being
    replaced, is made again for a few seconds (see :mod:`aixgo.rpc.refusals`).

    ``async with AgentClient("localhost:50051", tls_dir, server_name="r.team.svc") as client:``
    """

    def __init__(
        self,
        address: str,
        tls_dir: Path | str | CertificateFiles | None,
        server_name: str | None = None,
        *,
        max_message_bytes: int = 16 * 1024 * 1024,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        """Prepare a client; the connection is made at the first call.

        Args:
            address: ``host:port`` or a gRPC target.
            tls_dir: Directory with ``tls.crt``, ``tls.key`` and ``ca.crt``, or the three files. They are
                followed when they change. None: plaintext.
            server_name: The name that the server's certificate must have, when ``address`` has another.
            max_message_bytes: Largest message in either direction.
            renew_seconds: New connections are opened after so long at the latest. Less than the age at which
                the server closes them; see :class:`~aixgo.rpc.credentials.ReloadingChannel`.

        Raises:
            InvalidCertificateError: the files in ``tls_dir`` cannot be used.
        """
        source = Path(tls_dir) if isinstance(tls_dir, str) else tls_dir
        store = CertificateStore(source, purpose="client") if source is not None else None
        self._agents: Any = None
        self._stub_channel: grpc.aio.Channel | None = None
        #: Whether a call was answered since nobody was found at the address.
        self._connected = False
        self._channel = ReloadingChannel(
            address,
            store,
            server_name=server_name,
            renew_seconds=renew_seconds,
            options=(
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def channel(self) -> grpc.aio.Channel:
        """Return the channel, for services beside the agents' such as health. Ask again for every call."""
        return self._channel.current()

    async def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._channel.close()

    async def execute(
        self,
        agent: str,
        message: Message | str,
        *,
        session_id: str = "",
        user_id: str = "",
        idempotency_key: str = "",
        session: CallerSession | None = None,
        timeout: float | None = None,
    ) -> ExecuteResult:
        """Call ``agent`` and wait for its whole answer.

        Args:
            agent: The agent's name.
            message: A message, or the text of one.
            session_id: "" for no session, ``new`` for a new one, else an existing one's id.
            user_id: The owner of the session.
            idempotency_key: The same key on the same session is executed once.
            session: A session that only the caller has, instead of ``session_id``.
            timeout: Seconds until the call is given up; None: the agent's own limit.

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        request = _request(agent, message, session_id, user_id, idempotency_key, session)
        metadata, timeout, refusals = of_call(), _capped(timeout), None
        began = time.monotonic()
        while True:
            try:
                response = await self._stub().Execute(request, timeout=timeout, metadata=metadata)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                refusals = refusals or self._refusals(began, timeout)
                timeout = await self._next_try(refusals, error)
            else:
                self._connected = True
                return _result(response)

    async def execute_stream(
        self,
        agent: str,
        message: Message | str,
        *,
        session_id: str = "",
        user_id: str = "",
        idempotency_key: str = "",
        session: CallerSession | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Message | ExecuteResult, None]:
        """Call ``agent`` and yield the parts of its answer as they come, then the :class:`ExecuteResult`.

        Texts that were ready together come as one part.

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        request = _request(agent, message, session_id, user_id, idempotency_key, session)
        metadata, timeout, refusals = of_call(), _capped(timeout), None
        began = time.monotonic()
        answered = False
        while True:
            call = self._stub().ExecuteStream(request, timeout=timeout, metadata=metadata)
            try:
                async for event in call:
                    answered = self._connected = True
                    if event.WhichOneof("event") == "partial":
                        yield from_wire(event.partial)
                    else:
                        yield _result(event.final)
                return
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                if answered:
                    raise _translated(error) from error
                refusals = refusals or self._refusals(began, timeout)
                timeout = await self._next_try(refusals, error)
            finally:
                call.cancel()

    async def send(
        self,
        target: str,
        message: Message | None,
        *,
        timeout: float | None = None,
        wait: float | None = None,
        sender: str = "",
    ) -> None:
        """Put a message into an agent's channel; :meth:`listen` takes it out.

        Args:
            target: The agent, or a topic that agents there read.
            message: The message; None is one, too.
            timeout: Seconds until the call is given up.
            wait: Seconds that the message may wait for room there. None: nearly as long as ``timeout``.
            sender: The agent that sends, if it is one.

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        metadata = of_call()
        if sender:
            metadata = (*metadata, (SENDER, sender))
        if wait is not None:
            metadata = (*metadata, (WAIT, str(round(wait * 1000))))
        if message is None:
            metadata = (*metadata, (NO_MESSAGE, "1"))
        wire = None if message is None else to_wire(with_json_payload(message))
        request = pb.SendRequest(target=target, message=wire)
        timeout, refusals = _capped(timeout), None
        began = time.monotonic()
        while True:
            try:
                await self._stub().Send(request, timeout=timeout, metadata=metadata)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                refusals = refusals or self._refusals(began, timeout)
                timeout = await self._next_try(refusals, error)
            else:
                self._connected = True
                return

    async def listen(self, agent: str) -> AsyncGenerator[Message, None]:
        """Yield the messages that are put into an agent's channel, as long as the connection lasts.

        What was not yielded when the generator is closed, or the connection breaks, goes back to the channel.

        Raises:
            RpcError: the call failed, or the connection ended.
        """
        from aixgo.rpc.listener import Listener

        listener = Listener(self, agent, patience=0)
        try:
            while True:
                yield await listener.receive()
        finally:
            await listener.close()

    async def connect_channel(self, agent: str, listening: Listening) -> AsyncGenerator[str | Message, None]:
        """Yield the id of the numbering ("" if the server has none), then the messages (see ``metadata.py``).

        Raises:
            RpcError: the call failed, or the connection ended.
        """
        metadata = (*of_call(), *listening.to_metadata())
        call = self._stub().Listen(pb.ListenRequest(agent_name=agent), metadata=metadata)
        try:
            initial = dict(await call.initial_metadata() or ())
            yield str(initial.get(NUMBERING, ""))
            async for event in call:
                yield cast("Message", from_wire(event.message) if event.HasField("message") else None)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise _translated(error) from error
        finally:
            call.cancel()

    async def acknowledge(self, agent: str, listening: Listening, timeout: float) -> None:
        """Tell the server what a reader has.

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        metadata = listening.to_metadata()
        call = self._stub().Listen(pb.ListenRequest(agent_name=agent), metadata=metadata, timeout=timeout)
        try:
            await call.read()
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise _translated(error) from error

    def _refusals(self, began: float, timeout: float | None) -> Refusals:
        return Refusals(connected=self._connected, began=began, timeout=timeout)

    async def _next_try(
        self, refusals: Refusals, error: grpc.aio.AioRpcError | asyncio.CancelledError
    ) -> float | None:
        """Wait until a refused call may be made again, and return how long it may take then.

        Raises what becomes of a call that was not refused, or for too long.
        """
        if isinstance(error, grpc.aio.AioRpcError):
            if await refusals.passes(error):
                return refusals.left()
            if is_not_connected(error):
                self._connected = False
        raise _translated(error) from error

    def _stub(self) -> Any:
        channel = self._channel.current()
        if channel is not self._stub_channel:
            self._agents = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
            self._stub_channel = channel
        return self._agents


def _request(
    agent: str,
    message: Message | str,
    session_id: str,
    user_id: str,
    idempotency_key: str,
    session: CallerSession | None,
) -> pb.ExecuteRequest:
    whole = Message.new(USER, {"text": message}) if isinstance(message, str) else message
    context = None
    if session is not None:
        context = pb.SessionContext(
            id=session.id,
            user_id=session.user_id,
            agent_name=session.agent_name,
            history=[to_wire(item) for item in session.history],
        )
    return pb.ExecuteRequest(
        agent_name=agent,
        input=to_wire(whole),
        session_id=session_id,
        user_id=user_id,
        idempotency_key=idempotency_key,
        session_context=context,
    )


def _result(response: pb.ExecuteResponse) -> ExecuteResult:
    if not response.HasField("output"):
        raise RpcError(grpc.StatusCode.INTERNAL, "the agent answered without a message")
    appended = tuple(from_wire(message) for message in response.appended) if response.appended else ()
    return ExecuteResult(from_wire(response.output), response.session_id, response.session_version, appended)


def _capped(timeout: float | None) -> float | None:
    """Return how long a call may take that is made inside another one."""
    remaining = current_call().remaining()
    if remaining is None or timeout is None:
        return timeout if remaining is None else remaining
    return min(timeout, remaining)


def _translated(error: grpc.aio.AioRpcError | asyncio.CancelledError) -> BaseException:
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return error
        # gRPC ends the calls of a connection that is closed so; their callers were not cancelled.
        return RpcError(grpc.StatusCode.CANCELLED, "the connection was closed")
    details = failure_details(tuple(error.trailing_metadata() or ()))
    return RpcError(
        error.code(),
        error.details() or "",
        details.retry_after,
        reason=details.reason,
        error_id=details.error_id,
    )
