"""Conformance: messages, branches and checkpoints."""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, D102

from __future__ import annotations

import asyncio
import uuid

from aixgo.errors import (
    CheckpointMismatchError,
    CheckpointNotFoundError,
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionNotFoundError,
)
from aixgo.message import Message
from aixgo.session import formats
from aixgo.session.inspect import verify
from aixgo.session.testing.common import Conformance, fails, message, texts


class HistoryConformance(Conformance):
    """What is in a session."""

    async def test_messages_come_back_as_they_were(self) -> None:
        hard = ["", "日本語 \u2028\u2029 <&>", "line\r\n\ttab", "nul \0 del \x7f", "\ufeffbom", 'q"\\', "😀"]
        sent = [Message.new("user", {"text": text}) for text in hard]
        sent += [Message("", "", text, "", {"k": {"n": 2**53 + 1, "f": 0.1, "z": None}}) for text in hard]
        sent.append(Message.new("assistant", "x" * (1 << 20)).with_metadata("größe", [1, {"a": "b"}]))
        async with self.manager() as manager:
            session = await manager.create("assistant")
            for each in sent:
                await session.append_message(each)
            assert await session.get_messages() == sent
            assert session.message_count == session.version == len(sent)
        async with self.manager() as manager:
            assert await (await manager.get(session.id)).get_messages() == sent

    async def test_pages_of_messages(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            sent = [message(number) for number in range(300)]
            await session.append_messages(sent)
            assert await session.get_messages(limit=3) == sent[-3:]
            assert await session.get_messages(limit=0) == []
            assert await session.get_messages(limit=1000) == sent
            assert await session.get_messages(before=sent[4].id) == sent[:4]
            assert await session.get_messages(limit=2, before=sent[298].id) == sent[296:298]
            assert await session.get_messages(limit=5, before=sent[0].id) == []
            await fails(session.get_messages(limit=-1), ValueError, "negative")
            await fails(session.get_messages(before="unknown"), ValueError, "unknown")
            await fails(session.get_messages(branch="unknown"), ValueError, "unknown")

    async def test_concurrent_appends_make_one_chain(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")

            async def write(writer: int) -> None:
                for number in range(10):
                    await session.append_message(message(f"{writer}-{number}"))
                    await session.get_messages(limit=3)

            await asyncio.gather(*(write(writer) for writer in range(10)))
            found = [each.payload.strip('"') for each in await session.get_messages()]
            assert len(found) == len(set(found)) == session.message_count == 100
            for writer in range(10):
                mine = [text for text in found if text.startswith(f"{writer}-")]
                assert mine == [f"{writer}-{number}" for number in range(10)]
            assert [branch.message_count for branch in await session.list_branches()] == [100]
            entries = [formats.decode_entry(line) for line in await manager.backend.export(session.id)]
            chain = [entry for entry in entries if entry["type"] == formats.MESSAGE]
            parents = [entry.get("parentId") for entry in chain]
            assert parents == [None, *(entry["id"] for entry in chain[:-1])]

    async def test_several_messages_are_appended_together_or_not(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            await session.append_messages([message("a"), message("b")])
            bad = Message("id", "user", "half \ud800", "")
            await fails(session.append_messages([message("c"), bad, message("d")]), InvalidMessageError)
            assert texts(await session.get_messages()) == ['"a"', '"b"']
            await session.append_messages([])
            assert session.version == 2

    async def test_an_expected_version_protects_against_others(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            await session.append_message(message("a"), expected_version=0)
            seen = session.version
            await session.append_messages([message("b"), message("c")], expected_version=seen)
            await fails(session.append_message(message("x"), expected_version=seen), SessionConflictError)
            await fails(session.append_message(message("x"), expected_version=99), SessionConflictError)
            await fails(session.append_message(message("x"), expected_version=-1), ValueError)
            outcomes = await asyncio.gather(
                *(session.append_message(message(number), expected_version=3) for number in range(5)),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes].count(type(None)) == 1
            assert sum(isinstance(outcome, SessionConflictError) for outcome in outcomes) == 4
            assert len(await session.get_messages()) == session.version == 4

    async def test_another_manager_sees_every_acknowledged_change(self) -> None:
        async with self.manager() as one, self.manager() as two:
            session = await one.create("assistant", user_id="ada")
            seen = await two.get(session.id)
            for number in range(5):
                await session.append_message(message(number))
                assert len(await seen.get_messages()) == number + 1
            checkpoint = await session.checkpoint()
            assert [each.id for each in await seen.list_checkpoints()] == [checkpoint.id]
            await session.append_message(message("later"))
            await session.restore(checkpoint.id)
            assert texts(await seen.get_messages()) == ["0", "1", "2", "3", "4"]
            assert (await two.get(session.id)).message_count == 5
            assert seen.version == session.version
            await one.delete(session.id)
            await fails(seen.get_messages(), SessionNotFoundError)

    async def test_restore_is_durable_and_keeps_branches(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            for text in "abc":
                await session.append_message(message(text))
            checkpoint = await session.checkpoint(metadata={"why": "before the risk"})
            for text in "de":
                await session.append_message(message(text))
            left = session.current_leaf
            version = session.version
            await session.restore(checkpoint.id)
            assert texts(await session.get_messages()) == ['"a"', '"b"', '"c"']
            assert (session.message_count, session.current_leaf) == (3, checkpoint.entry_id)
            assert session.version == version + 1
            await session.append_message(message("f"))
        async with self.manager() as manager:
            session = await manager.get(session.id)
            assert texts(await session.get_messages()) == ['"a"', '"b"', '"c"', '"f"']
            assert session.message_count == 4
            current, other = await session.list_branches()
            assert (current.leaf, current.message_count, current.current) == (session.current_leaf, 4, True)
            assert (other.leaf, other.message_count, other.current) == (left, 5, False)
            old = await session.get_messages(branch=left)
            assert texts(old) == ['"a"', '"b"', '"c"', '"d"', '"e"']
            assert await session.get_messages(branch=left, limit=2) == old[-2:]
            assert await session.get_messages(branch=left, before=old[2].id, limit=1) == old[1:2]
            (found,) = await session.list_checkpoints()
            assert found == checkpoint
            assert found.metadata == {"why": "before the risk"}
            assert (await verify(manager.backend)).problems == []

    async def test_restoring_forwards_and_backwards(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            empty = await session.checkpoint()
            await session.append_message(message("root"))
            one = await session.checkpoint()
            await session.append_message(message("old"))
            two = await session.checkpoint()
            await session.restore(one.id)
            await session.append_message(message("new"))
            three = await session.checkpoint()
            await session.restore(two.id)
            await session.append_message(message("old again"))
            assert texts(await session.get_messages()) == ['"root"', '"old"', '"old again"']
            await session.restore(three.id)
            assert texts(await session.get_messages(limit=1)) == ['"new"']
            await session.restore(empty.id)
            assert await session.get_messages() == []
            assert (session.message_count, session.current_leaf) == (0, "")
            await session.append_message(message("fresh"))
            assert texts(await session.get_messages()) == ['"fresh"']
            counts = sorted(branch.message_count for branch in await session.list_branches())
            assert counts == [1, 2, 3]
            order = [checkpoint.id for checkpoint in await session.list_checkpoints()]
            assert order == [empty.id, one.id, two.id, three.id]
            assert empty.entry_id == ""
        async with self.manager() as manager:
            assert texts(await (await manager.get(session.id)).get_messages()) == ['"fresh"']

    async def test_wrong_checkpoints_are_refused(self) -> None:
        async with self.manager() as manager:
            session, other = await manager.create("assistant"), await manager.create("helper")
            await session.append_message(message("a"))
            foreign = await other.checkpoint()
            await fails(session.restore(str(uuid.uuid4())), CheckpointNotFoundError, "checkpoint not found")
            text = "checkpoint belongs to different session"
            await fails(session.restore(foreign.id), CheckpointMismatchError, text)
            await fails(session.restore("../x"), InvalidPathComponentError, "invalid checkpoint ID: ")
            assert (session.version, texts(await session.get_messages())) == (1, ['"a"'])
