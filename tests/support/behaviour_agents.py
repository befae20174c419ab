"""The agents of the behaviour suite. They are the same in the test's process and in a child process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aixgo
from aixgo import Message, Runtime
from aixgo.agents.errors import AgentNotImplementedError
from aixgo.agents.protocol import Mailbox
from aixgo.agents.text import text_of
from aixgo.errors import StorageError
from aixgo.runtime.call_context import caller_chain, remaining_seconds
from aixgo.runtime.errors import (
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    UsageLimitError,
)
from aixgo.session import current_session
from aixgo.session.context import has_session

#: What an agent raises must not reach its caller.
SECRET = "key sk-12345 in /etc/aixgo/secrets on 10.0.0.1"


class Panic(BaseException):
    """What an extension module raises that panics: no Exception."""


class Lab:
    """What happened to the agents of this process, and what lets them go on."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.runtime: Runtime | None = None
        self.inside = self.most = self.produced = 0

    def note(self, event: str) -> None:
        self.events.append(event)

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    def reset(self, runtime: Runtime | None) -> None:
        self.__init__()  # type: ignore[misc]
        self.runtime = runtime


LAB = Lab()


@aixgo.agent("echo")
async def echo(message: Message) -> Message:
    return message


@aixgo.agent("recall")
async def recall(message: Message) -> str:
    history = await current_session().get_messages() if has_session() else []
    return " | ".join(text_of(item) for item in [*history, message])


@aixgo.agent("tally")
async def tally(message: Message) -> str:
    """Say how long the history was, twice: a turn in between would be seen."""
    before = len(await current_session().get_messages())
    await asyncio.sleep(0.001)
    return f"{before} {len(await current_session().get_messages())}"


@aixgo.agent("count")
async def count(message: Message) -> str:
    LAB.produced += 1
    return str(LAB.produced)


@aixgo.agent("annotate")
async def annotate(message: Message) -> str:
    await current_session().append_message(Message.new("note", {"text": "noted"}))
    return "answer"


@aixgo.agent("stream")
async def stream(message: Message) -> AsyncIterator[str]:
    for part in ("one ", "two ", text_of(message)):
        yield part


@aixgo.agent("endless")
async def endless(message: Message) -> AsyncIterator[dict[str, Any]]:
    try:
        while True:
            LAB.produced += 1
            yield {"part": LAB.produced, "filling": "x" * 1000}
            await asyncio.sleep(0)
    finally:
        LAB.note("endless closed")


@aixgo.agent("half")
async def half(message: Message) -> AsyncIterator[str]:
    yield "half"
    raise ValueError(SECRET)


@aixgo.agent("fail")
async def fail(message: Message) -> str:
    raise {
        "busy": ModelRateLimitError("the model provider's rate limit is reached", 3.0),
        "limited": UsageLimitError("maxRequests"),
        "away": ModelUnavailableError("the model provider failed"),
        "long": InvalidRequestError("input", "is too long"),
        "store": StorageError("the disk at /var/lib/aixgo is full"),
        "role": AgentNotImplementedError("fail", "execute"),
        "exit": SystemExit(SECRET),
        "panic": Panic(SECRET),
    }.get(text_of(message), ValueError(SECRET))


@aixgo.agent("nothing")
async def nothing(message: Message) -> None:
    return None


@aixgo.agent("hang")
async def hang(message: Message) -> str:
    LAB.note("hang entered")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        LAB.note("hang cancelled")
        raise
    return ""


@aixgo.agent("wait")
async def wait(message: Message) -> str:
    LAB.inside += 1
    LAB.most = max(LAB.most, LAB.inside)
    LAB.note("wait entered")
    try:
        await LAB.gate("go").wait()
    finally:
        LAB.inside -= 1
    return text_of(message)


@aixgo.agent("context")
async def context(message: Message) -> dict[str, Any]:
    return {
        "remaining": remaining_seconds(),
        "chain": list(caller_chain()),
        "session": has_session(),
    }


@aixgo.agent("ask")
async def ask(message: Message) -> Message:
    """Ask the agent that the message names."""
    assert LAB.runtime is not None
    return await LAB.runtime.call(text_of(message), message)


class _Echo:
    """Answers with what it got, once it says that it is ready."""

    role = "custom"
    _ready = False

    async def stop(self) -> None:
        self._ready = False

    async def execute(self, message: Message) -> Message:
        return message

    def ready(self) -> bool:
        return self._ready


class Worker(_Echo):
    """Works until it is stopped, as the Go program's agents do, and sends on what comes in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._mailbox: Mailbox | None = None

    def bind(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def start(self) -> None:
        assert self._mailbox is not None
        self._ready = True
        LAB.note(f"{self.name} started")
        try:
            while True:
                message = await self._mailbox.recv("work")
                await self._mailbox.send("done", message)
        finally:
            LAB.note(f"{self.name} ended")


class Late(_Echo):
    """Is ready when its gate opens."""

    name = "late"

    async def start(self) -> None:
        await LAB.gate("late").wait()
        self._ready = True
        LAB.note("late ready")


class Lone:
    """Says in which context its own work is done."""

    role = "custom"
    name = "lone"

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    async def start(self) -> None:
        self._told = {
            "remaining": remaining_seconds(),
            "chain": list(caller_chain()),
            "session": has_session(),
        }

    async def stop(self) -> None: ...

    async def execute(self, message: Message) -> Message:
        return Message.new("told", self._told)

    def ready(self) -> bool:
        return bool(self._told)


class Broken:
    """Says that it is ready before it has been started, and then fails to start."""

    role = "custom"
    name = "broken"

    async def start(self) -> None:
        await asyncio.sleep(0)
        raise ValueError(SECRET)

    async def stop(self) -> None: ...

    async def execute(self, message: Message) -> Message:
        return message

    def ready(self) -> bool:
        return True


def all_agents() -> list[Any]:
    answering = [echo, recall, tally, count, annotate, nothing, fail, hang, wait, context, ask]
    return [*answering, stream, endless, half, Worker("worker"), Late(), Lone(), Broken()]
