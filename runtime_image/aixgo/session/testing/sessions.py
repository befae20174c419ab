"""Conformance: making, finding, listing and removing sessions."""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, D102

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from aixgo.errors import (
    CheckpointNotFoundError,
    SessionConflictError,
    SessionNotFoundError,
)
from aixgo.session.testing.common import Conformance, fails, message, texts


class SessionConformance(Conformance):
    """Sessions as a whole."""

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

    async def test_metadata_is_the_stores_own(self) -> None:
        given: dict[str, Any] = {"list": [1], "pair": (1, 2)}
        stored = {"list": [1], "pair": [1, 2]}
        async with self.manager() as manager:
            session = await manager.create("assistant", metadata=given)
            checkpoint = await session.checkpoint(metadata=given)
            assert (session.metadata, checkpoint.metadata) == (stored, stored)
            listed = await session.list_checkpoints()
            for held in (given, session.metadata, checkpoint.metadata, listed[0].metadata):
                assert isinstance(held, dict)
                held["list"].append("changed by who holds it")
                held["more"] = 1
            await session.append_message(message("after"))
            assert session.metadata == stored
            await session.restore(checkpoint.id)
        async with self.manager() as manager:
            found = await manager.get(session.id)
            assert found.metadata == stored
            assert [each.metadata for each in await found.list_checkpoints()] == [stored]

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
