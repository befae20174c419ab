"""Torn, changed, lost: what is left of a session's file, and what a store makes of it."""

# ruff: noqa: ASYNC240, PT012 - files and servers are looked at from the side

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.conversations import conversation, message, texts
from tests.support.session_processes import line_of, worker

from aixgo.session import (
    CheckpointCorruptedError,
    FileBackend,
    Manager,
    SessionCorruptedError,
    SessionNotFoundError,
)
from aixgo.session.inspect import verify

# -- crashes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 50, -1])
async def test_a_torn_entry_is_cut_and_reported(directory: Path, kept: int) -> None:
    session_id, log = await conversation(directory, "a", "b")
    whole = log.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    (directory / ".aixgo.lock").write_text("a crash")
    log.write_bytes(whole + last[:kept])
    backend = FileBackend(directory)
    async with Manager(backend) as manager:
        assert await texts(await manager.get(session_id)) == ["a", "b"]
        assert log.read_bytes() == whole
        (repair,) = backend.repairs
        assert (repair.session_id, repair.agent_name) == (session_id, "assistant")
        assert "never completed" in repair.text


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"garbage\n", b"{}\n{}\n"])
async def test_garbage_at_the_end_is_cut(directory: Path, tail: bytes) -> None:
    session_id, log = await conversation(directory, "a")
    whole = log.read_bytes()
    log.write_bytes(whole + tail)
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        assert await texts(session) == ["a"]
        await session.append_message(message("b"))
        assert await texts(session) == ["a", "b"]
    assert log.read_bytes().startswith(whole + b'{"id":')


async def test_half_a_turn_is_never_seen(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("before"))
        async with session.turn(idempotency_key="k") as turn:
            await turn.append_messages([message("question"), message("answer")])
    log = directory / "assistant" / f"{session.id}.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session.id)
        assert (await texts(session), session.message_count, session.version) == (["before"], 1, 1)
        async with session.turn(idempotency_key="k") as turn:
            assert turn.replayed is None
            await turn.append_message(message("again"))
        assert await texts(session) == ["before", "again"]


async def test_what_is_left_of_a_creation_is_no_session(directory: Path) -> None:
    await conversation(directory, "a")
    left = directory / "assistant" / "half.jsonl"
    left.write_bytes(b"")
    (directory / ".aixgo.lock").write_text("a crash")
    async with Manager(FileBackend(directory)) as manager:
        assert len(await manager.list("assistant")) == 1
        with pytest.raises(SessionNotFoundError):
            await manager.get("half")
        assert not left.exists()


async def test_damage_in_the_middle_is_an_error_and_not_cut(directory: Path) -> None:
    session_id, log = await conversation(directory, "a", "b", "c")
    lines = log.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], b"{damaged\n", *lines[2:]])
    log.write_bytes(damaged)
    other_id, _ = await conversation(directory, "fine")
    async with Manager(FileBackend(directory)) as manager:
        with pytest.raises(SessionCorruptedError, match="line 2"):
            await manager.get(session_id)
        assert [session.id for session in await manager.list("assistant")] == [other_id]
        report = await verify(manager.backend)
        assert [(problem.session_id, problem.repaired) for problem in report.problems] == [
            (session_id, False)
        ]
        assert not report.ok
        assert log.read_bytes() == damaged
        repaired = await verify(manager.backend, repair=True)
        assert [(problem.session_id, problem.repaired) for problem in repaired.problems] == [
            (session_id, True)
        ]
        assert repaired.ok
        assert (await verify(manager.backend)).problems == []
        session = await manager.get(session_id)
        assert await texts(session) == ["b", "c"]
        assert log.with_suffix(".damaged").read_bytes() == damaged
        await manager.delete(session_id)
        assert not list(log.parent.glob(f"{session_id}*"))


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_killed_writers_lose_nothing_acknowledged(directory: Path, durability: str) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
    store = {"path": str(directory), "durability": durability}
    for number in range(4):
        with worker("append", store, session.id) as process:
            acknowledged = [int(line_of(process)) for _ in range(10 + 7 * number)]
        async with Manager(FileBackend(directory)) as manager:
            found = await texts(await manager.get(session.id))
            assert found == list(range(len(found)))
            assert len(found) >= acknowledged[-1]
            assert (await manager.get(session.id)).message_count == len(found)
            assert (await verify(manager.backend)).ok
    for log in directory.glob("*/*.jsonl"):
        assert all(json.loads(line) for line in log.read_bytes().split(b"\n")[:-1])


# -- tampering -------------------------------------------------------------------------------------------


def change_content(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'\\"b\\"', b'\\"B\\"') for line in lines]


def remove_entry(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def swap_entries(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def break_entry(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], b"x" + lines[2], *lines[3:]]


def change_checkpoint(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"why":"now"', b'"why":"not"') for line in lines]


@pytest.mark.parametrize("open_before", [False, True])
@pytest.mark.parametrize(
    "tamper", [change_content, remove_entry, swap_entries, break_entry, change_checkpoint]
)
async def test_a_tampered_checkpoint_is_refused(directory: Path, tamper: object, open_before: bool) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        for text in ("a", "b", "c"):
            await session.append_message(message(text))
        checkpoint = await session.checkpoint(metadata={"why": "now"})
        await session.append_message(message("d"))
        log = directory / "assistant" / f"{session.id}.jsonl"
        if not open_before:
            await manager.close()
        lines = log.read_bytes().splitlines(keepends=True)
        changed = b"".join(tamper(lines))  # type: ignore[operator]
        assert changed != b"".join(lines)
        log.write_bytes(changed)
        async with Manager(FileBackend(directory)) as again:
            other = manager if open_before else again
            restored = session if open_before else None
            with pytest.raises((CheckpointCorruptedError, SessionCorruptedError)) as caught:
                restored = restored or await other.get(session.id)
                await restored.restore(checkpoint.id)
            if restored is not None:
                assert caught.type is CheckpointCorruptedError
        assert log.read_bytes() == changed


# -- the index -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["lost", "empty", "partial", "stale", "no object"])
async def test_the_index_is_rebuilt(directory: Path, damage: str) -> None:
    async with Manager(FileBackend(directory)) as manager:
        gone = await manager.create("assistant", user_id="bob")
    index = directory / "assistant" / "sessions.json"
    stale = index.read_text()
    async with Manager(FileBackend(directory)) as manager:
        await manager.delete(gone.id)
        session = await manager.create("assistant", user_id="ada", metadata={"k": "v"})
        await session.append_message(message("a"))
    good = index.read_text()
    if damage == "lost":
        index.unlink()
    else:
        text = {"empty": "", "partial": good[: len(good) // 2], "stale": stale, "no object": "[]"}
        index.write_text(text[damage])
    async with Manager(FileBackend(directory)) as manager:
        (found,) = await manager.list("assistant")
        assert (found.id, found.user_id, found.metadata) == (session.id, "ada", {"k": "v"})
        assert (await manager.get_or_create("assistant", "ada")).id == session.id
        await found.append_message(message("b"))
    entries = json.loads(index.read_text())
    assert list(entries) == [session.id]
    entry = entries[session.id]
    assert (entry["userId"], entry["messageCount"]) == ("ada", 2)
    assert entry["currentLeaf"] == found.current_leaf
