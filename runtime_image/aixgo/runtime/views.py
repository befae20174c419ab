"""Sessions as an agent sees them during a turn: only as much history as it may see, and appends that belong
to the turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aixgo.session import validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.message import Message
    from aixgo.session import Session
    from aixgo.session.turn import Turn


class SessionView:
    """A stored session during a turn. What is not defined here is the session's own.

    The input of the turn is not in its history yet. Messages that the agent appends are committed between the
    input and the answer, or not at all.
    """

    def __init__(self, session: Session, history_limit: int | None = None, turn: Turn | None = None) -> None:
        """Make a view. ``turn`` has the session for itself while it is open: it may know the history."""
        self._session = session
        self._history_limit = history_limit
        self._turn = turn
        self.appended: list[Message] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def get_messages(self, *, limit: int | None = None, before: str | None = None) -> list[Message]:
        """Return the newest messages that the agent may see, oldest first."""
        wanted = _smaller(limit, self._history_limit)
        if before is None and self._turn is not None:
            known = self._turn.known_messages(wanted)
            if known is not None:
                return known
        return await self._session.get_messages(limit=wanted, before=before)

    async def append_message(self, message: Message, *, expected_version: int | None = None) -> None:
        """Add a message to the turn. The version is the turn's business."""
        del expected_version
        self.appended.extend(validation.messages([message]))

    async def append_messages(
        self, messages: Sequence[Message], *, expected_version: int | None = None
    ) -> None:
        """Add messages to the turn. The version is the turn's business."""
        del expected_version
        self.appended.extend(validation.messages(messages))


class CallersSession:
    """A session that only the caller stores: its history came with the call."""

    def __init__(
        self,
        session_id: str,
        agent_name: str,
        user_id: str,
        messages: Sequence[Message],
        history_limit: int | None = None,
    ) -> None:
        self.id = session_id
        self.agent_name = agent_name
        self.user_id = user_id
        self.version = len(messages)
        self.message_count = len(messages)
        self._messages = list(messages)
        self._history_limit = history_limit
        self.appended: list[Message] = []

    async def get_messages(self, *, limit: int | None = None, before: str | None = None) -> list[Message]:
        """Return the newest messages that the agent may see, oldest first; ``before`` is a message's id.

        Raises:
            ValueError: a negative limit, no such message.
        """
        messages = self._messages
        if limit is not None:
            validation.not_negative("limit", limit)
        if before is not None:
            ids = [message.id for message in messages]
            if before not in ids:
                raise ValueError(f"no message {before!r} on this branch")
            messages = messages[: ids.index(before)]
        newest = _smaller(limit, self._history_limit)
        if newest is None:
            return list(messages)
        return messages[-newest:] if newest else []

    async def append_message(self, message: Message, *, expected_version: int | None = None) -> None:
        """Add a message to the turn. It goes back to the caller, who stores the session."""
        del expected_version
        self.appended.extend(validation.messages([message]))

    async def append_messages(
        self, messages: Sequence[Message], *, expected_version: int | None = None
    ) -> None:
        """Add messages to the turn. Otherwise as :meth:`append_message`."""
        del expected_version
        self.appended.extend(validation.messages(messages))


def _smaller(limit: int | None, other: int | None) -> int | None:
    if limit is None or other is None:
        return other if limit is None else limit
    return min(limit, other)
