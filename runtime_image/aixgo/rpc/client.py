"""A client of one runtime: calls its agents over gRPC, with mutual TLS when it has a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio

from aixgo.agents.text import text_of
from aixgo.errors import AixgoError
from aixgo.message import Message
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.certificates import CertificateFiles, CertificateStore
from aixgo.rpc.convert import from_wire, to_wire
from aixgo.rpc.credentials import ReloadingChannel
from aixgo.rpc.errors import retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

#: The type of a message that a person or a program sends as plain text.
USER = "user"


class RpcError(AixgoError):
    """A call failed. The text is the server's; :attr:`code` is the gRPC status code."""

    def __init__(self, code: grpc.StatusCode, text: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text
        #: Seconds after which the server expects a new try to succeed; None if it did not say.
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """An agent's answer."""

    output: Message
    #: The session of the call, also when it was made by it; "" without one.
    session_id: str
    #: Number of entries of the session after the call; 0 without one.
    session_version: int

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
    """Calls the agents of one runtime.

    ``async with AgentClient("localhost:50051", tls_dir, server_name="r.team.svc") as client:``
    """

    def __init__(
        self,
        address: str,
        tls_dir: Path | str | CertificateFiles | None,
        server_name: str | None = None,
        *,
        max_message_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        """Prepare a client; the connection is made at the first call.

        Args:
            address: ``host:port`` or a gRPC target.
            tls_dir: Directory with ``tls.crt``, ``tls.key`` and ``ca.crt``, or the three files. They are
                followed when they change. None: plaintext.
            server_name: The name that the server's certificate must have, when ``address`` has another.
            max_message_bytes: Largest message in either direction.

        Raises:
            InvalidCertificateError: the files in ``tls_dir`` cannot be used.
        """
        source = Path(tls_dir) if isinstance(tls_dir, str) else tls_dir
        store = CertificateStore(source, purpose="client") if source is not None else None
        self._channel = ReloadingChannel(
            address,
            store,
            server_name=server_name,
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
        stub = pb_grpc.AgentServiceStub(self._channel.current())  # type: ignore[no-untyped-call]
        request = _request(agent, message, session_id, user_id, idempotency_key, session)
        try:
            return _result(await stub.Execute(request, timeout=timeout))
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error

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

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        stub = pb_grpc.AgentServiceStub(self._channel.current())  # type: ignore[no-untyped-call]
        request = _request(agent, message, session_id, user_id, idempotency_key, session)
        call = stub.ExecuteStream(request, timeout=timeout)
        try:
            async for event in call:
                if event.WhichOneof("event") == "partial":
                    yield from_wire(event.partial)
                else:
                    yield _result(event.final)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        finally:
            call.cancel()

    async def send(self, target: str, message: Message, *, timeout: float | None = None) -> None:
        """Put a message into an agent's channel; :meth:`listen` takes it out.

        Raises:
            RpcError: the call failed, or no connection was made.
        """
        stub = pb_grpc.AgentServiceStub(self._channel.current())  # type: ignore[no-untyped-call]
        try:
            await stub.Send(pb.SendRequest(target=target, message=to_wire(message)), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error

    async def listen(self, agent: str) -> AsyncGenerator[Message, None]:
        """Yield the messages that are put into an agent's channel, until it is closed.

        Raises:
            RpcError: the call failed, or the connection ended.
        """
        stub = pb_grpc.AgentServiceStub(self._channel.current())  # type: ignore[no-untyped-call]
        call = stub.Listen(pb.ListenRequest(agent_name=agent))
        try:
            async for event in call:
                yield from_wire(event.message)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        finally:
            call.cancel()


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
    return ExecuteResult(from_wire(response.output), response.session_id, response.session_version)


def _translated(error: grpc.aio.AioRpcError) -> RpcError:
    return RpcError(error.code(), error.details() or "", retry_after(tuple(error.trailing_metadata() or ())))
