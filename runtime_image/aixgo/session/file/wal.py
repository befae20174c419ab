"""The format of the write-ahead log of a store, and its file.

The file begins with two slots for a header; the valid one with the higher epoch counts. After
:data:`RECORDS` bytes come records, each at a multiple of :data:`ALIGNMENT`, so that the head of a record
never spans two sectors of a disk::

    head   crc of the head, crc of the body, size of the data, epoch, offset, sizes of the names, kind
    body   agent, session, data

A record says that ``data`` stands at ``offset`` of a session's file. The log ends at the first record that
is not whole, or of another epoch: a new epoch makes all records invalid at once.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from aixgo.session.file import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAL_FILE: Final = ".aixgo.wal"
#: Where the records begin.
RECORDS: Final = 4096
ALIGNMENT: Final = 64

_MAGIC: Final = b"aixgoWAL"
_HEADER: Final = struct.Struct("<8sIQ")
_SLOT: Final = 2048
#: What the crc of the head covers comes after it.
_HEAD: Final = struct.Struct("<IIQQHHB3x")
_CRC: Final = struct.Struct("<I")
HEAD_SIZE: Final = _CRC.size + _HEAD.size
#: By what is left over.
_PADDING: Final = [bytes(-size % ALIGNMENT) for size in range(ALIGNMENT)]
#: The file is filled this many bytes at a time.
_CHUNK: Final = 1 << 20
_GROWTH: Final = 256 * 1024
#: It grows when less than this is left.
_RESERVE: Final = 64 * 1024


class Kind(IntEnum):
    """What a record is."""

    APPEND = 1
    #: An append that makes the file.
    CREATE = 2
    #: It was an append that failed, or its session was deleted. Its body does not matter.
    VOID = 3


@dataclass(frozen=True, slots=True)
class Record:
    """A piece of a session's file; ``place`` is where in the log it begins."""

    place: int
    kind: Kind
    agent_name: str
    session_id: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Names:
    """Agent and session as a record has them."""

    agent_size: int
    session_size: int
    text: bytes
    crc: int
    #: How many bytes a record has besides its data, without the padding.
    around: int

    @classmethod
    def of(cls, agent_name: str, session_id: str) -> Names:
        """Return them encoded."""
        agent, session = agent_name.encode(), session_id.encode()
        text = agent + session
        return cls(len(agent), len(session), text, zlib.crc32(text), HEAD_SIZE + len(text))


def add_record(parts: list[bytes], kind: int, names: Names, offset: int, data: bytes, epoch: int) -> int:
    """Add a record as it stands in the file, padded to the alignment, in pieces.

    Returns:
        Its size.
    """
    size = len(data)
    head = _HEAD.pack(
        zlib.crc32(data, names.crc), size, epoch, offset, names.agent_size, names.session_size, kind
    )
    size += names.around
    padding = _PADDING[size % ALIGNMENT]
    parts += (_CRC.pack(zlib.crc32(head)), head, names.text, data, padding)
    return size + len(padding)


def void_head(size: int, epoch: int) -> bytes:
    """Return the head that makes a record of ``size`` bytes count for nothing."""
    head = _HEAD.pack(0, size - HEAD_SIZE, epoch, 0, 0, 0, Kind.VOID)
    return _CRC.pack(zlib.crc32(head)) + head


def read_epoch(fd: int) -> int | None:
    """Return the epoch of a log. None: it is no log, or its creation did not come to its end."""
    epochs = []
    for slot in (0, _SLOT):
        raw = os.pread(fd, _HEADER.size, slot)
        if len(raw) < _HEADER.size:
            continue
        magic, crc, epoch = _HEADER.unpack(raw)
        if magic == _MAGIC and crc == zlib.crc32(magic + epoch.to_bytes(8, "little")):
            epochs.append(epoch)
    return max(epochs, default=None)


