"""Knowing that a file is as it was left, without asking for its times.

Who asks a file for its times makes the next write to it take a time of its own, to the nanosecond, and every
file that is written to afterwards take one that is not older (Linux 6.13 and later). The write-ahead log
would have a new time with every batch then, and a file system without a journal writes the inode with every
flush: a third more of waiting. So a writer that is at work looks at what costs nothing, sizes and
directories, and at the times only now and then.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from aixgo.session.file import paths

#: The moment of whoever has not let go of the event loop since it looked.
JUST_NOW: Final = object()
#: Seconds after which a writer looks at the times of a file again.
LOOK_AGAIN: Final = 0.02
#: Nanoseconds: the clock that files get their times from stands still for no longer.
_TICK: Final = 20_000_000


class Stamp(NamedTuple):
    """Identity, size and times of a file, in nanoseconds: equal as long as nobody touched it."""

    inode: int
    size: int
    modified: int
    changed: int


class Written(msgspec.Struct, frozen=True, gc=False):
    """What this process left behind: the times of the file lie between two moments."""

    inode: int
    size: int
    earliest: int
    latest: int

    def explains(self, stamp: Stamp) -> bool:
        """Say whether a file that looks like this was touched by nobody since."""
        return (
            stamp.inode == self.inode
            and stamp.size == self.size
            and self.earliest <= stamp.modified <= self.latest
            and self.earliest <= stamp.changed <= self.latest
        )


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def earliest_time() -> int:
    """Return the time that a file gets at least when it is written to from now on, in nanoseconds."""
    return time.time_ns() - _TICK


class Sight:
    """What is known of a store's directories and of its file system's clock. Safe in threads."""

    def __init__(self, directories: paths.Directories) -> None:
        self._directories = directories
        #: Whether files get their times from the clock of this machine. None: not known.
        self.clock_is_ours: bool | None = None
        self._numbers = itertools.count(1)
        #: By agent: the time of its directory, and the number that it has.
        self._seen: dict[str, tuple[int, int]] = {}
        #: The last question and its answer.
        self._last: tuple[object, str, int] = (None, "", 0)

    def names(self, agent_name: str, moment: object = None) -> int:
        """Return a number that is another one once a file of the agent was made, removed or replaced.

        Args:
            agent_name: The agent.
            moment: What was found out in this moment is not asked again. :data:`JUST_NOW`: nor is what was
                found out last.

        Returns:
            0 if that cannot be said.
        """
        asked, of, number = self._last
        if (moment is JUST_NOW or (asked is moment and moment is not None)) and of == agent_name:
            return number
        number = self._look(agent_name)
        self._last = (moment, agent_name, number)
        return number

    def _look(self, agent_name: str) -> int:
        fd = self._directories.opened_agent(agent_name)
        if fd is None or not self.clock_is_ours:
            return 0
        try:
            status = os.fstat(fd)
        except OSError:
            return 0
        # Whatever is done to a directory sets both times.
        changed = status.st_ctime_ns
        seen = self._seen.get(agent_name)
        if seen is not None and seen[0] == changed:
            return seen[1]
        # What changes next could get the very same time, on file systems and kernels that count in ticks.
        if not status.st_nlink or time.time_ns() - changed < _TICK:
            return 0
        number = next(self._numbers)
        self._seen[agent_name] = (changed, number)
        return number
