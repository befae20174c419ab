"""What an agent is, and the decorator that makes one of a function."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from aixgo.agents.text import ASSISTANT, answer, join_parts
from aixgo.message import Message

#: What a function agent may return: a message, a text, or the payload of a message.
Answer = Message | str | Mapping[str, Any]
AgentFunction = Callable[[Message], Awaitable[Answer]]
StreamingFunction = Callable[[Message], AsyncIterator[Answer]]


class Mailbox(Protocol):
    """The channels of a runtime, as an agent sees them (Go: Runtime.Send and Runtime.Recv).

    Every agent name is one channel. A message is received once, in the order of sending.
    """

    async def send(self, target: str, message: Message) -> None:
        """Put a message into the channel ``target``; waits, within the runtime's limit, while it is full."""

    async def recv(self, source: str) -> Message:
        """Take the oldest message out of the channel ``source``; waits until there is one."""


@runtime_checkable
class Agent(Protocol):
    """An agent (Go: Agent).

    Optional methods that a runtime uses when they are there:

    * ``execute_stream(message) -> AsyncIterator[Message]``: parts of the answer. Parts ``{"text": ...}`` are
      joined into the answer; otherwise the last part is the answer.
    * ``execute_with_session(message, session) -> Message``: instead of ``execute`` in a call with a session.
      The session is also :func:`aixgo.session.current_session`, in every method.
    * ``create_checkpoint() -> Mapping`` and ``restore_from_checkpoint(state) -> None``: the agent's own
      state, kept in the checkpoints of its sessions that its own process makes and restores. Both may be
      coroutines. The agent is one for all its sessions: what belongs to one of them is best kept by its id.
    * ``set_memory(reader) -> None``: takes a :class:`aixgo.agents.memory.MemoryReader`, before ``start``.
    * ``bind(mailbox) -> None``: takes the channels of the runtime (:class:`Mailbox`). Called once, before
      ``start``, for agents that send and receive by themselves.
    """

    @property
    def name(self) -> str:
        """The agent's name; calls are addressed to it."""

    @property
    def role(self) -> str:
        """What kind of agent it is, such as ``react``."""

    async def start(self) -> None:
        """Prepare, or work until :meth:`stop`.

        Runs as a task of its own; an exception makes the start fail.
        """

    async def execute(self, message: Message) -> Message:
        """Answer one message. An exception fails this call only."""

    async def stop(self) -> None:
        """End what :meth:`start` began and free what the agent holds."""

    def ready(self) -> bool:
        """Whether the agent answers calls now. May also be a plain attribute or a property."""


def is_ready(candidate: Agent) -> bool:
    """Return whether the agent says it is ready, be ``ready`` a method or an attribute."""
    ready: Any = candidate.ready
    return bool(ready() if callable(ready) else ready)


def to_message(value: object) -> Message:
    """Turn what a function returned into a message: a text or a mapping becomes the payload of an answer.

    Raises:
        TypeError: the value is none of the three.
    """
    if isinstance(value, Message):
        return value
    if isinstance(value, str):
        return answer(value)
    if isinstance(value, Mapping):
        return Message.new(ASSISTANT, dict(value))
    raise TypeError(f"an agent must return a Message, a text or a mapping, not {type(value).__name__}")


class FunctionAgent:
    """A function as an agent. It is ready at once and may still be called as the function that it was."""

    def __init__(self, name: str, function: AgentFunction, role: str = "custom") -> None:
        self.name = name
        self.role = role
        self._function = function
        self.__doc__ = function.__doc__

    def __call__(self, message: Message) -> Awaitable[Answer]:
        """Call the function."""
        return self._function(message)

    async def start(self) -> None:
        """Do nothing: a function needs no preparation."""

    async def execute(self, message: Message) -> Message:
        """Call the function.

        Raises:
            TypeError: it returned something that is no answer.
        """
        return to_message(await self._function(message))

    async def stop(self) -> None:
        """Do nothing."""

    def ready(self) -> bool:
        """Return True: a function is always ready."""
        return True


class StreamingFunctionAgent:
    """An asynchronous generator as an agent: every value that it yields is a part of the answer."""

    def __init__(self, name: str, function: StreamingFunction, role: str = "custom") -> None:
        self.name = name
        self.role = role
        self._function = function
        self.__doc__ = function.__doc__

    def __call__(self, message: Message) -> AsyncIterator[Answer]:
        """Call the generator function."""
        return self._function(message)

    async def start(self) -> None:
        """Do nothing: a function needs no preparation."""

    async def execute(self, message: Message) -> Message:
        """Run the generator to its end and return the whole answer.

        Raises:
            TypeError: it yielded nothing, or something that is no answer.
        """
        whole = join_parts([part async for part in self.execute_stream(message)])
        return to_message(whole)

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Yield the parts of the answer."""
        async for part in self._function(message):
            yield to_message(part)

    async def stop(self) -> None:
        """Do nothing."""

    def ready(self) -> bool:
        """Return True: a function is always ready."""
        return True


def agent(
    name: str, *, role: str = "custom"
) -> Callable[[Callable[..., Any]], FunctionAgent | StreamingFunctionAgent]:
    """Make an agent of an ``async def`` function that takes a message, or of an asynchronous generator.

    Raises:
        TypeError: the decorated object is neither.
    """

    def decorate(function: Callable[..., Any]) -> FunctionAgent | StreamingFunctionAgent:
        return function_agent(name, function, role=role)

    return decorate


def function_agent(
    name: str, function: Callable[..., Any], *, role: str = "custom"
) -> FunctionAgent | StreamingFunctionAgent:
    """Return ``function`` as an agent called ``name``.

    Raises:
        TypeError: it is neither an ``async def`` function nor an asynchronous generator function.
    """
    if inspect.isasyncgenfunction(function):
        return StreamingFunctionAgent(name, function, role)
    if inspect.iscoroutinefunction(function):
        return FunctionAgent(name, function, role)
    raise TypeError(f"agent {name!r}: the function must be declared with 'async def'")