def scan(fd: int, end: int | None = None) -> Iterator[Record]:
    """Yield the records of a log, up to ``end`` of the file or to where it was torn."""
    epoch = read_epoch(fd)
    if epoch is None:
        return
    data = paths.read_range(fd, 0, os.fstat(fd).st_size if end is None else end)
    position = RECORDS
    while position + HEAD_SIZE <= len(data):
        head = data[position + _CRC.size : position + HEAD_SIZE]
        crc, size, of_epoch, offset, agent_size, session_size, kind = _HEAD.unpack(head)
        if _CRC.unpack_from(data, position)[0] != zlib.crc32(head) or of_epoch != epoch:
            return
        begin = position + HEAD_SIZE
        body_end = begin + agent_size + session_size + size
        if kind != Kind.VOID:
            body = data[begin:body_end]
            if len(body) != body_end - begin or zlib.crc32(body) != crc:
                return
            agent, session = body[:agent_size], body[agent_size : agent_size + session_size]
            content = body[agent_size + session_size :]
            yield Record(position, Kind(kind), agent.decode(), session.decode(), offset, content)
        position = body_end + -body_end % ALIGNMENT


class WalFile:
    """A log that is open for writing. Not safe in threads."""

    def __init__(self, base_fd: int, size: int, flushed: Callable[[float], None] = lambda _: None) -> None:
        """Make the file, filled with zeros: appending to it changes no metadata, which is cheaper to flush.

        Args:
            base_fd: The directory.
            size: How large.
            flushed: Told how many seconds each flush took.

        Raises:
            OSError: it could not be made; nothing is left of it.
        """
        self.end = RECORDS
        self.epoch = 1
        self.size = 0
        #: How often the log was flushed.
        self.flushes = 0
        self._flushed = flushed
        self._base_fd = base_fd
        self.fd = paths.open_file(WAL_FILE, base_fd, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.fill(size)
            self._write_header()
            os.fsync(self.fd)
            paths.sync(base_fd)
        except BaseException:
            self.remove()
            raise

    def fill(self, size: int) -> None:
        """Fill the file with zeros up to ``size``. Raises OSError."""
        while self.size < size:
            chunk = min(_CHUNK, size - self.size)
            paths.write_at(self.fd, bytes(chunk), self.size)
            self.size += chunk

    def append(self, records: bytes, capacity: int) -> None:
        """Write records and make them durable. Raises OSError; then the log must be begun anew.

        Args:
            records: Encoded records.
            capacity: The file grows up to here, by a little at a time.
        """
        if not self.has_room(len(records), capacity):
            with contextlib.suppress(OSError):  # then flushes are dearer, that is all
                self.fill(min(self.size + _GROWTH, capacity))
        paths.write_at(self.fd, records, self.end)
        self.flush()
        self.end += len(records)
        self.size = max(self.size, self.end)

    def has_room(self, size: int, capacity: int) -> bool:
        """Say whether records of so many bytes fit into a file that need not grow for them."""
        return self.end + size <= self.size - (_RESERVE if self.size < capacity else 0)

    def void(self, places: list[tuple[int, int]], stale: list[tuple[int, int]]) -> None:
        """Make records count for nothing, and wipe them out. Raises OSError.

        Args:
            places: Begin and size of records of this epoch.
            stale: Of records of earlier epochs, as far as they were not overwritten.
        """
        if places:
            # A head lies within one sector, which a disk writes as a whole. The rest may be torn.
            for place, size in places:
                paths.write_at(self.fd, void_head(size, self.epoch), place)
            self.flush()
        for place, size in places:
            paths.write_at(self.fd, bytes(size - HEAD_SIZE), place + HEAD_SIZE)
        for place, size in stale:
            begin = max(place, self.end)
            if begin < place + size:
                paths.write_at(self.fd, bytes(place + size - begin), begin)
        self.flush()

    def flush(self) -> None:
        """Make durable what was written. Raises OSError."""
        begin = time.perf_counter()
        os.fdatasync(self.fd)
        self._flushed(time.perf_counter() - begin)
        self.flushes += 1

    def begin_epoch(self) -> None:
        """Make all records invalid. Raises OSError: it is not known whether they are."""
        self.epoch += 1
        self._write_header()
        self.flush()
        self.end = RECORDS

    def _write_header(self) -> None:
        crc = zlib.crc32(_MAGIC + self.epoch.to_bytes(8, "little"))
        slot = _SLOT * (self.epoch % 2)
        paths.write_at(self.fd, _HEADER.pack(_MAGIC, crc, self.epoch), slot)

    def remove(self) -> None:
        """Remove the file. Raises OSError."""
        self.close()
        os.unlink(WAL_FILE, dir_fd=self._base_fd)

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
