"""The conformance suite of session backends.

Those of this library and those of third parties run the same tests.

With pytest-asyncio in its mode ``auto``::

    class TestMyBackend(BackendConformance):
        @pytest.fixture(autouse=True)
        def store(self, tmp_path):
            self.directory = tmp_path

        async def open_backend(self):
            return MyBackend(self.directory)
"""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, D102, PT017

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aixgo.errors import (
    AixgoError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionNotFoundError,
    StorageClosedError,
)
from aixgo.message import Message
from aixgo.session import formats, validation
from aixgo.session.inspect import export_session, import_session, verify
from aixgo.session.manager import Manager
from aixgo.session.types import Append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from aixgo.session.backend import Backend
    from aixgo.session.session import Session

BAD_NAMES = (
    "",
    ".",
    "..",
    "../etc",
    "..\\etc",
    "foo..bar",
    "../../../etc/passwd",
    "a/b",
    "a\\b",
    "nul\0",
    "line\n",
    "escape\x1b",
    "a" * 300,
    "\ud800",
)


def texts(messages: Iterable[Message]) -> list[str]:
    """Return the payloads of messages."""
    return [message.payload for message in messages]


def message(text: object, type_: str = "user") -> Message:
    """Return a message."""
    return Message.new(type_, text)


async def fails(awaitable: Awaitable[Any], error: type[Exception], text: str = "") -> None:
    """Make sure that something raises an error with a text."""
    try:
        await awaitable
    except error as raised:
        assert text in str(raised), f"{raised!r} does not say {text!r}"
    else:
        raise AssertionError(f"{error.__name__} was not raised")


