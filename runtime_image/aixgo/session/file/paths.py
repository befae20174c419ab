"""Directories and files of a store: never opened through a symbolic link, closed to others."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aixgo.errors import InvalidPathComponentError, StorageError
from aixgo.session import validation

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
#: Rights that a file of a store gives to nobody.
_NOT_FOR_FILES: Final = 0o7777 & ~FILE_MODE
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: The descriptor of an open file, and what the file is like.
Seen = tuple[int, os.stat_result]

#: Where sessions are kept when nothing else is said.
DEFAULT_DIRECTORY: Final = "~/.aixgo/sessions"


def directory_of(path: str | os.PathLike[str] | None) -> Path:
    """Return the directory of a store. ``~`` is expanded; None and "" are the default, as in Go.

    Raises:
        StorageError: ``~`` stands for a home directory that nobody knows.
    """
    try:
        return Path(path or DEFAULT_DIRECTORY).expanduser()
    except RuntimeError as error:
        raise StorageError("the home directory is not known: set HOME, or name a directory") from error


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an ``OSError`` into a StorageError that says what failed and why, without a path."""
    try:
        yield
    except OSError as error:
        raise storage_error(what, error) from error


def storage_error(what: str, error: OSError) -> StorageError:
    """Return a StorageError that says what failed and why, without a path."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StorageError(f"{what}: {reason}")


class WouldWaitError(Exception):
    """What was to be done without waiting cannot be done so."""


_BUFFER: Final = 64 * 1024


class _Patience(threading.local):
    """How many bytes this thread may still read without waiting for the disk; None: it may wait."""

    left: int | None = None

    def __init__(self) -> None:
        #: What is read is in here for a moment: to ask for as much memory each time costs more than reading.
        self.buffer = bytearray(_BUFFER)


_patience = _Patience()


class without_waiting:  # noqa: N801 - read as a word in a `with` statement
    """Read, inside the block, only what is in the page cache, and up to ``most`` bytes.

    Raises:
        WouldWaitError: something else was to be read, or somebody else opens a directory.
    """

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        self._most = most

    def __enter__(self) -> None:
        _patience.left = self._most

    def __exit__(self, *_: object) -> None:
        _patience.left = None


def sync(fd: int) -> None:
    """Make what was written to a file or a directory durable."""
    os.fsync(fd)


class Directories:
    """The base directory and the directories of the agents. Keeps their descriptors open."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._base_fd: int | None = None
        self._agents: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=_patience.left is None):
            raise WouldWaitError
        try:
            yield
        finally:
            self._lock.release()

    def open_base(self, *, create: bool) -> int:
        """Return the descriptor of the base directory.

        Raises:
            FileNotFoundError: it does not exist and was not to be created.
        """
        known = self._base_fd
        if known is not None:
            return known
        with self._alone():
            if self._base_fd is None:
                if create:
                    self.base.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
                # The base itself may be a symbolic link: whoever configures it decides.
                fd = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                tighten(fd, DIRECTORY_MODE)
                self._base_fd = fd
            return self._base_fd

    def open_agent(self, agent_name: str, *, create: bool = False) -> int:
        """Return the descriptor of an agent's directory.

        Raises:
            FileNotFoundError: it does not exist and was not to be created.
            InvalidPathComponentError: it is a symbolic link.
        """
        base = self.open_base(create=create)
        with self._alone():
            fd = self._agents.get(agent_name)
            if fd is not None and os.fstat(fd).st_nlink > 0:
                return fd
            if fd is not None:  # somebody removed the directory
                os.close(self._agents.pop(agent_name))
            made = False
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(agent_name, DIRECTORY_MODE, dir_fd=base)
                    made = True
            try:
                fd = os.open(agent_name, _DIRECTORY_FLAGS, dir_fd=base)
            except NotADirectoryError:
                if is_link(agent_name, base):
                    raise InvalidPathComponentError(
                        "invalid agent name: its directory is a symbolic link"
                    ) from None
                raise
            tighten(fd, DIRECTORY_MODE)
            if made:
                sync(base)
            self._agents[agent_name] = fd
            return fd

    def probe(self) -> None:
        """Make sure that the base directory is there and can be written to. Raises OSError: it is not."""
        fd = self.open_base(create=True)
        if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=fd):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def opened_agent(self, agent_name: str) -> int | None:
        """Return the descriptor of an agent's directory if it was opened. The directory may be gone."""
        return self._agents.get(agent_name)

    def opened_agents(self) -> list[str]:
        """Return the names of the agents whose directories were opened. They may be gone."""
        return sorted(self._agents)

    def agent_names(self) -> list[str]:
        """Return the names of all agent directories, sorted. Links and strange names are left out."""
        try:
            base = self.open_base(create=False)
        except FileNotFoundError:
            return []
        names = [entry.name for entry in listing(base) if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in names if validation.is_component(name))

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            for fd in self._agents.values():
                os.close(fd)
            self._agents.clear()
            if self._base_fd is not None:
                os.close(self._base_fd)
                self._base_fd = None


