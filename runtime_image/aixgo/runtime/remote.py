"""An agent of another process, as an agent of this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aixgo.errors import SessionNotInContextError
from aixgo.rpc.client import AgentClient, CallerSession, ExecuteResult, RpcError
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    ModelRateLimitError,
    ModelUnavailableError,
    RuntimeNotStartedError,
)
from aixgo.session import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from aixgo.message import Message

#: Seconds between two questions whether the agent is serving.
POLL_SECONDS = 0.1


class RemoteAgent:
    """Calls the agent of this name in another process; the history of the current session goes along."""

    role = "remote"

    def __init__(self, name: str, make_client: Callable[[], AgentClient]) -> None:
        self.name = name
        self._make_client = make_client
        self._client: AgentClient | None = None
        self._started = False
        self._listening: AsyncGenerator[Message, None] | None = None

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
        if self._listening is not None:
            await self._listening.aclose()
            self._listening = None
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def ready(self) -> bool:
        """Whether the other side has been met. Whether it serves now, a call tells."""
        return self._started

    async def execute(self, message: Message) -> Message:
        """Call the agent.

        Raises:
            AixgoError: the error that the agent's own runtime would have raised.
        """
        try:
            return (await self.client.execute(self.name, message, session=await _session())).output
        except RpcError as error:
            raise self._local_error(error) from error

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Call the agent and yield the parts of its answer; the answer itself if it has no parts."""
        parts = False
        try:
            async for event in self.client.execute_stream(self.name, message, session=await _session()):
                if not isinstance(event, ExecuteResult):
                    parts = True
                    yield event
                elif not parts:
                    yield event.output
        except RpcError as error:
            raise self._local_error(error) from error

    async def receive(self) -> Message:
        """Take the oldest message out of the agent's channel in its process.

        Raises:
            RpcError: the connection ended; the next call makes a new one.
        """
        if self._listening is None:
            self._listening = self.client.listen(self.name)
        try:
            message = await anext(self._listening, None)
        except BaseException:  # a generator that was left by an exception is at its end
            self._listening = None
            raise
        if message is None:
            self._listening = None
            raise RuntimeNotStartedError
        return message

    async def _serving(self) -> bool:
        stub: Any = health_pb2_grpc.HealthStub(self.client.channel())
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=self.name), timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _local_error(self, error: RpcError) -> Exception:
        """Return the error that a local agent would have given, where there is one."""
        code = grpc.StatusCode
        if error.code is code.NOT_FOUND:
            return AgentNotFoundError(self.name)
        if error.code is code.UNAVAILABLE and error.text.startswith("the model"):
            return ModelUnavailableError(error.text)
        if error.code is code.UNAVAILABLE:  # its text may name an address
            return AgentNotReadyError(self.name)
        if error.code is code.RESOURCE_EXHAUSTED:
            return ModelRateLimitError(error.text, error.retry_after)
        if error.code is code.INTERNAL:
            return AgentFailedError(self.name)
        return error


async def _session() -> CallerSession | None:
    try:
        session = current_session()
    except SessionNotInContextError:
        return None
    history = tuple(await session.get_messages())
    return CallerSession(session.id, session.user_id, session.agent_name, history)
