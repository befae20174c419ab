"""One session's JSONL file: reading it into an index, and cutting what a crash tore."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.errors import SessionNotFoundError
from aixgo.session import formats, validation
from aixgo.session.file import legacy, paths, seeds, tail
from aixgo.session.file.identity import identity_of
from aixgo.session.file.sight import LOOK_AGAIN, Sight, Stamp, Written, stamp_of
from aixgo.session.log import LogIndex, WholeLogNeededError
from aixgo.session.log_lines import feed_lines
from aixgo.session.types import Repair, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aixgo.session.file.identity import Identity
    from aixgo.session.file.last_look import Block, LastLook
    from aixgo.session.recent import RecentMessages


class LogReader:
    """One session of a store. Every method blocks; a lock makes them safe in threads."""

    def __init__(
        self,
        directories: paths.Directories,
        sight: Sight,
        agent_name: str,
        session_id: str,
        *,
        durable: bool,
        indexes: legacy.IndexCache,
        recent: RecentMessages[int],
        last_look: LastLook,
        is_writer: Callable[[], bool],
        report: Callable[[Repair], None],
    ) -> None:
        self.agent_name = agent_name
        self.session_id = session_id
        #: What tells it from all other sessions of the store.
        self.key = (agent_name, session_id)
        #: Whether the session was deleted by this process.
        self.gone = False
        self._directories = directories
        self._sight = sight
        self._durable = durable
        self._indexes = indexes
        #: What is kept of the newest messages of all logs.
        self.recent = recent
        self._last_look = last_look
        self._is_writer = is_writer
        self._report = report
        self._index = LogIndex(session_id)
        #: What the file was like when it was read last, or written to. None: it is not there, or not known.
        self._stamp: Stamp | Written | None = None
        #: What :meth:`Sight.names` said then, and when a writer looks at the times of the file again.
        self._names = 0
        self._look_again = 0.0
        #: Entry of Aixgo's index; only for logs that this library has not written to.
        self._legacy: dict[str, Any] = {}
        #: Held by whoever looks at the index or the file.
        self.lock = threading.RLock()
        #: Kept open by the writer.
        self._fd: int | None = None
        #: What a record of the session begins with, as this object of the log says.
        self._identity: Identity | None = None
        #: The last record of the session, and the ``session`` object of the log that it was made of.
        self._known: tuple[Mapping[str, Any] | None, SessionRecord] | None = None

    @property
    def _name(self) -> str:
        return f"{self.session_id}.jsonl"

    def _agent_fd(self) -> int:
        return self._directories.open_agent(self.agent_name)

    def close_fd(self) -> None:
        """Close the file if it was kept open."""
        with self.lock:
            if self._fd is not None:
                fd, self._fd = self._fd, None
                os.close(fd)

    # -- reading -----------------------------------------------------------------------------------------

    def refresh(self, *, repair: bool = False, complete: bool = True) -> LogIndex:
        """Read what was written since the last time.

        Args:
            repair: This process is the writer: cut a tail that a crash tore.
            complete: The whole log has to be known, and not only its end.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionCorruptedError: the log cannot be understood.
        """
        with self.lock:
            try:
                agent = self._agent_fd()
                file = paths.open_seen(self._name, agent, os.O_RDWR if repair else os.O_RDONLY)
            except FileNotFoundError:
                return self._without_log()
            try:
                self._read(file, agent, repair=repair, complete=complete)
            finally:
                os.close(file[0])
            return self._index

    def look(self, file: paths.Seen, agent: int) -> None:
        """Read the end of the log out of its file, and keep it for who asks for its messages next.

        Args:
            file: The open file, and what it is like.
            agent: The agent's directory.

        Raises:
            SessionCorruptedError: the log cannot be understood.
        """
        self._read(file, agent, repair=False, complete=False, messages_follow=True)

    def _without_log(self) -> LogIndex:
        self._index, self._stamp = LogIndex(self.session_id), None
        try:
            entry = self._indexes.get(self.agent_name, self._agent_fd()).get(self.session_id)
        except FileNotFoundError:
            entry = None
        if entry is None or not legacy.is_without_log(entry):
            raise SessionNotFoundError
        self._legacy = entry
        return self._index

    def _read(
        self, file: paths.Seen, agent: int, *, repair: bool, complete: bool, messages_follow: bool = False
    ) -> None:
        fd, now = file[0], stamp_of(file[1])
        if complete and not self._index.complete:
            self._index, self._stamp = LogIndex(self.session_id), None
        known = self._borne_out(now)
        if known is not None and now.inode != known.inode:
            self.close_fd()  # another file took its place
        if now == known and (now.size == self._index.size or not repair):
            return
        # A reader goes on where it stopped when the writer appended. The writer knows its own changes;
        # when somebody else touched the file, it reads everything again, so that no tampering is
        # overlooked.
        grown = known is not None and (
            now == known or (not self._is_writer() and now.inode == known.inode and now.size > known.size)
        )
        block = None
        if not grown:
            resumed = None
            if not complete:
                if messages_follow:
                    block = tail.read_end(fd, now.size)
                else:
                    resumed = self._seeded(agent, now)
                resumed = resumed or tail.resumed(fd, now.size, self.session_id, block)
            self._index = resumed or LogIndex(self.session_id)
        try:
            torn = self._fed(fd, now.size, block)
        except BaseException:
            self._stamp = None
            raise
        index, self._stamp = self._index, now
        if torn is not None and repair:
            paths.truncate(fd, torn, durable=self._durable)
            cut = f"cut {now.size - torn} bytes of an entry that was never completed"
            self._report(Repair(self.agent_name, self.session_id, cut))
            self._stamp = stamp_of(os.fstat(fd))
        if index.session is None:
            self._apply_legacy_index(agent)
        if block is not None and torn is None:  # what is torn will be cut, and something else be there
            self._last_look.keep(index, block)

    def _borne_out(self, now: Stamp) -> Stamp | Written | None:
        """Return what is known of the file: as it is now, if nobody touched it since this process did."""
        known = self._stamp
        if isinstance(known, Written):
            if known.explains(now):
                self._stamp = known = now
            elif (now.inode, now.size) == (known.inode, known.size):
                self._sight.clock_is_ours = None  # or somebody touched the file; the next write tells
        return known

    def _fed(self, fd: int, size: int, block: Block | None) -> int | None:
        """Feed what the index does not know yet. Returns what :func:`feed_lines` does."""
        known = self._index.size
        rest = None if block is None else block.part(known, size)
        if rest is None:
            rest = paths.read_range(fd, known, size)
        if self._index.complete:
            return feed_lines(self._index, rest, known)
        try:
            if feed_lines(self._index, rest, known) is None:
                return None
        except WholeLogNeededError:
            pass
        self._index = LogIndex(self.session_id)
        return feed_lines(self._index, paths.read_range(fd, 0, size), 0)

    def _seeded(self, agent: int, now: Stamp) -> LogIndex | None:
        entry = self._indexes.get(self.agent_name, agent).get(self.session_id)
        return None if entry is None else seeds.index_of(entry.get(seeds.KEY), self.session_id, now)

    def index_entry(self) -> dict[str, Any]:
        """Return the session as the index of the agent has it. Raises as :meth:`refresh`."""
        with self.lock:
            entry = legacy.index_entry(self.record())
            seed = seeds.seed_of(self._index, self._stamp) if isinstance(self._stamp, Stamp) else None
            return entry if seed is None else {**entry, seeds.KEY: seed}

    @property
    def complete(self) -> bool:
        """Whether the whole log is known, and not only its end."""
        return self._index.complete

    @property
    def node_count(self) -> int:
        """How many messages are known."""
        return self._index.node_count

    def _apply_legacy_index(self, agent: int) -> None:
        """Take what only the index of Aixgo (Go) knows: the owner, a restore that nothing followed."""
        index = self._index
        entry = self._indexes.get(self.agent_name, agent).get(self.session_id)
        if entry is None and index.node_count == 0:
            self._stamp = None
            raise SessionNotFoundError  # what is left of a creation that did not come to its end
        self._legacy = entry or {}
        index.apply_original(self._legacy)

    @property
    def is_consistent(self) -> bool:
        """Whether all that the log says of itself is right, as of the last :meth:`refresh` of all of it."""
        return self._index.positions_are_right

    @property
    def torn_bytes(self) -> int:
        """How many bytes at the end are no complete entry, as of the last :meth:`refresh`."""
        return 0 if self._stamp is None else self._stamp.size - self._index.size

    def owner(self) -> str | None:
        """Return the user id without reading the whole log. None: there is no such session.

        Raises:
            SessionCorruptedError: the log cannot be understood.
        """
        with self.lock:
            if self._index.session is not None:
                return str(self._index.session.get("userId", ""))
            try:
                first = paths.read_file(self._name, self._agent_fd(), validation.MAX_USER_ID_BYTES * 8)
            except FileNotFoundError:
                first = None
            session = tail.session_of((first or b"").partition(b"\n")[0])
            if session is not None:
                return str(session.get("userId", ""))
            try:
                return self.record().user_id
            except SessionNotFoundError:
                return None

    def record(self, *, repair: bool = False) -> SessionRecord:
        """Return the session as it is now. Raises as :meth:`refresh`."""
        with self.lock:
            return self._record(self.refresh(repair=repair, complete=False))

    def known_record(self) -> SessionRecord:
        """Return the session. The index must be up to date."""
        return self._record(self._index)

    def record_at_once(self) -> SessionRecord | None:
        """Return the session as it is now, for a writer that is about to append.

        Returns:
            None if something would have to be read or waited for.
        """
        if not self.lock.acquire(blocking=False):
            return None
        try:
            return None if not self.is_current(object()) or self.may_be_over() else self.known_record()
        finally:
            self.lock.release()

    def _record(self, index: LogIndex) -> SessionRecord:
        known, session = self._known, index.session
        # Every message and every restore gives the session another version.
        if known is None or session is None or known[0] is not session or known[1].version != index.version:
            known = self._known = (session, self._made_record(index))
        return known[1]

    def _made_record(self, index: LogIndex) -> SessionRecord:
        session = index.session if index.session is not None else self._legacy
        known = self._identity
        if known is None or known.session is not session:
            known = self._identity = identity_of(session)
        created = known.created or index.first_time or _EPOCH
        updated = index.updated_at
        if updated is None or index.session is None:
            of_index = formats.time_or_none(self._legacy.get("updatedAt"))
            updated = max(updated or of_index or created, of_index or updated or created)
        leaf, count, _ = index.tip()
        return SessionRecord(
            self.session_id,
            self.agent_name,
            known.user_id,
            created,
            max(created, updated),
            count,
            index.version,
            leaf,
            known.metadata,
            known.ttl_seconds,
        )

    def living_record(self, now: datetime) -> SessionRecord | None:
        """Return the session unless its time to live is over. Raises as :meth:`refresh`."""
        with self.lock:
            record = self.record()
            if not record.ttl_seconds:
                return record
            touched = max(self._index.touched_at or record.updated_at, record.updated_at)
            return None if (now - touched).total_seconds() >= record.ttl_seconds else record

    def is_current(self, moment: object = None) -> bool:
        """Say whether the index is known to be what the file says, without reading it. Cheap.

        Args:
            moment: A writer that is about to append: what others may have done to the content, without
                changing the size, is only looked for now and then. See :meth:`Sight.names`.
        """
        if self._stamp is None or self.gone:
            return False
        fd, names = self._fd, self._names
        try:
            if (
                moment is not None
                and fd is not None
                and names
                and time.monotonic() < self._look_again
                and os.lseek(fd, 0, os.SEEK_END) == self._index.size
                and self._sight.names(self.agent_name, moment) == names
            ):
                return True  # as it was left
            names = self._sight.names(self.agent_name)  # before looking at the file
            if fd is not None:
                status = os.fstat(fd)
                if not status.st_nlink:  # removed, or another file took its place
                    return False
            else:
                agent = self._directories.opened_agent(self.agent_name)
                if agent is None:
                    return False
                status = os.stat(self._name, dir_fd=agent, follow_symlinks=False)
        except OSError:
            return False
        now = stamp_of(status)
        if self._borne_out(now) != now or now.size != self._index.size:
            return False
        self._names, self._look_again = names, time.monotonic() + LOOK_AGAIN
        return True

    def may_be_over(self) -> bool:
        """Say whether the time to live may be over, without reading the log. The index must be up to date."""
        session = self._index.session
        if session is None:
            return True
        ttl = session.get("ttlSeconds")
        if not ttl:
            return False
        touched = self._index.touched_at
        return touched is None or (datetime.now(UTC) - touched).total_seconds() >= ttl


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
