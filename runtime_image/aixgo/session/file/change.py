"""A change of a session's file on its way to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from aixgo.session.file.log_writer import SessionLog
    from aixgo.session.log import LogIndex
    from aixgo.session.types import Append, SessionRecord

R = TypeVar("R")


# Thousands of them may be on their way at once: no closures, which are a dozen objects each.
class Change(msgspec.Struct, Generic[R], eq=False):
    """Whole lines that are to stand at ``begin`` of a session's file."""

    log: SessionLog
    begin: int
    data: bytes
    #: Whether it makes the file.
    creates: bool
    result: Any = None
    error: BaseException | None = None
    #: Who waits for it, and whether it came to its end. The committer's.
    waiter: asyncio.Future[None] | None = None
    done: bool = False

    def finish(self) -> R:
        """Take note of the change in memory, and return its result. Called once it is in the file."""
        raise NotImplementedError


class OtherChange(Change[R], kw_only=True):
    """A change with a function that takes note of it."""

    note: Callable[[], R]

    def finish(self) -> R:
        """Take note of the change."""
        return self.note()


class NewMessages(Change["SessionRecord"], kw_only=True):
    """Messages that are appended together."""

    #: What is appended, and to which index of the log.
    append: Append
    index: LogIndex
    #: When.
    moment: datetime
    #: Of each message the id of its entry, where its line begins and ends, and its chain value.
    added: list[tuple[str, int, int, str]]
    #: Where the last entry begins that tells a position.
    position_at: int

    def finish(self) -> SessionRecord:
        """Take note of the messages."""
        return self.log.appended(self)
