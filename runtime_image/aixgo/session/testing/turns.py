"""Conformance: turns and leases."""

# These are tests: they assert, and their names say what they test.
# ruff: noqa: S101, D102

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from aixgo.errors import (
    InvalidMessageError,
    SessionConflictError,
)
from aixgo.session.testing.common import Conformance, enter, fails, message, outside, texts
from aixgo.session.types import Append

if TYPE_CHECKING:
    from aixgo.message import Message


class TurnConformance(Conformance):
    """Turns of one session exclude each other and are all or nothing."""

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

    async def test_a_turn_waits_as_long_as_it_was_told(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            async with session.turn():
                await fails(outside(session.turn(timeout=0.01).__aenter__()), SessionConflictError, "busy")
            wrong: tuple[Any, ...] = (-1, "1", float("nan"), float("inf"), True)
            for timeout in wrong:

                async def enter_with(timeout: Any = timeout) -> None:
                    async with session.turn(timeout=timeout):
                        pass

                await fails(enter_with(), ValueError, "timeout")

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
                waiting = outside(try_once())
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
            await fails(enter(session, ""), InvalidMessageError)

    async def test_a_lost_lease_cannot_write(self) -> None:
        async with self.manager() as manager:
            session = await manager.create("assistant")
            backend = manager.backend
            stale = (await backend.begin_turn(session.id, idempotency_key=None, timeout=1.0)).lease
            await backend.release_lease(stale)
            fresh = (await backend.begin_turn(session.id, idempotency_key=None, timeout=1.0)).lease
            await backend.release_lease(stale)  # must not take it from the new holder
            append = Append(str(uuid.uuid4()), (message("stale"),), lease=stale)
            await fails(backend.append(session.id, append), SessionConflictError)
            await fails(backend.renew_lease(stale), SessionConflictError)
            await backend.renew_lease(fresh)
            await backend.append(session.id, Append(str(uuid.uuid4()), (message("fresh"),), lease=fresh))
            await backend.release_lease(fresh)
            assert texts(await session.get_messages()) == ['"fresh"']
