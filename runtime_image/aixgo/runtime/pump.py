"""Lets an agent that answers calls work on channels: inputs become calls, answers become messages.

Agents that act on their own (producers, loggers, aggregators) read and send by themselves through the mailbox
that they are bound to; the others get a pump.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec

from aixgo.agents.base import SENDER
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentFailedError, RuntimeNotStartedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aixgo.agents.protocol import Agent, Mailbox
    from aixgo.message import Message

#: Longest payload that is taken off a channel, in bytes (the number of Aixgo).
MAX_PAYLOAD_BYTES = 100 * 1024
#: The type of what agents of these roles send on, where it is not that of their answers (Go: the same).
SENT_TYPES = {"react": "analysis", "planner": "reasoning_plan"}
#: Control characters, but for those that texts have.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_log = get_logger("aixgo.runtime.pump")


def needs_pump(agent: Agent, inputs: Sequence[str]) -> bool:
    """Return whether an agent with these inputs cannot read them by itself."""
    return bool(inputs) and not hasattr(agent, "bind")


class InputPump:
    """Takes messages off the inputs of one agent, lets it answer, and sends the answers to its outputs.

    Every input has one message in work at a time, so its order is kept. A message that cannot be answered is
    logged and dropped; the next one is taken.
    """

    def __init__(
        self,
        name: str,
        *,
        role: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        mailbox: Mailbox,
        call: Callable[[Message], Awaitable[Message]],
    ) -> None:
        """Make a pump.

        Args:
            name: The agent's name, for the log.
            role: Its role; it decides on the type of what is sent (:data:`SENT_TYPES`).
            inputs: The sources to read.
            outputs: The targets that every answer is sent to.
            mailbox: The agent's own view of the channels.
            call: Lets the agent answer, with the limits of the process.
        """
        self._name = name
        self._role = role
        self._inputs = tuple(dict.fromkeys(inputs))
        self._outputs = tuple(dict.fromkeys(outputs))
        self._mailbox = mailbox
        self._call = call
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._busy: set[str] = set()
        self._stopping = False

    def start(self) -> None:
        """Begin to read the inputs."""
        for source in self._inputs:
            task = asyncio.create_task(self._read(source), name=f"{source} -> {self._name}")
            self._readers[source] = task

    async def stop(self, grace: float = 0.0) -> bool:
        """Take no more messages; let those in work end for ``grace`` seconds, then cancel them.

        Returns:
            Whether all of them ended by themselves.
        """
        self._stopping = True
        for source, task in self._readers.items():
            if source not in self._busy:
                task.cancel()
        readers = list(self._readers.values())
        if not readers:
            return True
        _, unfinished = await asyncio.wait(readers, timeout=grace)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        return not unfinished

    async def _read(self, source: str) -> None:
        while not self._stopping:
            try:
                message = await self._mailbox.recv(source)
            except RuntimeNotStartedError:  # it was stopped, and nothing is left
                return
            if message is None:  # as in Go, channels also carry nothing
                continue
            self._busy.add(source)
            try:
                await self._work(source, message)
            finally:
                self._busy.discard(source)

    async def _work(self, source: str, message: Message) -> None:
        why = unfit(message)
        if why is not None:
            _log.warning("message refused", agent=self._name, source=source, id=message.id, reason=why)
            return
        try:
            answer = await self._call(message)
        except Exception as error:  # noqa: BLE001 - the next message may be better
            self._failed("message not answered", message, error)
            return
        # As in Go, what is sent has the id of what it answers.
        kind = SENT_TYPES.get(self._role, answer.type)
        answer = msgspec.structs.replace(answer, id=message.id, type=kind).with_metadata(SENDER, self._name)
        for target in self._outputs:
            try:
                await self._mailbox.send(target, answer)
            except Exception as error:  # noqa: BLE001 - the other targets get it
                self._failed(f"answer not sent to {target}", message, error)

    def _failed(self, what: str, message: Message, error: Exception) -> None:
        if isinstance(error, RuntimeNotStartedError):  # channels end with the process
            _log.warning(what, agent=self._name, id=message.id, error=str(error))
            return
        # Nobody else gets to see why an agent failed.
        cause = error.__cause__ if isinstance(error, AgentFailedError) else None
        _log.error(what, agent=self._name, id=message.id, error=str(error), exc_info=cause)


def unfit(message: Message) -> str | None:
    """Return why a message must not reach an agent from a channel; None if it may."""
    if len(message.payload.encode()) > MAX_PAYLOAD_BYTES:
        return f"the payload is longer than {MAX_PAYLOAD_BYTES} bytes"
    if _CONTROLS.search(message.payload):
        return "the payload has control characters"
    return None
