"""A reader of a channel in another process: what a broken connection held back comes with the next one."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import grpc

from aixgo.errors import AixgoError
from aixgo.identifiers import new_id
from aixgo.message import Message
from aixgo.rpc.client import RpcError
from aixgo.rpc.deliveries import WINDOW
from aixgo.rpc.metadata import Listening
from aixgo.runtime.channels import Channels

if TYPE_CHECKING:
    from aixgo.rpc.client import AgentClient

#: Seconds between two tries to connect again: the first pause and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
#: Acknowledgements of this many seconds go together.
ACKNOWLEDGE_SECONDS = 0.02
#: How long leaving may take, in seconds; without it the messages go back a little later.
LEAVE_SECONDS = 1.0
#: The connection broke, or whoever answers will be replaced.
_TRANSIENT: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class _Arrival(NamedTuple):
    message: Message
    number: int
    numbering: str
    #: It was handed out, or waits to be, under another numbering.
    again: bool


class Listener:
    """Reads an agent's channel in its process. For one event loop; any number of tasks may receive."""

    def __init__(self, client: AgentClient, agent: str, patience: float = 30.0) -> None:
        """Prepare; nothing is sent before the first :meth:`receive`.

        Args:
            client: The connection.
            agent: Whose channel.
            patience: How many seconds a broken connection is tried again.
        """
        self._client = client
        self._agent = agent
        self._patience = patience
        self._reader = new_id()
        self._numbering = ""
        #: Numbers of the last message that arrived, that was handed out, and that the other side knows of.
        self._arrived = self._handed = self._told = 0
        #: What was not handed out: arrivals, and at last the error that ended the reading.
        self._arrivals: Any = Channels(buffer_size=WINDOW, send_timeout=math.inf, full_warning_threshold=101)
        #: Ids of what arrived last: a numbering that begins anew may bring them again.
        self._recent: deque[str] = deque(maxlen=2 * WINDOW)
        self._known: frozenset[str] = frozenset()
        self._connected = False
        self._broken_since: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Return the next message, waiting for one. A caller that is cancelled leaves it to the next one.

        Raises:
            RpcError: there is no such agent, or it may not be called, or the connection stayed broken.
            RuntimeNotStartedError: :meth:`close` was called meanwhile.
        """
        while True:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            item: _Arrival | AixgoError = await self._arrivals.receive(self._agent)
            if isinstance(item, AixgoError):
                self._reading = None
                raise item
            if item.numbering == self._numbering:
                self._handed = item.number
                self._tell_soon()
            if not item.again:
                return item.message

    async def close(self) -> None:
        """Leave, for good; messages that were not handed out go back to their channel."""
        tasks = [task for task in (self._reading, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._arrivals.close()
        if self._numbering and self._connected:
            self._connected = False
            with contextlib.suppress(AixgoError):
                await self._client.acknowledge(self._agent, self._listening("leave"), LEAVE_SECONDS)

    def _listening(self, only: str = "") -> Listening:
        return Listening(self._reader, self._numbering, self._handed, only)

    async def _read(self) -> None:
        """Keep a connection and fill the queue from it, until there is no hope."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            error = RpcError(grpc.StatusCode.UNAVAILABLE, "the connection ended")
            try:
                await self._read_connection()
            except RpcError as failed:
                error = failed
                if failed.code not in _TRANSIENT:
                    break
            if self._connected:
                self._broken_since, pause = None, FIRST_PAUSE
                self._connected = False
            if self._broken_since is None:
                self._broken_since = loop.time()
            if loop.time() - self._broken_since >= self._patience:
                break
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads the load
            pause = min(pause * 2, LONGEST_PAUSE)
        self._broken_since = None
        await self._arrivals.send(self._agent, error)

    async def _read_connection(self) -> None:
        # Until the other side has begun to number, it must not hear of more than it is told here.
        number = self._told = self._handed
        connection = self._client.connect_channel(self._agent, self._listening())
        async with aclosing(connection):
            numbering = str(await anext(connection))
            if numbering != self._numbering:
                # A call that fails has no numbering, and says so only afterwards.
                number = self._handed if not numbering else 0
                if numbering:
                    self._known = frozenset(self._recent)
                    self._numbering = numbering
                    self._arrived = self._handed = self._told = 0
            self._connected = bool(numbering)
            self._tell_soon()
            async for message in connection:
                if not numbering:  # a server that knows no acknowledgements
                    self._broken_since = None
                    await self._arrivals.send(
                        self._agent, _Arrival(cast("Message", message), 0, "", again=False)
                    )
                    continue
                number += 1
                if number <= self._arrived:
                    continue
                again = isinstance(message, Message) and message.id in self._known
                arrival = _Arrival(cast("Message", message), number, numbering, again)
                await self._arrivals.send(self._agent, arrival)
                self._arrived = number
                if isinstance(message, Message):
                    self._recent.append(message.id)

    def _tell_soon(self) -> None:
        idle = self._telling is None or self._telling.done()
        if idle and self._connected and self._numbering and self._told < self._handed:
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """Acknowledge what was handed out."""
        while self._connected and self._told < self._handed:
            await asyncio.sleep(ACKNOWLEDGE_SECONDS)
            if not self._connected:
                return
            listening = self._listening("acknowledge")
            try:
                await self._client.acknowledge(self._agent, listening, LEAVE_SECONDS)
            except RpcError:
                return  # the next connection tells
            if listening.numbering == self._numbering:
                self._told = max(self._told, listening.acknowledged)
