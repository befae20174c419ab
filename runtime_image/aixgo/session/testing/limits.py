"""Conformance: bad input, closing, export and import."""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, D102

from __future__ import annotations

from typing import Any

from aixgo.errors import (
    AixgoError,
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    StorageClosedError,
)
from aixgo.message import Message
from aixgo.session import validation
from aixgo.session.inspect import export_session, import_session, verify
from aixgo.session.manager import Manager
from aixgo.session.testing.common import BAD_NAMES, Conformance, fails, message, texts


class LimitConformance(Conformance):
    """What is refused, and how a session moves."""

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
