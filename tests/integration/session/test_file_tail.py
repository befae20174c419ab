"""Logs that are known from their ends: the same is seen as by who reads all of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from aixgo import Message
from aixgo.session import FileBackend, Manager, Session
from aixgo.session.inspect import export_session, import_session, verify


def message(text: object, size: int = 0) -> Message:
    return Message.new("user", [text, "x" * size])


def log_of(manager: Manager, session: Session) -> Any:
    return manager.backend._store.hot(session.id)  # type: ignore[attr-defined]


def lines_of(directory: Path, session: Session) -> list[dict[str, Any]]:
    text = (directory / session.agent_name / f"{session.id}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def seen(session: Session) -> tuple[object, ...]:
    return (
        session.message_count,
        session.version,
        session.current_leaf,
        session.user_id,
        dict(session.metadata),
        session.created_at,
        session.updated_at,
    )


@pytest.mark.parametrize("seed", range(6))
async def test_a_reader_that_never_saw_a_session_sees_the_same(directory: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same history again
    ends = 0
    async with Manager(FileBackend(directory, durability="os")) as writer:
        session = await writer.create("assistant", user_id="ada", metadata={"k": seed})
        checkpoints = [await session.checkpoint()]
        for number in range(40):
            kind = chance.choice(["append", "append", "many", "turn", "checkpoint", "restore", "large"])
            if kind == "append":
                for _ in range(chance.randint(1, 30)):
                    await session.append_message(message(number, chance.randint(0, 500)))
            elif kind == "many":
                await session.append_messages([message([number, k]) for k in range(chance.randint(2, 60))])
            elif kind == "large":
                await session.append_message(message(number, chance.randint(10_000, 200_000)))
            elif kind == "turn":
                async with session.turn(idempotency_key=f"key-{number}") as turn:
                    await turn.append_messages([message("question"), message("answer", 3000)])
            elif kind == "checkpoint":
                checkpoints.append(await session.checkpoint())
            else:
                await session.restore(chance.choice(checkpoints).id)
            if number % 4 < 3:
                continue
            async with Manager(FileBackend(directory)) as reader:
                other = await reader.get(session.id)
                ends += not log_of(reader, other).complete
                assert seen(other) == seen(session)
                for limit in (1, 7, 100, None):
                    assert await other.get_messages(limit=limit) == await session.get_messages(limit=limit)
                assert [each.id for each in await other.list_checkpoints()] == [e.id for e in checkpoints]
        assert (await verify(writer.backend)).problems == []
    assert ends > 2


async def test_a_reader_follows_a_writer(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as writer, Manager(FileBackend(directory)) as reader:
        session = await writer.create("assistant")
        first = await session.checkpoint()
        await session.append_messages([message(number, 100) for number in range(200)])
        other = await reader.get(session.id)
        assert not log_of(reader, other).complete
        for number in range(50):
            await session.append_message(message(number, 500))
            assert await other.get_messages(limit=3) == await session.get_messages(limit=3)
        await session.restore(first.id)  # to what the reader does not know
        await session.append_message(message("again"))
        await other.refresh()
        assert seen(other) == seen(session)
        assert await other.get_messages() == await session.get_messages()


async def test_a_branch_lies_between_the_newest_messages(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as writer:
        session = await writer.create("assistant")
        await session.append_messages([message(number, 100) for number in range(40)])
        checkpoint = await session.checkpoint()
        await session.append_message(message("left", 6000))
        await session.restore(checkpoint.id)
        await session.append_message(message("a"))  # before it is a position, before that the branch
        await session.append_message(message("b"))
        async with Manager(FileBackend(directory)) as reader:
            other = await reader.get(session.id)
            assert not log_of(reader, other).complete
            assert await other.get_messages(limit=3) == await session.get_messages(limit=3)
            await session.append_message(message("c"))
            assert await other.get_messages(limit=4) == await session.get_messages(limit=4)
            assert await other.get_messages() == await session.get_messages()


async def test_the_last_line_is_always_the_newest_message(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        for number in range(100):
            await session.append_messages([message(number, 100)] * (1 + number % 3))
            assert lines_of(directory, session)[-1]["id"] == session.current_leaf
        positions = [line for line in lines_of(directory, session) if line["data"].get("event") == "position"]
        assert 10 < len(positions) < 40


async def test_a_copy_is_known_from_its_end_too(directory: Path, tmp_path: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        await session.append_messages([message(number, 100) for number in range(300)])
        await session.append_message(message("last"))
        exported = await export_session(manager.backend, session.id)
        expected = await session.get_messages()
    async with Manager(FileBackend(tmp_path / "copy")) as manager:
        await import_session(manager.backend, exported)
        async with Manager(FileBackend(tmp_path / "copy")) as reader:
            other = await reader.get(session.id)
            assert not log_of(reader, other).complete
            assert await other.get_messages() == expected


async def test_what_another_program_took_out_is_found_and_put_right(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        for number in range(100):
            await session.append_message(message(number, 100))
    path = directory / "assistant" / f"{session.id}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20] + lines[21:]))
    async with Manager(FileBackend(directory)) as manager:
        report = await verify(manager.backend)
        assert any("changed by another program" in problem.text for problem in report.problems)
        report = await verify(manager.backend, repair=True)
        assert all(problem.repaired for problem in report.problems)
        assert not any(line["data"].get("event") == "position" for line in lines_of(directory, session))
        assert (await verify(manager.backend)).problems == []
        repaired = await manager.get(session.id)
        await repaired.append_message(message("more"))
        expected = await repaired.get_messages()
    (directory / "assistant" / "sessions.json").unlink()
    async with Manager(FileBackend(directory)) as manager:
        assert await (await manager.get(session.id)).get_messages() == expected


async def test_what_callers_do_to_messages_stays_with_them(directory: Path) -> None:
    async with Manager(FileBackend(directory)) as manager:
        session = await manager.create("assistant")
        tagged = message("b").with_metadata("tags", ["x"])
        await session.append_messages([message("a"), tagged])
        for _ in range(3):
            plain, with_metadata = await session.get_messages()
            assert plain.metadata == {}
            assert with_metadata == tagged
            plain.metadata["mine"] = 1  # type: ignore[index]
            with_metadata.metadata["tags"].append("mine")
