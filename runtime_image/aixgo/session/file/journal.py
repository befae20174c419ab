"""Making changes of many sessions durable with one flush: first the write-ahead log, then the files.

An entry is in the log, durably, before any reader can see it in its session's file. The files themselves
are made durable when the log is full, and then the log begins anew. After a crash :func:`replay` brings the
files to where the log says.

When the disk fails, exactly the changes that were not yet in the log fail. Nobody knows then what of them
the disk has, so before the next change everything that was acknowledged is written to the files once more
and the log begins anew. As long as that fails, so does every change.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import AixgoError
from aixgo.session.file import paths, wal
from aixgo.session.file.pace import DiskPace
from aixgo.session.file.replay import replay
from aixgo.session.file.sight import JUST_NOW
from aixgo.session.validation import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo.session.file.change import Change
    from aixgo.session.types import Repair

#: Size of a new log.
_FIRST_SIZE: Final = 1 << 20
#: So many changes, and bytes of them, are made in the event loop at once.
_MOST_AT_ONCE: Final = 64
_LARGEST_AT_ONCE: Final = 256 * 1024
#: Bytes that a record has around its data, at most.
_MOST_AROUND: Final = wal.HEAD_SIZE + wal.ALIGNMENT + 2 * MAX_NAME_BYTES
#: As numbers: a record has them so.
_APPEND: Final = int(wal.Kind.APPEND)
_CREATE: Final = int(wal.Kind.CREATE)
#: So few files are not worth threads.
_FEW: Final = 8
_SYNC_THREADS: Final = 8

_Key = tuple[str, str]
_Place = tuple[int, int]


class Journal:
    """The write-ahead log of a store that this process may write to. Every method blocks; safe in threads."""

    def __init__(self, directories: paths.Directories, check_lock: Callable[[], None], capacity: int) -> None:
        self._directories = directories
        self._check_lock = check_lock
        self._capacity = max(capacity, 2 * wal.RECORDS)
        self._wal: wal.WalFile | None = None
        self._broken = False
        #: Sessions whose files are not durable yet, with the places of their records.
        self._dirty: defaultdict[_Key, list[_Place]] = defaultdict(list)
        #: Places where records of earlier epochs still can be read.
        self._stale: dict[_Key, list[_Place]] = {}
        #: Agents in whose directories files were made.
        self._created: set[str] = set()
        #: Records of changes that failed but could not be made void.
        self._refused: set[int] = set()
        self._lock = threading.Lock()
        #: How often the log was flushed, and began anew.
        self.flushes = 0
        self.rotations = 0
        #: How fast the disk is.
        self.pace = DiskPace()

    @property
    def size(self) -> int:
        """How many bytes of the log are in use."""
        return 0 if self._wal is None else self._wal.end

    def recover(self) -> list[Repair]:
        """Replay the log that a crash left, and remove it. The caller holds the store's lock.

        Raises:
            OSError: not all of it was done. Doing it again is allowed.
        """
        base = self._directories.open_base(create=False)
        try:
            fd = paths.open_file(wal.WAL_FILE, base, os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            repairs = replay(self._directories, wal.scan(fd))
        finally:
            os.close(fd)
        os.unlink(wal.WAL_FILE, dir_fd=base)
        paths.sync(base)
        return repairs

    def commit(self, changes: Sequence[Change[Any]]) -> None:
        """Make changes durable and visible. Each of them then has its result or its error."""
        with self._lock:
            self._commit(changes, object(), mend=True)

    def commit_at_once(self, changes: Sequence[Change[Any]]) -> bool:
        """Make changes as :meth:`commit` does, if the disk is fast and nothing else has to be done for them.

        Returns:
            False: nothing happened.
        """
        log = self._wal
        if log is None or not self.pace.is_fast or self._broken or len(changes) > _MOST_AT_ONCE:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        held = []
        try:
            size = 0
            for change in changes:
                lock = change.log.lock
                if change.creates or not lock.acquire(blocking=False):  # somebody reads the session
                    return False
                held.append(lock)
                size += len(change.data) + _MOST_AROUND
            if size > _LARGEST_AT_ONCE or log is not self._wal or not log.has_room(size, self._capacity):
                return False
            self._commit(changes, JUST_NOW, mend=False)  # mending could take long
        finally:
            for lock in held:
                lock.release()
            self._lock.release()
        return True

    def forget(self, key: _Key) -> None:
        """Wipe out what the log has of a session that was deleted. Its file is durably gone.

        Raises:
            OSError: something of it may still be there.
        """
        with self._lock:
            places, stale = self._dirty.pop(key, []), self._stale.pop(key, [])
            if self._wal is not None and (places or stale):
                self._flushed(lambda log: log.void(places, stale))

    def rotate(self) -> None:
        """Make the files of all sessions durable and begin the log anew. Raises OSError."""
        with self._lock:
            if self._wal is not None:
                self._ready(0)
                self._rotate(self._wal)

    def close(self) -> None:
        """Make the files durable and remove the log. Raises OSError: the log is left, for recovery."""
        with self._lock:
            log, self._wal = self._wal, None
            if log is None:
                return
            try:
                self._check_lock()
                if self._broken:
                    self._replay(log)
                self._sync_files()
                log.remove()
                paths.sync(self._directories.open_base(create=False))
            finally:
                log.close()

    # -- under the lock ----------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change[Any]], moment: object, *, mend: bool) -> None:
        try:
            self._check_lock()
            places = self._log(changes, mend=mend)
        except (OSError, AixgoError) as error:
            for change in changes:
                change.error = error
            return
        failed: list[_Place] = []
        dirty = self._dirty
        for change, place in zip(changes, places, strict=True):
            log = change.log
            try:
                change.result = log.apply(change, moment)
            except Exception as error:  # noqa: BLE001 - whoever waits for the change gets it
                change.error = error
                failed.append(place)
                continue
            dirty[log.key].append(place)
            if change.creates:
                self._created.add(log.agent_name)
        if failed:
            self._take_back(failed)

    def _log(self, changes: Sequence[Change[Any]], *, mend: bool) -> list[_Place]:
        log = self._ready(_room_for(changes))
        parts: list[bytes] = []
        places = []
        position, epoch = log.end, log.epoch
        for change in changes:
            kind = _CREATE if change.creates else _APPEND
            size = wal.add_record(parts, kind, change.log.names(), change.begin, change.data, epoch)
            places.append((position, size))
            position += size
        self._flushed(lambda log: log.append(b"".join(parts), self._capacity), mend=mend)
        return places

    def _flushed(self, work: Callable[[wal.WalFile], None], *, mend: bool = True) -> None:
        """Change the log. When that fails, nobody knows what the disk has; ``mend`` it now or later."""
        log = self._wal
        if log is None:
            return
        try:
            work(log)
        except OSError:
            self._broken = True
            if mend:
                with contextlib.suppress(OSError):  # else before the next change
                    self._reopen(log)
            raise
        finally:
            self.flushes += log.flushes
            log.flushes = 0

    def _ready(self, size: int) -> wal.WalFile:
        """Return the log, with room for ``size`` bytes."""
        log = self._wal
        if log is not None and self._broken:
            self._reopen(log)
            log = self._wal
        if log is None:
            base = self._directories.open_base(create=True)
            log = self._wal = wal.WalFile(base, min(self._capacity, _FIRST_SIZE), self.pace.flushed)
        elif log.end + size > log.size and log.end > wal.RECORDS:
            self._rotate(log)
        return log

    def _rotate(self, log: wal.WalFile) -> None:
        try:
            self._sync_files()
            self._begin_epoch(log)
        except OSError:
            self._broken = True
            raise
        # It is larger only after a change that did not fit.
        if log.size > self._capacity:
            os.ftruncate(log.fd, self._capacity)
            log.size = self._capacity

    def _begin_epoch(self, log: wal.WalFile) -> None:
        end = log.end
        log.begin_epoch()
        kept = {
            key: alive
            for key, places in self._stale.items()
            if (alive := [place for place in places if sum(place) > end])
        }
        for key, places in self._dirty.items():
            kept.setdefault(key, []).extend(places)
        self._stale, self._dirty = kept, defaultdict(list)
        self._created.clear()
        self._refused.clear()
        self.rotations += 1

    def _reopen(self, log: wal.WalFile) -> None:
        """Write all that was acknowledged to the files once more, and begin the log anew.

        After a failed flush a page that is lost looks as if it had been written; only writing it again
        helps.
        """
        self._check_lock()
        self._replay(log)
        try:
            self._begin_epoch(log)
        except OSError:  # perhaps another place of the disk is better
            log.remove()
            self._wal = None
            self._dirty, self._stale = defaultdict(list), {}
            self._refused.clear()
        self._broken = False

    def _replay(self, log: wal.WalFile) -> None:
        records = wal.scan(log.fd, log.end)
        replay(self._directories, (each for each in records if each.place not in self._refused))
        self._sync_files()

    def _take_back(self, places: list[_Place]) -> None:
        """Make the records of changes void that are not in the files."""
        self._refused.update(place for place, _ in places)
        with contextlib.suppress(OSError, AixgoError):
            self._flushed(lambda log: log.void(places, []))

    def _sync_files(self) -> None:
        if len(self._dirty) < _FEW:
            for key in self._dirty:
                self._sync_file(key)
        else:  # a file system makes those durable together that it is asked for at the same time
            with ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="aixgo-sync") as pool:
                for _ in pool.map(self._sync_file, self._dirty):
                    pass
        for agent_name in self._created:
            with contextlib.suppress(FileNotFoundError):
                paths.sync(self._directories.open_agent(agent_name))

    def _sync_file(self, key: _Key) -> None:
        agent_name, session_id = key
        with contextlib.suppress(FileNotFoundError):  # deleted
            agent = self._directories.open_agent(agent_name)
            fd = paths.open_file(f"{session_id}.jsonl", agent, os.O_RDONLY)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)


def _room_for(changes: Sequence[Change[Any]]) -> int:
    """Return how many bytes the records of changes take at most."""
    return sum([len(change.data) for change in changes]) + len(changes) * _MOST_AROUND
