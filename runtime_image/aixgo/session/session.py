"""One conversation: its messages, its checkpoints, its turns (Go: Session)."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

from aixgo.identifiers import new_id
from aixgo.session import validation
from aixgo.session.agent_state import bring_back, with_state
from aixgo.session.turn import Turn, active_turn
from aixgo.session.types import Append

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from datetime import datetime

    from aixgo.message import Message
    from aixgo.session.agent_state import StateKeeper
    from aixgo.session.backend import Backend
    from aixgo.session.renewals import Renewals
    from aixgo.session.types import Branch, Checkpoint, SessionRecord


class Session:
    """A session. Managers make them; all that one manager hands out for one id are the same object.

    What its properties say is what this process last heard of the store; :meth:`get_messages` always asks
    the store. Every method that talks to the store may raise StorageError (nothing was changed),
    StorageClosedError and SessionNotFoundError (the session was deleted, or its time to live is over).
    """

    def __init__(
        self,
        backend: Backend,
        record: SessionRecord,
        renewals: Renewals,
        keepers: Mapping[str, StateKeeper] | None = None,
    ) -> None:
        self._backend = backend
        self._record = record
        self._renewals = renewals
        #: Agents of this process whose state is part of checkpoints, by name.
        self._keepers = keepers or {}

    def __repr__(self) -> str:
        return f"Session(id={self.id!r}, agent_name={self.agent_name!r}, version={self.version})"

    @property
    def id(self) -> str:
        """The id (Go: ID)."""
        return self._record.id

    @property
    def agent_name(self) -> str:
        """The agent that the conversation is with (Go: AgentName)."""
        return self._record.agent_name

    @property
    def user_id(self) -> str:
        """The owner; "" is nobody (Go: UserID)."""
        return self._record.user_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was given when the session was made: a copy, as JSON has it."""
        return copy.deepcopy(dict(self._record.metadata))

    @property
    def created_at(self) -> datetime:
        """When the session was made, in UTC."""
        return self._record.created_at

    @property
    def updated_at(self) -> datetime:
        """When the newest message or restore was stored, in UTC."""
        return self._record.updated_at

    @property
    def message_count(self) -> int:
        """Number of messages that :meth:`get_messages` returns."""
        return self._record.message_count

    @property
    def version(self) -> int:
        """Number of messages ever stored, of all branches, and of restores. It never goes back."""
        return self._record.version

    @property
    def current_leaf(self) -> str:
        """Id of the newest entry of the current branch; "" when it is empty (Go: currentLeaf)."""
        return self._record.current_leaf

    @property
    def ttl_seconds(self) -> float:
        """Sliding time to live; 0 is none."""
        return self._record.ttl_seconds

    def append_message(
        self, message: Message, *, expected_version: int | None = None
    ) -> Coroutine[Any, Any, None]:
        """Append a message (Go: AppendMessage). It is durable when this returns.

        Inside ``async with session.turn()`` of the same task it becomes part of the turn. While a turn of
        somebody else is running, it waits.

        Args:
            message: What to append.
            expected_version: Only if the session is at this version.

        Raises:
            InvalidMessageError: the message cannot be stored.
            SessionConflictError: the session is at another version.
        """
        return self.append_messages((message,), expected_version=expected_version)

    async def append_messages(
        self, messages: Iterable[Message], *, expected_version: int | None = None
    ) -> None:
        """Append messages, all or none, with nothing in between. Otherwise as :meth:`append_message`."""
        checked = validation.messages(messages)
        if expected_version is not None:
            validation.not_negative("expected_version", expected_version)
        turn = active_turn(self)
        if turn is not None:
            turn.check_version(expected_version)
            await turn.append_messages(checked)
            return
        append = Append(new_id(), tuple(checked), expected_version)
        self.note(await self._backend.append(self._record.id, append))

    async def get_messages(
        self, *, limit: int | None = None, before: str | None = None, branch: str | None = None
    ) -> list[Message]:
        """Return messages that are stored, oldest first (Go: GetMessages).

        Args:
            limit: Only the newest ``limit``. None: all.
            before: Only those before the message with this id: the previous page.
            branch: Of the branch with this newest entry, see :meth:`list_branches`. None: of the current
                branch.

        Raises:
            ValueError: a negative limit, no such message, no such branch.
        """
        if limit is not None:
            validation.not_negative("limit", limit)
        return await self._backend.messages(self.id, limit=limit, before=before, branch=branch)

    async def list_branches(self) -> list[Branch]:
        """Return all lines of the session's history, the current one first."""
        return await self._backend.branches(self.id)

    async def checkpoint(self, *, metadata: Mapping[str, Any] | None = None) -> Checkpoint:
        """Remember this place of the conversation (Go: Checkpoint). Messages of an open turn are not in it.

        Where the session's agent runs in this process and has ``create_checkpoint``, what that returns is
        in it, as ``metadata["agentState"]``.

        Raises:
            InvalidMessageError: the metadata, or the state of the agent, cannot be stored.
        """
        held = await with_state(self._keepers.get(self.agent_name), metadata)
        return _own(await self._backend.checkpoint(self.id, new_id(), held))

    async def list_checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints, oldest first."""
        return [_own(checkpoint) for checkpoint in await self._backend.list_checkpoints(self.id)]

    async def restore(self, checkpoint_id: str) -> None:
        """Go back to a checkpoint, for every reader everywhere (Go: Restore).

        What came after it stays as a branch. Where the session's agent runs in this process and has
        ``restore_from_checkpoint``, it then gets the state that the checkpoint holds.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointMismatchError: it belongs to another session.
            CheckpointCorruptedError: it, or an entry that it covers, was changed. Nothing happened.
        """
        checkpoint_id = validation.checkpoint_id(checkpoint_id)
        turn = active_turn(self)
        lease = None if turn is None else turn.lease
        self.note(await self._backend.restore(self.id, checkpoint_id, lease=lease))
        keeper = self._keepers.get(self.agent_name)
        if keeper is not None:
            known = {each.id: each for each in await self.list_checkpoints()}
            await bring_back(keeper, known.get(checkpoint_id))

    def turn(self, *, idempotency_key: str | None = None, timeout: float | None = None) -> Turn:
        """Return a turn: ``async with session.turn() as turn:`` (see :class:`Turn`).

        Args:
            idempotency_key: Remembered with what the turn commits. When a turn with this key was
                committed before,
                ``turn.replayed`` holds its messages and nothing more can be added.
            timeout: Seconds to wait for other turns of the session. None: until cancelled.

        Raises:
            InvalidMessageError: the key cannot be stored.
            ValueError: the timeout is no number of at least 0.
        """
        if idempotency_key is not None:
            validation.idempotency_key(idempotency_key)
        if timeout is not None:
            validation.timeout(timeout)
        return Turn(self, self._backend, self._renewals, idempotency_key, timeout)

    async def refresh(self) -> None:
        """Ask the store what the session is like now."""
        self.note(await self._backend.load(self.id))

    async def close(self) -> None:
        """Do nothing: everything is stored already (Go: Close). The session stays usable."""

    def note(self, record: SessionRecord) -> None:
        """Take over what the store said, unless something newer is known."""
        newer = record.version >= self._record.version
        if newer or record.created_at != self._record.created_at:
            self._record = record


def _own(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose metadata the caller may change: the backend goes on with its own."""
    if not checkpoint.metadata:
        return checkpoint
    return dataclasses.replace(checkpoint, metadata=copy.deepcopy(dict(checkpoint.metadata)))
