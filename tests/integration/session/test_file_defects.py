"""Defects S01 to S13 of the original, on files: what a session says."""

# ruff: noqa: ASYNC240, N802 - files are looked at from the side; the numbers are written with a capital

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.conversations import message, texts
from tests.support.session_processes import line_of, lines_of, worker

from aixgo.errors import InvalidMessageError
from aixgo.session import (
    CheckpointCorruptedError,
    FileBackend,
    Manager,
)
from aixgo.session.inspect import verify


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().splitlines()]


async def test_S01_a_restore_is_durable_and_seen_by_everybody(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("kept"))
        checkpoint = await session.checkpoint()
        await session.append_message(message("rolled back"))
        async with Manager(FileBackend(directory)) as reader:
            seen = await reader.get(session.id)
            await session.restore(checkpoint.id)
            assert await texts(seen) == ["kept"]
            await session.append_message(message("new"))
            assert await texts(seen) == ["kept", "new"]
    async with Manager(FileBackend(directory)) as manager:
        assert await texts(await manager.get(session.id)) == ["kept", "new"]


async def test_S02_a_restore_to_nothing_holds(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        checkpoint = await session.checkpoint()
        await session.append_message(message("a"))
        await session.restore(checkpoint.id)
        assert await texts(session) == []
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session.id)
        assert (await texts(session), session.message_count) == ([], 0)
        await session.append_message(message("b"))
    assert "parentId" not in entries(directory / "assistant" / f"{session.id}.jsonl")[-1]


@pytest.mark.parametrize("tamper", ["change", "remove", "reorder"])
async def test_S03_a_restore_verifies_the_content(directory: Path, tamper: str) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        for text in ("aa", "bb", "cc"):
            await session.append_message(message(text))
        checkpoint = await session.checkpoint()
    log = directory / "assistant" / f"{session.id}.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    if tamper == "change":
        lines[2] = lines[2].replace(b"bb", b"xx")
    elif tamper == "remove":
        del lines[2]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    log.write_bytes(b"".join(lines))
    async with Manager(FileBackend(directory)) as manager:
        with pytest.raises(CheckpointCorruptedError):
            await (await manager.get(session.id)).restore(checkpoint.id)
    assert log.read_bytes() == b"".join(lines)


async def test_S04_the_count_is_the_number_of_messages(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        checkpoints = [await session.checkpoint()]
        for number in range(6):
            await session.append_messages([message(number), message(number)])
            checkpoints.append(await session.checkpoint())
        for checkpoint in reversed(checkpoints):
            await session.restore(checkpoint.id)
            assert session.message_count == len(await session.get_messages()) == checkpoint.message_count


async def test_S05_readers_and_appenders_make_one_chain(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")

        async def add(name: int) -> None:
            for number in range(10):
                await session.append_message(message([name, number]))
                checkpoint = await session.checkpoint()
                await session.get_messages()
                assert checkpoint.message_count is not None
                assert checkpoint.message_count > number

        await asyncio.gather(*(add(name) for name in range(8)))
        found = await texts(session)
        for name in range(8):
            assert [each[1] for each in found if each[0] == name] == list(range(10))
        log = entries(directory / "assistant" / f"{session.id}.jsonl")
    chain = [entry for entry in log if entry["type"] == "message"]
    assert [entry.get("parentId") for entry in chain] == [None, *(entry["id"] for entry in chain[:-1])]


async def test_S06_concurrent_gets_share_one_state(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session_id = (await manager.create("assistant")).id
    async with Manager(FileBackend(directory)) as manager:
        found = await asyncio.gather(*(manager.get(session_id) for _ in range(10)))
        assert len({id(session) for session in found}) == 1


async def test_S07_one_session_for_a_user_however_many_ask(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        found = await asyncio.gather(*(manager.get_or_create("assistant", "ada") for _ in range(20)))
        assert len({session.id for session in found}) == 1
    store = {"path": str(directory)}
    with (
        worker("get_or_create", store, "assistant", "bob") as one,
        worker("get_or_create", store, "assistant", "bob") as two,
    ):
        assert lines_of(one) == lines_of(two)


async def test_S08_readers_see_what_was_acknowledged(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as writer, Manager(FileBackend(directory)) as reader:
        session = await writer.create("assistant")
        seen = await reader.get(session.id)
        for number in range(20):
            await session.append_message(message(number))
            assert await texts(seen) == list(range(number + 1))
            await seen.refresh()
            assert (seen.message_count, seen.current_leaf) == (number + 1, session.current_leaf)


async def test_S09_closing_brings_nothing_back(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        doomed = await manager.create("assistant", user_id="ada")
        await doomed.append_message(message("a"))
    async with Manager(FileBackend(directory)) as reader:
        stale = await reader.get(doomed.id)
        async with Manager(FileBackend(directory)) as manager:
            await manager.delete(doomed.id)
        await stale.close()
    assert not list(directory.glob("*/*.jsonl"))
    assert json.loads((directory / "assistant" / "sessions.json").read_text()) == {}


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_S10_killed_anywhere_count_and_leaf_match_the_log(directory: Path, durability: str) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session_id = (await manager.create("assistant")).id
    with worker("append", {"path": str(directory), "durability": durability}, session_id) as process:
        for _ in range(25):
            acknowledged = int(line_of(process))
    log = directory / "assistant" / f"{session_id}.jsonl"
    log.write_bytes(log.read_bytes()[:-5])  # and a torn tail
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.get(session_id)
        found = await texts(session)
        assert found == list(range(len(found)))
        # What was cut by hand is in the log of fsync, and nowhere else with os.
        assert len(found) >= acknowledged - (2 if durability == "os" else 0)
        assert session.message_count == len(found)
        assert session.current_leaf == entries(log)[-1]["id"]
        assert (await verify(manager.backend)).ok


@pytest.mark.parametrize("index", ["", "{", '{"half":{"id":', None])
async def test_S11_the_index_is_replaced_as_a_whole_and_rebuilt(directory: Path, index: str | None) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant", user_id="ada")
        await session.append_message(message("a"))
    path = directory / "assistant" / "sessions.json"
    good = json.loads(path.read_text())
    if index is None:
        path.unlink()
    else:
        path.write_text(index)
    async with Manager(FileBackend(directory)) as manager:
        (found,) = await manager.list("assistant", user_id="ada")
        assert found.id == session.id
        await found.append_message(message("b"))
        await found.refresh()
    assert json.loads(path.read_text())[session.id]["userId"] == good[session.id]["userId"] == "ada"


async def test_S12_every_place_where_a_line_can_be_torn(directory: Path, tmp_path: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message("a"))
        await session.append_message(message("b"))
    whole = (directory / "assistant" / f"{session.id}.jsonl").read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(begin, len(whole), 7):
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        (copy / "assistant" / f"{session.id}.jsonl").write_bytes(whole[:cut])
        async with Manager(FileBackend(copy)) as manager:
            again = await manager.get(session.id)
            assert await texts(again) == ["a"]
            await again.append_message(message("c"))
            assert await texts(again) == ["a", "c"]
        shutil.rmtree(copy)


@pytest.mark.parametrize("size", [64 * 1024, 1 << 20, 15 << 20])
async def test_S13_what_was_accepted_can_be_read(directory: Path, size: int) -> None:
    text = "x" * size
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_message(message(text))
        with pytest.raises(InvalidMessageError):
            await session.append_message(message("x" * (17 << 20)))
        await session.append_message(message("small"))
    async with Manager(FileBackend(directory)) as manager:
        assert await texts(await manager.get(session.id)) == [text, "small"]
