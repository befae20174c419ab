"""A value that calls borrow and that may be replaced while they run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Shared(Generic[T]):
    """A value with its borrowers: once retired, it is closed when the last one has given it back.

    For the event loop's thread only. ``close`` is called once and must not raise; it usually starts a task.
    """

    def __init__(self, value: T, close: Callable[[T], None]) -> None:
        self.value = value
        self._close = close
        self._borrowers = 0
        self._retired = False
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Use the value for the time of the block; it stays open until the block ends."""
        value = self.take()
        try:
            yield value
        finally:
            self.give_back()

    def take(self) -> T:
        """Use the value until :meth:`give_back`; a ``with`` block of its own is dearer than most uses."""
        self._borrowers += 1
        return self.value

    def give_back(self) -> None:
        """End one use."""
        self._borrowers -= 1
        if self._retired:
            self._close_if_unused()

    def retire(self) -> None:
        """Close the value as soon as nobody uses it."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._borrowers and not self._closed:
            self._closed = True
            self._close(self.value)
