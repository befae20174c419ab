"""The files that a store keeps open: only so many."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aixgo.session.file.log_writer import SessionLog

_LIMIT: Final = 256


class OpenFiles:
    """Closes the file that was opened first when there are too many. Safe in threads."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._logs: dict[SessionLog, None] = {}
        self._lock = threading.Lock()

    def opened(self, log: SessionLog) -> None:
        """Note that a log keeps its file open."""
        with self._lock:
            self._logs.pop(log, None)
            self._logs[log] = None
            for other in list(self._logs)[: max(0, len(self._logs) - self._limit)]:
                # Whoever is at work with it opens no other file in the meantime: waiting could be for ever.
                if other.lock.acquire(blocking=False):
                    try:
                        other.close_fd()
                    finally:
                        other.lock.release()
                    del self._logs[other]

    def closed(self, log: SessionLog) -> None:
        """Close the file of a log that is not needed any more."""
        with self._lock:
            self._logs.pop(log, None)
        log.close_fd()

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            logs, self._logs = list(self._logs), {}
        for log in logs:
            log.close_fd()
