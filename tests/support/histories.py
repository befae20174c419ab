"""What several clients did to one session at once, and whether some order of it explains what they saw.

A history is linearizable when every operation can be given one moment between its beginning and its end such
that, in the order of these moments, every answer is what one client alone would have got.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from aixgo import Message
from aixgo.session import SessionConflictError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo.session import Session

#: The answer of an operation that failed in a way that leaves open whether it happened.
UNKNOWN = "unknown"
CONFLICT = "conflict"
DONE = "done"


class State(NamedTuple):
    """A session as one client alone would see it."""

    messages: tuple[Any, ...] = ()
    version: int = 0
    #: Checkpoint -> the messages it covers.
    checkpoints: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass
class Operation:
    """Something that a client did. Beginning and end are numbers of one clock that only counts."""

    kind: str
    argument: Any
    begin: int
    end: float = float("inf")
    answer: Any = UNKNOWN


@dataclass
class History:
    """Does things to sessions and records them. One history is about one session."""

    operations: list[Operation] = field(default_factory=list)
    _clock: int = 0

    async def append(self, session: Session, values: list[Any], *, expected: int | None = None) -> str:
        """Append messages with these payloads, all at once, and return what became of it."""
        operation = self._begin("append", (tuple(values), expected))
        messages = [Message.new("user", value) for value in values]
        try:
            await session.append_messages(messages, expected_version=expected)
        except SessionConflictError:
            return self._end(operation, CONFLICT)
        except StorageError:
            return UNKNOWN
        return self._end(operation, DONE)

    async def read(self, session: Session, limit: int | None = None) -> None:
        """Read the newest messages."""
        operation = self._begin("read", limit)
        try:
            found = await session.get_messages(limit=limit)
        except StorageError:
            self.operations.remove(operation)
            return
        self._end(operation, tuple(json.loads(each.payload) for each in found))

    async def checkpoint(self, session: Session) -> str | None:
        """Make a checkpoint and return its id."""
        operation = self._begin("checkpoint", None)
        try:
            found = (await session.checkpoint()).id
        except StorageError:
            self.operations.remove(operation)  # nobody knows its id: it changes nothing that can be seen
            return None
        self._end(operation, found)
        return found

    async def restore(self, session: Session, checkpoint_id: str) -> None:
        """Go back to a checkpoint."""
        operation = self._begin("restore", checkpoint_id)
        try:
            await session.restore(checkpoint_id)
        except StorageError:
            return
        self._end(operation, DONE)

    def check(self, initial: State | None = None) -> State:
        """Return the state at the end of an order that explains everything.

        Raises:
            AssertionError: there is none.
        """
        return linearize(self.operations, initial or State())

    def _begin(self, kind: str, argument: Any) -> Operation:
        self._clock += 1
        operation = Operation(kind, argument, self._clock)
        self.operations.append(operation)
        return operation

    def _end(self, operation: Operation, answer: Any) -> Any:
        self._clock += 1
        operation.end, operation.answer = self._clock, answer
        return answer


def linearize(operations: list[Operation], initial: State) -> State:
    """Return the state after some order of the operations that explains every answer.

    Operations whose outcome is unknown may have happened at any time after they began, or never.

    Raises:
        AssertionError: there is no such order.
    """
    operations = sorted(operations, key=lambda each: each.begin)
    certain = sum(1 << place for place, each in enumerate(operations) if each.answer != UNKNOWN)
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, initial)]
    furthest = 0
    while stack:
        done, state = stack.pop()
        if done & certain == certain:
            return state
        if (done, state) in seen:
            continue
        seen.add((done, state))
        furthest = max(furthest, done.bit_count())
        for place, operation in _possible(operations, done):
            following = _after(state, operation)
            if following is not None:
                stack.append((done | 1 << place, following))
    raise AssertionError(
        f"no order explains this; {furthest} of {len(operations)} operations fit:\n"
        + "\n".join(map(str, operations))
    )


def _possible(operations: list[Operation], done: int) -> Iterator[tuple[int, Operation]]:
    """Yield what can be next: whatever began before the first of those that are left had ended."""
    left = [(place, each) for place, each in enumerate(operations) if not done >> place & 1]
    first_end = min(each.end for _, each in left)
    for place, operation in left:
        if operation.begin < first_end:
            yield place, operation


def _after(state: State, operation: Operation) -> State | None:
    """Return the state after an operation, or None if its answer does not fit."""
    argument, answer = operation.argument, operation.answer
    if operation.kind == "append":
        values, expected = argument
        conflict = expected is not None and expected != state.version
        if conflict:
            return state if answer in (CONFLICT, UNKNOWN) else None
        if answer == CONFLICT:
            return None
        return state._replace(messages=state.messages + values, version=state.version + len(values))
    if operation.kind == "read":
        limit = len(state.messages) if argument is None else argument
        return (
            state
            if answer == state.messages[len(state.messages) - min(limit, len(state.messages)) :]
            else None
        )
    if operation.kind == "checkpoint":
        return state._replace(checkpoints=(*state.checkpoints, (answer, state.messages)))
    covered = dict(state.checkpoints).get(argument)
    return None if covered is None else state._replace(messages=covered, version=state.version + 1)


async def race(history: History, sessions: list[Session], rounds: int, name: str = "") -> None:
    """Let one client for each of the given handles of a session do a little of everything at once."""

    async def client(number: int, session: Session) -> None:
        checkpoint: str | None = None
        for step in range(rounds):
            value = f"{name}{number}.{step}"
            match (number + step) % 5:
                case 0:
                    checkpoint = await history.checkpoint(session) or checkpoint
                case 1:
                    await history.append(session, [value, value + "b"])
                case 2:
                    await history.append(session, [value], expected=session.version)
                case 3:
                    await history.read(session)
                case _ if checkpoint is not None and step % 2:
                    await history.restore(session, checkpoint)
                case _:
                    await history.append(session, [value])
            await asyncio.sleep(0)

    await asyncio.gather(*(client(number, session) for number, session in enumerate(sessions)))
