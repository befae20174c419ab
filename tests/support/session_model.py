"""A session store as simple as can be, and whether a backend does the same for any sequence of operations."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from aixgo import Message
from aixgo.session import CheckpointNotFoundError, Manager, SessionConflictError, SessionNotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aixgo.session import Backend

_SESSIONS = 3
_session = st.integers(0, _SESSIONS - 1)
_number = st.integers(0, 5)

#: Sequences of operations: names and small numbers.
sequences = st.lists(
    st.one_of(
        st.tuples(st.just("append"), _session, st.integers(1, 4)),
        st.tuples(st.just("expect"), _session, _number),
        st.tuples(st.just("checkpoint"), _session, _number),
        st.tuples(st.just("restore"), _session, _number),
        st.tuples(st.just("page"), _session, _number),
        st.tuples(st.just("turn"), _session, _number),
        st.tuples(st.just("fail"), _session, _number),
        st.tuples(st.just("delete"), _session, _number),
        st.tuples(st.just("copy"), _session, _number),
        st.tuples(st.just("reopen"), _session, _number),
    ),
    max_size=40,
)


@dataclass
class ModelSession:
    """What one session must be."""

    id: str
    messages: list[int] = field(default_factory=list)
    version: int = 0
    checkpoints: list[tuple[str, list[int]]] = field(default_factory=list)
    turns: dict[str, list[int]] = field(default_factory=dict)


class _TurnFailedError(Exception):
    """Ends a turn without committing it."""


async def check_sequence(
    open_backend: Callable[[], Awaitable[Backend]], sequence: list[tuple[str, int, int]]
) -> None:
    """Do the operations on a backend and on the model, and compare everything after each.

    Raises:
        AssertionError: they differ.
    """
    agent, count = f"agent-{uuid.uuid4()}", 0
    model: list[ModelSession | None] = [None] * _SESSIONS
    manager = Manager(await open_backend())
    try:
        for name, place, number in sequence:
            if name == "reopen":
                await manager.close()
                manager = Manager(await open_backend())
            else:
                expected = model[place]
                if expected is None:
                    model[place] = expected = ModelSession((await manager.create(agent)).id)
                count += 10
                if not await _step(manager, expected, name, number, count):
                    model[place] = None
            await _compare(manager, agent, [each for each in model if each is not None])
    finally:
        await manager.close()


async def _step(manager: Manager, expected: ModelSession, name: str, number: int, count: int) -> bool:
    """Do one operation on both. Returns whether the session is still there."""
    session = await manager.get(expected.id)
    values = list(range(count, count + max(number, 1)))
    messages = [Message.new("user", value) for value in values]
    if name == "append":
        await session.append_messages(messages)
        expected.messages += values
        expected.version += len(values)
    elif name == "expect":
        wanted = max(0, expected.version - number % 2)
        try:
            await session.append_message(messages[0], expected_version=wanted)
        except SessionConflictError:
            assert wanted != expected.version
        else:
            assert wanted == expected.version
            expected.messages.append(values[0])
            expected.version += 1
    elif name == "checkpoint":
        expected.checkpoints.append(((await session.checkpoint()).id, list(expected.messages)))
    elif name == "restore":
        await _restore(session, expected, number)
    elif name == "page":
        await _page(session, expected, number)
    elif name == "turn":
        await _turn(session, expected, f"key-{number}", messages, values)
    elif name == "fail":
        try:
            async with session.turn(idempotency_key=f"key-{number}") as turn:
                if turn.replayed is None:
                    await turn.append_messages(messages)
                raise _TurnFailedError
        except _TurnFailedError:
            pass
    elif name == "copy":
        lines = await manager.backend.export(expected.id)
        await manager.delete(expected.id)
        await manager.backend.import_log(session.agent_name, expected.id, lines)
    else:
        await manager.delete(expected.id)
        return False
    return True


async def _restore(session: Any, expected: ModelSession, number: int) -> None:
    if not expected.checkpoints:
        try:
            await session.restore(str(uuid.uuid4()))
        except CheckpointNotFoundError:
            return
        raise AssertionError("restored what is not there")
    checkpoint_id, covered = expected.checkpoints[number % len(expected.checkpoints)]
    await session.restore(checkpoint_id)
    expected.messages = list(covered)
    expected.version += 1


async def _page(session: Any, expected: ModelSession, number: int) -> None:
    newest = await session.get_messages(limit=number)
    assert (
        _values(newest) == expected.messages[len(expected.messages) - min(number, len(expected.messages)) :]
    )
    if newest:
        place = len(expected.messages) - len(newest)
        older = await session.get_messages(limit=2, before=newest[0].id)
        assert _values(older) == expected.messages[max(0, place - 2) : place]


async def _turn(
    session: Any, expected: ModelSession, key: str, messages: list[Message], values: list[int]
) -> None:
    async with session.turn(idempotency_key=key) as turn:
        if turn.replayed is not None:
            assert _values(turn.replayed) == expected.turns[key]
            return
        assert key not in expected.turns
        await turn.append_messages(messages)
    expected.messages += values
    expected.version += len(values)
    expected.turns[key] = values


async def _compare(manager: Manager, agent: str, model: list[ModelSession]) -> None:
    listed = {session.id for session in await manager.list(agent)}
    assert listed == {each.id for each in model}
    for expected in model:
        session = await manager.get(expected.id)
        assert _values(await session.get_messages()) == expected.messages
        assert session.message_count == len(expected.messages)
        assert session.version == expected.version
        assert [each.id for each in await session.list_checkpoints()] == [
            each for each, _ in expected.checkpoints
        ]
    try:
        await manager.get(str(uuid.uuid4()))
    except SessionNotFoundError:
        return
    raise AssertionError("found what is not there")


def _values(messages: list[Message]) -> list[int]:
    return [json.loads(each.payload) for each in messages]
