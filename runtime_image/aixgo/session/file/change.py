"""A change of a session's file on its way to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from aixgo.session.file.log_writer import SessionLog
    from aixgo.session.log import LogIndex
    from aixgo.session.types import Append, SessionRecord

R = TypeVar("R")


class Change(Generic[R]):
    """Whole lines that are to stand at ``begin`` of a session's file."""

    __slots__ = ("begin", "creates", "data", "done", "error", "log", "result", "waiter")

    def __init__(self, log: SessionLog, begin: int, data: bytes, creates: bool) -> None:
        self.log = log
        self.begin = begin
        self.data = data
        #: Whether it makes the file.
        self.creates = creates
        self.result: Any = None
        self.error: BaseException | None = None
        #: Who waits for it, and whether it came to its end. The committer's.
        self.waiter: asyncio.Future[None] | None = None
        self.done = False

    def finish(self) -> R:
        """Take note of the change in memory, and return its result. Called once it is in the file."""
        raise NotImplementedError


class OtherChange(Change[R]):
    """A change with a function that takes note of it."""

    __slots__ = ("_finish",)

    def __init__(
        self, log: SessionLog, begin: int, data: bytes, creates: bool, finish: Callable[[], R]
    ) -> None:
        super().__init__(log, begin, data, creates)
        self._finish = finish

    def finish(self) -> R:
        """Take note of the change."""
        return self._finish()


# Thousands of them may be on their way at once: no closures, which are a dozen objects each.
class NewMessages(Change["SessionRecord"]):
    """Messages that are appended together."""

    __slots__ = ("added", "append", "index", "moment", "position_at")

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
