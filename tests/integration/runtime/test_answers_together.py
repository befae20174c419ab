"""When the service holds an answer back, and when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import Message, agent
from aixgo.contract import AgentConfig
from aixgo.observability.metrics import NoMetrics
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import together
from aixgo.rpc.authorization import Authorizer
from aixgo.rpc.convert import to_wire
from aixgo.rpc.service import AgentService, Callee, Rules
from aixgo.rpc.together import MANY
from aixgo.runtime.channels import Channels
from aixgo.runtime.gate import CallGate
from aixgo.session import FileBackend, Manager

CONFIG = AgentConfig(name="echo", namespace="team", role="custom")


@agent("echo")
async def echo(message: Message) -> Message:
    """Return the message."""
    return message


class Agents:
    """One agent that is always there."""

    def wanted(self, name: str) -> AgentConfig | None:
        return CONFIG if name == CONFIG.name else None

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Callee]:
        del name
        yield Callee(CONFIG, echo)


class Sessions:
    """The sessions of one manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @contextmanager
    def borrow(self) -> Iterator[Manager]:
        yield self._manager

    def look_now(self) -> None:
        raise AssertionError("the backend failed")


class Context:
    """A call that has so many seconds."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float | None:
        return self._seconds


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with Manager(FileBackend(tmp_path / "s", durability="os")) as manager:
        yield manager


@pytest.fixture
def service(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> AgentService:
    """Return a service at which everybody stays at work, and whose answers wait for all of them."""
    monkeypatch.setattr(together, "LATELY", 3600.0)
    monkeypatch.setattr(together, "QUIET", 3600.0)
    nothing: Any = None
    return AgentService(
        agents=Agents(),
        sessions=Sessions(manager),
        gate=CallGate(),
        channels=Channels(),
        rules=Rules(Authorizer("cluster.local", enforced=False), "team"),
        metrics=NoMetrics(),
        on_model_unreachable=nothing,
    )


def call(
    service: AgentService, session_id: str = "", seconds: float | None = None
) -> asyncio.Task[pb.ExecuteResponse]:
    request = pb.ExecuteRequest(
        agent_name="echo", input=to_wire(Message.new("user", {"text": "hello"})), session_id=session_id
    )
    context: Any = Context(seconds)
    return asyncio.create_task(service.Execute(request, context))


async def test_answers_of_many_sessions_leave_together_but_not_late(
    service: AgentService, manager: Manager
) -> None:
    sessions = [await manager.create("echo") for _ in range(2 * MANY)]
    service._together._now.update(session.id for session in sessions)
    service._together._since = time.monotonic()
    held = [call(service, session.id) for session in sessions[:-1]]
    await call(service)  # one without a session is not held,
    assert (await call(service, sessions[-2].id, seconds=0.5)).session_version == 4  # nor one in a hurry
    assert not any(each.done() for each in held)
    assert [session.version for session in sessions] == [*[2] * (2 * MANY - 2), 4, 0], "they are stored"
    last = await call(service, sessions[-1].id)
    answers = [*(await asyncio.gather(*held)), last]
    assert {answer.session_version for answer in answers} == {2}