def listing(dir_fd: int) -> list[os.DirEntry[str]]:
    """Return what is in a directory."""
    # Two that read through one descriptor, in different threads, would each see a part.
    own = os.open(".", _DIRECTORY_FLAGS, dir_fd=dir_fd)
    try:
        with os.scandir(own) as entries:
            found = list(entries)
            # While the descriptor is there: links are resolved through it, and types that are not known.
            for entry in found:
                entry.is_dir(follow_symlinks=False)
            return found
    finally:
        os.close(own)


def is_link(name: str, dir_fd: int) -> bool:
    """Say whether a name in a directory is a symbolic link."""
    return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)


def tighten(fd: int, mode: int) -> None:
    """Take away the rights that others have on an open file or directory, if it is ours to change."""
    if os.fstat(fd).st_mode & 0o7777 & ~mode:
        with contextlib.suppress(PermissionError, OSError):
            os.fchmod(fd, mode)


def open_file(name: str, dir_fd: int, flags: int) -> int:
    """Open a file of a directory. Files that are made get the mode 0600.

    Raises:
        InvalidPathComponentError: it is a symbolic link.
    """
    return open_seen(name, dir_fd, flags)[0]


def open_seen(name: str, dir_fd: int, flags: int) -> Seen:
    """Open a file as :func:`open_file` does, and return also what it is like."""
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidPathComponentError("symbolic links are not followed") from error
        raise
    status = os.fstat(fd)
    if status.st_mode & _NOT_FOR_FILES:
        tighten(fd, FILE_MODE)
        status = os.fstat(fd)
    return fd, status


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``.

    Raises:
        OSError: not all of it could be written.
    """
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def write_at(fd: int, data: bytes, position: int) -> None:
    """Write all of ``data`` at a position.

    Raises:
        OSError: not all of it could be written.
    """
    written = os.pwrite(fd, data, position)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], position + written)


def read_range(fd: int, start: int, end: int) -> bytes:
    """Return the bytes from ``start`` to ``end``, or fewer when the file is shorter."""
    left = _patience.left
    if left is not None:
        return _cached_range(fd, start, min(end, start + left + 1))
    parts: list[bytes] = []
    while start < end and (part := os.pread(fd, min(end - start, 1 << 24), start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _cached_range(fd: int, start: int, end: int) -> bytes:
    left = _patience.left or 0
    if end - start > left:
        size = os.fstat(fd).st_size
        if min(end, size) - start > left:
            raise WouldWaitError
        end = max(start, size)
    wanted, done = end - start, 0
    buffer = memoryview(_patience.buffer if wanted <= _BUFFER else bytearray(wanted))
    while done < wanted:
        try:
            read = os.preadv(fd, [buffer[done:wanted]], start + done, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise WouldWaitError from error
            raise
        if not read:
            break
        done += read
    _patience.left = left - done
    return bytes(buffer[:done])


def replace_file(name: str, dir_fd: int, data: bytes, *, durable: bool) -> None:
    """Write a file as a whole: readers see the old one or the new one, also after a crash."""
    temporary = f".{secrets.token_hex(8)}.tmp"
    fd = open_file(temporary, dir_fd, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            write_all(fd, data)
            if durable:
                sync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise
    if durable:
        sync(dir_fd)


def read_file(name: str, dir_fd: int, limit: int = 1 << 30) -> bytes | None:
    """Return a whole file, or None if there is none or it is a link."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        return read_range(fd, 0, min(os.fstat(fd).st_size, limit))
    finally:
        os.close(fd)


def truncate(fd: int, size: int, *, durable: bool) -> None:
    """Cut a file."""
    os.ftruncate(fd, size)
    if durable:
        sync(fd)
