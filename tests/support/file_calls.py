"""Counts what a process asks of the file system."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Everything in ``os`` that goes to the file system.
_CALLS = (
    *("open", "close", "read", "pread", "preadv", "readv", "write", "pwrite", "pwritev", "writev", "lseek"),
    *("stat", "lstat", "fstat", "statvfs", "scandir", "listdir", "access", "utime", "fchmod", "chmod"),
    *("unlink", "rename", "replace", "link", "mkdir", "rmdir", "ftruncate", "truncate", "posix_fallocate"),
    *("fsync", "fdatasync", "sync"),
)


class FileCalls:
    """Calls of ``os`` functions, in all threads, and the bytes that they moved."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes = 0
        self._lock = threading.Lock()

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = function(*arguments, **keywords)
            with self._lock:
                self.calls[name] += 1
                if isinstance(result, bytes):
                    self.bytes += len(result)
                elif name in ("write", "pwrite", "writev", "pwritev", "readv", "preadv"):
                    self.bytes += result
            return result

        return call

    def flushes(self) -> int:
        """Return how often something was made durable."""
        return self.calls["fsync"] + self.calls["fdatasync"]

    def total(self) -> int:
        """Return the number of all calls."""
        return self.calls.total()


@contextmanager
def file_calls() -> Iterator[FileCalls]:
    """Count inside the block."""
    counter = FileCalls()
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, counter.counted(name, getattr(os, name)))
        yield counter
