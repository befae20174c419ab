"""The optional methods of agents: their state in checkpoints, and a memory to look things up in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aixgo import Message, Runtime
from aixgo.agents.memory import MemoryEntry, MemoryReader
from aixgo.errors import CheckpointCorruptedError, InvalidMessageError
from aixgo.session import FileBackend, Manager


class Counter:
    """Counts what it was asked, and looks up what was said."""

    role = "custom"

    def __init__(self, name: str = "counter") -> None:
        self.name = name
        self.count = 0
        self.memory: MemoryReader | None = None
        self.found: list[MemoryEntry] = []

    def set_memory(self, memory: MemoryReader) -> None:
        self.memory = memory

    async def start(self) -> None:
        assert self.memory is not None

    async def execute(self, message: Message) -> Message:
        self.count += 1
        assert self.memory is not None
        self.found = await self.memory.search("blue SKY", 2)
        entries = await self.memory.list()
        assert [await self.memory.read(entry.key) for entry in entries] == entries
        assert await self.memory.read("nothing") is None
        return Message.new("assistant", {"text": f"number {self.count}"})

    async def stop(self) -> None:
        pass

    def ready(self) -> bool:
        return True

    async def create_checkpoint(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore_from_checkpoint(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def asked(text: str) -> Message:
    return Message.new("question", {"text": text})


async def test_the_state_of_an_agent_goes_with_its_checkpoints(tmp_path: Path) -> None:
    agent = Counter()
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(agent)
        session = await sessions.create("counter")
        other = await sessions.create("other")
        await runtime.call_with_session("counter", asked("one"), session.id)
        checkpoint = await session.checkpoint(metadata={"why": "so"})
        assert checkpoint.metadata == {"why": "so", "agentState": {"count": 1}}
        assert (await other.checkpoint()).metadata == {}
        await runtime.call_with_session("counter", asked("two"), session.id)
        assert agent.count == 2
        await session.restore(checkpoint.id)
        assert (agent.count, session.message_count) == (1, 2)
    # Another process, after a restart: the agent gets it there, too.
    later = Counter()
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(later)
        session = await sessions.get(session.id)
        await session.restore(checkpoint.id)
        assert later.count == 1
        await runtime.unregister("counter")
        assert (await session.checkpoint()).metadata == {}


async def test_a_state_that_cannot_be_stored_stores_nothing(tmp_path: Path) -> None:
    agent = Counter()
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(agent)
        session = await sessions.create("counter")
        agent.count = object()  # type: ignore[assignment]
        with pytest.raises(InvalidMessageError):
            await session.checkpoint()
        assert await session.list_checkpoints() == []


async def test_a_checkpoint_with_a_changed_state_is_refused(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(Counter())
        session = await sessions.create("counter")
        checkpoint = await session.checkpoint()
    log = tmp_path / "counter" / f"{session.id}.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"count":0', b'"count":7'))
    agent = Counter()
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(agent)
        with pytest.raises(CheckpointCorruptedError):
            await (await sessions.get(session.id)).restore(checkpoint.id)
        assert agent.count == 0


async def test_memory_is_the_conversation_and_nothing_else(tmp_path: Path) -> None:
    agent = Counter()
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(agent)
        mine, theirs = [await sessions.create("counter", user_id=user) for user in ("ada", "bob")]
        for text in ("The sky is blue.", "a blue, blue sky", "BLUE skylight", "the sea"):
            await mine.append_message(asked(text))
        await theirs.append_message(asked("my blue sky"))
        await runtime.call_with_session("counter", asked("which sky?"), mine.id)
        assert [entry.value for entry in agent.found] == ["BLUE skylight", "a blue, blue sky"]
        assert {entry.source for entry in agent.found} == {mine.id}
        await runtime.call("counter", asked("and without a session?"))
        assert agent.found == []
