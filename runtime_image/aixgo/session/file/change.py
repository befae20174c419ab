"""A change of a session's file on its way to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aixgo.session.file.log_writer import SessionLog

R = TypeVar("R")


class Change(Generic[R]):
    """Whole lines that are to stand at ``begin`` of a session's file."""

    __slots__ = ("begin", "creates", "data", "done", "error", "finish", "log", "result", "waiter")

    def __init__(
        self, log: SessionLog, begin: int, data: bytes, finish: Callable[[], R], *, creates: bool
    ) -> None:
        self.log = log
        self.begin = begin
        self.data = data
        #: Takes note of the change in memory. Called once it is in the file.
        self.finish = finish
        #: Whether it makes the file.
        self.creates = creates
        self.result: Any = None
        self.error: BaseException | None = None
        #: Who waits for it, and whether it came to its end. The committer's.
        self.waiter: asyncio.Future[None] | None = None
        self.done = False
