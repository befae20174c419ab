"""An agent of another process, as an agent of this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aixgo.rpc.client import AgentClient, CallerSession, ExecuteResult, RpcError
from aixgo.rpc.listener import Listener
from aixgo.runtime.errors import AgentNotReadyError, ChannelFullError
from aixgo.runtime.relayed_errors import local_error
from aixgo.session import current_session
from aixgo.session.context import has_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aixgo.message import Message
    from aixgo.session import Session

#: Seconds between two questions whether the agent is serving.
POLL_SECONDS = 0.1
#: More time than the other side waits for room, in seconds, so that its own answer arrives.
ANSWER_SECONDS = 1.0


class RemoteAgent:
    """Calls the agent of this name in another process; the history of the current session goes along."""

    role = "remote"
    #: What it raises is what the other runtime raised, not a failure of its own.
    relays_errors = True

    def __init__(
        self, name: str, address: str, make_client: Callable[[], AgentClient], patience: float = 30.0
    ) -> None:
        """Make an agent; no connection is made before the first use.

        Args:
            name: The agent's name in the other process.
            address: Where it is.
            make_client: Makes the connection.
            patience: How many seconds a broken connection to a channel is tried again.
        """
        self.name = name
        self.address = address
        self._make_client = make_client
        self._patience = patience
        self._client: AgentClient | None = None
        self._listener: Listener | None = None
        self._started = False

    @property
    def client(self) -> AgentClient:
        """The connection to the other process; made at the first use."""
        if self._client is None:
            self._client = self._make_client()
        return self._client

    async def start(self) -> None:
        """Wait until the other side says that the agent is serving."""
        while not await self._serving():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(POLL_SECONDS)
        self._started = True

    async def stop(self) -> None:
        """Close the connection."""
        self._started = False
        listener, self._listener = self._listener, None
        client, self._client = self._client, None
        try:
            if listener is not None:
                await listener.close()
        finally:
            if client is not None:
                await client.close()

    def ready(self) -> bool:
        """Whether the other side has been met. Whether it serves now, a call tells."""
        return self._started

    async def execute(self, message: Message) -> Message:
        """Call the agent, without a session.

        Raises:
            AixgoError: the error that the agent's own runtime would have raised.
        """
        try:
            return (await self.client.execute(self.name, message)).output
        except RpcError as error:
            raise local_error(error, self.name) from error

    async def execute_with_session(self, message: Message, session: Session) -> Message:
        """Call the agent with the history of a session; what it adds to the session is added here.

        Raises:
            AixgoError: as :meth:`execute`.
        """
        try:
            result = await self.client.execute(self.name, message, session=await _shipped(session))
        except RpcError as error:
            raise local_error(error, self.name) from error
        await _add(result, session)
        return result.output

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Call the agent and yield the parts of its answer; the answer itself if it has no parts.

        Raises:
            AixgoError: as :meth:`execute`.
        """
        session = current_session() if has_session() else None
        shipped = await _shipped(session) if session is not None else None
        parts = False
        try:
            async for event in self.client.execute_stream(self.name, message, session=shipped):
                if not isinstance(event, ExecuteResult):
                    parts = True
                    yield event
                    continue
                if session is not None:
                    await _add(event, session)
                if not parts:
                    yield event.output
        except RpcError as error:
            raise local_error(error, self.name) from error

    async def send(self, message: Message | None, *, timeout: float, sender: str = "") -> None:
        """Put a message into the agent's channel in its process.

        Raises:
            ChannelFullError: there was no room in ``timeout`` seconds.
            AixgoError: as :meth:`execute`.
        """
        try:
            await self.client.send(
                self.name, message, timeout=timeout + ANSWER_SECONDS, wait=timeout, sender=sender
            )
        except RpcError as error:
            if error.reason == "CHANNEL_FULL" or error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ChannelFullError(self.name) from error
            raise local_error(error, self.name) from error

    async def receive(self) -> Message:
        """Take the oldest message out of the agent's channel in its process, over however many connections.

        Raises:
            RuntimeNotStartedError: :meth:`stop` was called meanwhile.
            AgentNotReadyError: the connection stayed broken.
            AixgoError: as :meth:`execute`.
        """
        if self._listener is None:
            self._listener = Listener(self.client, self.name, self._patience)
        try:
            return await self._listener.receive()
        except RpcError as error:
            raise local_error(error, self.name) from error

    async def _serving(self) -> bool:
        stub: Any = health_pb2_grpc.HealthStub(self.client.channel())
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=self.name), timeout=5)
        except grpc.aio.AioRpcError:
            return False
        except asyncio.CancelledError:
            raise
        except grpc.aio.UsageError as error:  # closed meanwhile
            raise AgentNotReadyError(self.name) from error
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _shipped(session: Session) -> CallerSession:
    history = tuple(await session.get_messages())
    return CallerSession(session.id, session.user_id, session.agent_name, history)


async def _add(result: ExecuteResult, session: Session) -> None:
    if result.appended:
        await session.append_messages(result.appended)