class BackendConformance:
    """Subclass it, implement :meth:`open_backend`, and let pytest collect the subclass."""

    async def open_backend(self) -> Backend:
        """Return one more backend on the same store. Each test begins with an empty store."""
        raise NotImplementedError

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[Manager]:
        """Open a manager on the store."""
        async with Manager(await self.open_backend()) as manager:
            yield manager

    # -- sessions ----------------------------------------------------------------------------------------

    async def test_a_created_session_is_found_again(self) -> None:
        metadata = {"topic": "Größe", "nested": {"n": [1, 2.5, None, True]}}
        async with self.manager() as manager:
            session = await manager.create("assistant", user_id="ada", metadata=metadata)
            assert str(uuid.UUID(session.id)) == session.id
            assert (session.message_count, session.version, session.current_leaf) == (0, 0, "")
            assert await session.get_messages() == []
        async with self.manager() as manager:
            found = await manager.get(session.id)
            assert (found.id, found.agent_name, found.user_id) == (session.id, "assistant", "ada")
            assert found.metadata == metadata
            assert found.created_at == session.created_at

    async def test_unknown_and_foreign_sessions_are_not_found(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant", user_id="ada")
            assert (await manager.get(session.id, user_id="ada")).id == session.id
            await fails(manager.get(str(uuid.uuid4())), SessionNotFoundError, "session not found")
            await fails(manager.get(session.id, user_id="bob"), SessionNotFoundError, "session not found")

    async def test_one_manager_hands_out_one_object(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            found = await asyncio.gather(*(manager.get(session.id) for _ in range(5)))
            assert all(other is session for other in found)

    async def test_an_id_can_be_chosen_once(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant", session_id="chosen-1")
            assert session.id == "chosen-1"
            await session.append_message(message("kept"))
            await fails(manager.create("assistant", session_id="chosen-1"), SessionConflictError)
            await fails(manager.create("other", session_id="chosen-1"), SessionConflictError)
            assert texts(await session.get_messages()) == ['"kept"']

    async def test_get_or_create_makes_one_session_per_agent_and_user(self) -> None:
        async with self.manager() as manager:
            raced = await asyncio.gather(*(manager.get_or_create("assistant", "ada") for _ in range(20)))
            assert len({session.id for session in raced}) == 1
            assert len(await manager.list("assistant")) == 1
            other_user = await manager.get_or_create("assistant", "bob")
            other_agent = await manager.get_or_create("helper", "ada")
            assert len({raced[0].id, other_user.id, other_agent.id}) == 3
            nobody = await asyncio.gather(*(manager.get_or_create("assistant", "") for _ in range(3)))
            assert len({session.id for session in nobody}) == 3

    async def test_get_or_create_returns_the_newest(self) -> None:
        async with self.manager() as manager:
            first = await manager.create("assistant", user_id="ada")
            second = await manager.create("assistant", user_id="ada")
            assert (await manager.get_or_create("assistant", "ada")).id == second.id
            await first.append_message(message("newer"))
            assert (await manager.get_or_create("assistant", "ada")).id == first.id

    async def test_racing_managers_make_one_session(self) -> None:
        async with self.manager() as one, self.manager() as two:
            raced = await asyncio.gather(
                *(manager.get_or_create("assistant", "ada") for manager in (one, two) * 4)
            )
            assert len({session.id for session in raced}) == 1

    async def test_list_is_newest_first_and_in_full_pages(self) -> None:
        async with self.manager() as manager:
            sessions = [await manager.create("assistant", user_id=user) for user in ("a", "b", "a", "b", "a")]
            await sessions[1].append_message(message("touched"))
            ids = [session.id for session in sessions]
            newest = [ids[1], ids[4], ids[3], ids[2], ids[0]]

            async def listed(**options: Any) -> list[str]:
                return [session.id for session in await manager.list("assistant", **options)]

            assert await listed() == newest
            assert await listed(user_id="a") == [ids[4], ids[2], ids[0]]
            assert await listed(limit=2) == newest[:2]
            assert await listed(limit=2, offset=2) == newest[2:4]
            assert await listed(offset=4) == newest[4:]
            assert await listed(limit=10, offset=9) == []
            assert await manager.list("nobody") == []
            await manager.delete(ids[3])
            assert await listed(limit=3) == [ids[1], ids[4], ids[2]]
            wrong: tuple[dict[str, Any], ...] = ({"limit": -1}, {"offset": -1}, {"limit": -1, "offset": -1})
            for options in wrong:
                await fails(manager.list("assistant", **options), ValueError, "negative")

    async def test_agents_are_listed(self) -> None:
        async with self.manager() as manager:
            assert await manager.backend.list_agents() == []
            for agent in ("zeta", "alpha", "alpha"):
                await manager.create(agent)
            assert await manager.backend.list_agents() == ["alpha", "zeta"]

    async def test_delete_removes_everything(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant", user_id="ada")
            await session.append_message(message("gone"))
            checkpoint = await session.checkpoint()
            await manager.delete(session.id)
            for awaitable in (
                manager.get(session.id),
                manager.delete(session.id),
                session.append_message(message("again")),
                session.get_messages(),
                session.checkpoint(),
                session.list_checkpoints(),
                session.restore(checkpoint.id),
                session.turn().__aenter__(),
            ):
                await fails(awaitable, SessionNotFoundError, "session not found")
            assert await manager.list("assistant") == []
            await session.close()
            assert await manager.list("assistant") == []
            await fails(manager.delete(str(uuid.uuid4())), SessionNotFoundError)
            other = await manager.create("assistant", user_id="ada")
            await fails(other.restore(checkpoint.id), CheckpointNotFoundError, "checkpoint not found")
            assert (await manager.get_or_create("assistant", "ada")).id == other.id
            again = await manager.create("assistant", session_id=session.id)
            assert await again.get_messages() == []

    async def test_a_session_lives_as_long_as_it_is_used(self) -> None:
        async with self.manager() as manager:
            used = await manager.create("assistant", user_id="ada", ttl_seconds=0.8)
            left = await manager.create("assistant", user_id="bob", ttl_seconds=0.8)
            lasting = await manager.create("assistant", user_id="eve", ttl_seconds=0)
            checkpoint = await left.checkpoint()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                await used.append_message(message("still here"))
                try:
                    await manager.get(left.id)
                except SessionNotFoundError:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("the session that nobody used is still there")
            ids = {session.id for session in await manager.list("assistant")}
            assert ids == {used.id, lasting.id}
            await fails(left.append_message(message("too late")), SessionNotFoundError)
            await fails(left.restore(checkpoint.id), SessionNotFoundError)
            assert (await manager.get_or_create("assistant", "bob")).id != left.id
            assert used.ttl_seconds == 0.8

    # -- messages ----------------------------------------------------------------------------------------

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

    # -- checkpoints -------------------------------------------------------------------------------------

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

    # -- turns -------------------------------------------------------------------------------------------

    async def test_a_turn_is_committed_at_its_end(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            await session.append_message(message("before"))
            async with session.turn() as turn:
                assert turn.replayed is None
                await turn.append_message(message("question"))
                await session.append_message(message("joined"))
                await turn.append_message(message("answer", "assistant"))
                assert texts(await session.get_messages()) == ['"before"']
                assert texts(await turn.get_messages(limit=2)) == ['"joined"', '"answer"']
                assert texts(await turn.get_messages()) == ['"before"', '"question"', '"joined"', '"answer"']
            expected = ['"before"', '"question"', '"joined"', '"answer"']
            assert texts(await session.get_messages()) == expected
            assert session.version == 4
            await fails(turn.append_message(message("too late")), SessionConflictError)

    async def test_a_failed_turn_leaves_nothing(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            with contextlib.suppress(ZeroDivisionError):
                async with session.turn(idempotency_key="k") as turn:
                    await turn.append_message(message("lost"))
                    raise ZeroDivisionError
            inside = asyncio.Event()

            async def cancelled() -> None:
                async with session.turn() as turn:
                    await turn.append_message(message("lost, too"))
                    inside.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(cancelled())
            await inside.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            async with asyncio.timeout(5), session.turn(idempotency_key="k") as turn:
                assert turn.replayed is None
            assert await session.get_messages() == []
            assert session.version == 0

    async def test_turns_exclude_each_other_and_appends(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")

            async def take_turn(number: int) -> None:
                async with session.turn() as turn:
                    seen = len(await session.get_messages())
                    await turn.append_message(message(f"q{number} after {seen}"))
                    await asyncio.sleep(0.005)
                    await turn.append_message(message(f"a{number} after {seen}"))

            await asyncio.gather(
                *(take_turn(number) for number in range(6)),
                *(session.append_message(message(f"single {number}")) for number in range(4)),
            )
            found = [each.payload.strip('"') for each in await session.get_messages()]
            assert len(found) == 16
            for place, text in enumerate(found):
                if text.startswith("q"):
                    assert text.endswith(f"after {place}")
                    assert found[place + 1] == text.replace("q", "a", 1)

    async def test_waiting_for_a_turn_can_end(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            async with session.turn() as turn:
                await turn.append_message(message("mine"))

                async def try_once() -> None:
                    async with session.turn(timeout=0.05):
                        raise AssertionError("two turns at once")

                # In a task without this turn in its context.
                await asyncio.to_thread(lambda: None)
                waiting = _outside(try_once())
                await fails(waiting, SessionConflictError, "busy")
            assert texts(await session.get_messages()) == ['"mine"']

    async def test_an_idempotency_key_is_committed_once(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            ran: list[int] = []

            async def take_turn(number: int) -> list[Message]:
                async with session.turn(idempotency_key="call-1") as turn:
                    if turn.replayed is not None:
                        return turn.replayed
                    ran.append(number)
                    await turn.append_messages([message("question"), message(f"answer {number}")])
                    return list(turn.messages)

            answers = await asyncio.gather(*(take_turn(number) for number in range(5)))
            assert len(ran) == 1
            assert all(answer == answers[0] for answer in answers)
            async with session.turn(idempotency_key="call-2") as turn:
                assert turn.replayed is None
                await turn.append_message(message("other"))
        async with self.manager() as manager:
            session = await manager.get(session.id)
            async with session.turn(idempotency_key="call-1") as turn:
                assert turn.replayed == answers[0]
                await fails(turn.append_message(message("again")), SessionConflictError)
            assert session.version == 3
            await fails(_enter(session, ""), InvalidMessageError)

    async def test_a_lost_lease_cannot_write(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            backend = manager.backend
            stale = await backend.acquire_lease(session.id, 1.0)
            await backend.release_lease(stale)
            fresh = await backend.acquire_lease(session.id, 1.0)
            await backend.release_lease(stale)  # must not take it from the new holder
            append = Append(str(uuid.uuid4()), (message("stale"),), lease=stale)
            await fails(backend.append(session.id, append), SessionConflictError)
            await fails(backend.renew_lease(stale), SessionConflictError)
            await backend.renew_lease(fresh)
            await backend.append(session.id, Append(str(uuid.uuid4()), (message("fresh"),), lease=fresh))
            await backend.release_lease(fresh)
            assert texts(await session.get_messages()) == ['"fresh"']

    # -- bad input, closing, moving ----------------------------------------------------------------------

    async def test_bad_names_are_refused(self) -> None:
        async with self.manager() as manager:
            for name in BAD_NAMES:
                await fails(manager.create(name), InvalidPathComponentError, "invalid agent name: ")
                await fails(manager.list(name), InvalidPathComponentError, "invalid agent name: ")
                await fails(manager.get(name), InvalidPathComponentError, "invalid session ID: ")
                await fails(manager.delete(name), InvalidPathComponentError, "invalid session ID: ")
                refused = manager.create("assistant", session_id=name)
                await fails(refused, InvalidPathComponentError, "invalid session ID: ")
            for user in ("nul\0", "\ud800", "u" * 5000):
                await fails(manager.create("assistant", user_id=user), InvalidMessageError, "user id")
            await fails(manager.create("assistant", metadata={"x": object()}), InvalidMessageError)
            await fails(manager.create("assistant", ttl_seconds=-1), ValueError)
            assert await manager.backend.list_agents() == []

    async def test_what_cannot_be_stored_is_refused(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            limit = validation.MAX_ENTRY_BYTES
            bad: list[Any] = [
                Message("i", "user", "x" * (limit + 1), ""),
                Message("i", "user", "\0" * (limit // 3), ""),  # larger as JSON
                Message("\udfff", "user", "", ""),
                Message("i", "user", "", "", {"nan": object()}),
                Message("i", 5, "", ""),  # type: ignore[arg-type]
                "text",
            ]
            for each in bad:
                await fails(session.append_message(each), InvalidMessageError)
            await fails(session.checkpoint(metadata={"x": "y" * 10**6}), InvalidMessageError)
            assert (session.version, await session.get_messages()) == (0, [])
            largest = Message("i", "user", "x" * (limit - 300), "")
            await session.append_message(largest)
            assert await session.get_messages() == [largest]

    async def test_after_closing_everything_is_refused(self) -> None:
        manager = Manager(await self.open_backend())
        session = await manager.create("assistant", user_id="ada")
        await manager.close()
        await manager.close()
        await manager.backend.close()
        for awaitable in (
            manager.create("assistant"),
            manager.get(session.id),
            manager.get_or_create("assistant", "ada"),
            manager.list("assistant"),
            manager.delete(session.id),
            session.append_message(message("late")),
            session.get_messages(),
            session.checkpoint(),
            session.list_checkpoints(),
            session.restore("some-checkpoint"),
            session.turn().__aenter__(),
            manager.backend.ping(),
        ):
            await fails(awaitable, StorageClosedError, "storage backend is closed")

    async def test_a_session_moves_as_a_whole(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant", user_id="ada", metadata={"a": 1}, ttl_seconds=1000)
            await session.append_messages([message("a"), message("b")])
            checkpoint = await session.checkpoint(metadata={"m": 1})
            async with session.turn(idempotency_key="key") as turn:
                await turn.append_message(message("c"))
            await session.restore(checkpoint.id)
            await session.append_message(message("d"))
            later = await session.checkpoint()
            exported = await export_session(manager.backend, session.id)
            await fails(import_session(manager.backend, exported), SessionConflictError)
            branches, version = await session.list_branches(), session.version
            await manager.delete(session.id)
            await import_session(manager.backend, exported)
            again = await manager.get(session.id, user_id="ada")
            assert texts(await again.get_messages()) == ['"a"', '"b"', '"d"']
            assert (again.version, again.metadata, again.ttl_seconds) == (version, {"a": 1}, 1000)
            assert await again.list_branches() == branches
            assert await again.list_checkpoints() == [checkpoint, later]
            async with again.turn(idempotency_key="key") as turn:
                assert turn.replayed is not None
                assert texts(turn.replayed) == ['"c"']
            await again.append_message(message("e"))
            await again.restore(checkpoint.id)
            await again.restore(later.id)
            assert texts(await again.get_messages()) == ['"a"', '"b"', '"d"']
            report = await verify(manager.backend)
            assert (report.ok, report.sessions, report.messages, report.checkpoints) == (True, 1, 5, 2)
            await fails(import_session(manager.backend, b"{}\n"), AixgoError)


async def _enter(session: Session, key: str) -> None:
    async with session.turn(idempotency_key=key):
        pass


async def _outside(awaitable: Awaitable[Any]) -> Any:
    """Await something in a task with an empty context: it is not inside the turn of the caller."""
    import contextvars

    async def run() -> Any:
        return await awaitable

    return await asyncio.get_running_loop().create_task(run(), context=contextvars.Context())
