"""The advisory lock of a store: one process writes, any number read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from typing import Final

from aixgo.errors import StorageError
from aixgo.session import formats
from aixgo.session.file import paths

LOCK_FILE: Final = ".aixgo.lock"


class StoreLock:
    """The lock file of a store. While it is held it says by whom; what is left in it means a crash."""

    def __init__(self, directories: paths.Directories) -> None:
        self._directories = directories
        self._fd: int | None = None
        #: Whether this object holds the lock: every change asks.
        self.held = False
        self._file = (0, 0)
        #: Whether the writer before did not end properly, or was not this library: the store wants recovery.
        self.left_by_a_crash = False

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it.

        Raises:
            OSError: the lock file cannot be made.
        """
        if self._fd is not None:
            return True
        base = self._directories.open_base(create=True)
        new = False
        try:
            fd = paths.open_file(LOCK_FILE, base, os.O_RDWR)
        except FileNotFoundError:
            fd = paths.open_file(LOCK_FILE, base, os.O_RDWR | os.O_CREAT)
            new = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        if not _same_file(fd, base):  # replaced between opening and locking
            os.close(fd)
            return False
        self.left_by_a_crash = new or os.fstat(fd).st_size > 0
        _, now = formats.present()
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)
        except BaseException:
            os.close(fd)
            raise
        status = os.fstat(fd)
        self._file = (status.st_dev, status.st_ino)
        self._fd, self.held = fd, True
        return True

    def check(self) -> None:
        """Make sure that the lock is still the one that others see.

        Raises:
            StorageError: it is not: the lock file was removed or replaced.
        """
        if self._fd is None or not _is_file(self._file, self._directories.open_base(create=False)):
            raise StorageError(
                "the lock of the session store was lost: its lock file was removed or replaced"
            )

    def release(self, *, clean: bool = True) -> None:
        """Give the lock back. ``clean`` says that there is nothing to recover."""
        if self._fd is None:
            return
        fd, self._fd, self.held = self._fd, None, False
        try:
            if clean:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    def let_go_in_child(self) -> None:
        """Hold the lock no longer in a forked process: it is the parent's, and ends with the parent."""
        self.held = False
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def holder(self) -> str:
        """Say who holds the lock, for people."""
        try:
            base = self._directories.open_base(create=False)
            data = json.loads(paths.read_file(LOCK_FILE, base, 4096) or b"")
            return f"process {int(data['pid'])} on {data['host']}, since {data['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


def _same_file(fd: int, base: int) -> bool:
    ours = os.fstat(fd)
    return _is_file((ours.st_dev, ours.st_ino), base)


def _is_file(ours: tuple[int, int], base: int) -> bool:
    try:
        visible = os.stat(LOCK_FILE, dir_fd=base, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return ours == (visible.st_dev, visible.st_ino)
