"""One session's JSONL file: reading it into an index, and cutting what a crash tore."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.errors import SessionCorruptedError, SessionNotFoundError
from aixgo.identifiers import new_id
from aixgo.session import formats, validation
from aixgo.session.file import legacy, paths, seeds
from aixgo.session.log import LogIndex, feed_lines
from aixgo.session.types import Repair, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.message import Message
    from aixgo.session.types import Branch, Checkpoint

#: How many messages are read at once when one of them is looked for.
_BLOCK = 256
#: How many messages are looked for from the end of a log.
_MOST_BACKWARDS = 4096
#: Messages that lie this close together in a file are read in one go.
_READ_GAP = 64 * 1024

#: Identity, size and times of a file: equal as long as nobody touched it.
_Stamp = tuple[int, int, int, int]


class LogReader:
    """One session of a store. Every method blocks; a lock makes them safe in threads."""

    #: Whether the session was deleted by this process.
    gone = False

    def __init__(
        self,
        directories: paths.Directories,
        agent_name: str,
        session_id: str,
        *,
        durable: bool,
        indexes: legacy.IndexCache,
        is_writer: Callable[[], bool],
        report: Callable[[Repair], None],
    ) -> None:
        self.agent_name = agent_name
        self.session_id = session_id
        self._directories = directories
        self._durable = durable
        self._indexes = indexes
        self._is_writer = is_writer
        self._report = report
        self._index = LogIndex(session_id)
        self._stamp: _Stamp | None = None
        #: Entry of Aixgo's index; only for logs that this library has not written to.
        self._legacy: dict[str, Any] = {}
        #: Held by whoever looks at the index or the file.
        self.lock = threading.RLock()
        #: Kept open by the writer.
        self._fd: int | None = None
        #: When the session was made, as this object of the log says.
        self._created: tuple[dict[str, Any], datetime | None] | None = None

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
                fd = paths.open_file(self._name, agent, os.O_RDWR if repair else os.O_RDONLY)
            except FileNotFoundError:
                return self._without_log()
            try:
                self._read(fd, agent, repair=repair, complete=complete)
            finally:
                os.close(fd)
            return self._index

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

    def _read(self, fd: int, agent: int, *, repair: bool, complete: bool) -> None:
        now = stamp_of(fd)
        if complete and not self._index.complete:
            self._index, self._stamp = LogIndex(self.session_id), None
        if self._stamp is not None and now[0] != self._stamp[0]:
            self.close_fd()  # another file took its place
        if now == self._stamp and (now[1] == self._index.size or not repair):
            return
        # A reader goes on where it stopped when the writer appended. The writer knows its own changes;
        # when somebody else touched the file, it reads everything again, so that no tampering is
        # overlooked.
        grown = self._stamp is not None and (
            now == self._stamp
            or (not self._is_writer() and now[0] == self._stamp[0] and now[1] > self._stamp[1])
        )
        if not grown:
            seeded = None if complete or self._stamp is not None else self._seeded(agent, now)
            self._index = seeded or LogIndex(self.session_id)
        index = self._index
        data = paths.read_range(fd, index.size, now[1])
        try:
            torn = feed_lines(index, data, index.size)
        except SessionCorruptedError:
            self._stamp = None
            raise
        if torn is not None and repair:
            paths.truncate(fd, torn, durable=self._durable)
            cut = f"cut {now[1] - torn} bytes of an entry that was never completed"
            self._report(Repair(self.agent_name, self.session_id, cut))
        self._stamp = stamp_of(fd)
        if index.session is None:
            self._apply_legacy_index(agent)

    def _seeded(self, agent: int, now: _Stamp) -> LogIndex | None:
        entry = self._indexes.get(self.agent_name, agent).get(self.session_id)
        return None if entry is None else seeds.index_of(entry.get(seeds.KEY), self.session_id, now)

    def index_entry(self) -> dict[str, Any]:
        """Return the session as the index of the agent has it. Raises as :meth:`refresh`."""
        with self.lock:
            entry = legacy.index_entry(self.record())
            seed = None if self._stamp is None else seeds.seed_of(self._index, self._stamp)
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
    def torn_bytes(self) -> int:
        """How many bytes at the end are no complete entry, as of the last :meth:`refresh`."""
        return 0 if self._stamp is None else self._stamp[1] - self._index.size

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
            session = _session_of((first or b"").partition(b"\n")[0])
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

    def _record(self, index: LogIndex) -> SessionRecord:
        session = index.session if index.session is not None else self._legacy
        if self._created is None or self._created[0] is not session:
            self._created = (session, formats.time_or_none(session.get("createdAt")))
        created = self._created[1] or index.first_time or _EPOCH
        updated = index.updated_at or formats.time_or_none(self._legacy.get("updatedAt")) or created
        if index.session is None:
            updated = max(updated, formats.time_or_none(self._legacy.get("updatedAt")) or updated)
        metadata = session.get("metadata")
        ttl = session.get("ttlSeconds", 0)
        return SessionRecord(
            id=self.session_id,
            agent_name=self.agent_name,
            user_id=str(session.get("userId", "")),
            created_at=created,
            updated_at=max(updated, created),
            message_count=index.message_count,
            version=index.version,
            current_leaf=index.entry_id(index.leaf),
            metadata=metadata if isinstance(metadata, dict) else {},
            ttl_seconds=float(ttl) if isinstance(ttl, int | float) else 0.0,
        )

    def is_expired(self, now: datetime) -> bool:
        """Say whether the session's time to live is over. Raises as :meth:`refresh`."""
        with self.lock:
            record = self.record()
            if not record.ttl_seconds:
                return False
            touched = max(self._index.touched_at or record.updated_at, record.updated_at)
            return (now - touched).total_seconds() >= record.ttl_seconds

    def is_current(self) -> bool:
        """Say whether the index is known to be what the file says, without reading it. Cheap."""
        agent = self._directories.opened_agent(self.agent_name)
        if agent is None or self._stamp is None or self.gone:
            return False
        try:
            status = os.stat(self._name, dir_fd=agent, follow_symlinks=False)
        except OSError:
            return False
        return stamp(status) == self._stamp and status.st_size == self._index.size

    def may_expire(self) -> bool:
        """Say whether the session has a time to live. The index must be up to date."""
        session = self._index.session
        return session is None or bool(session.get("ttlSeconds"))

    def newest_messages(self, limit: int | None, most: int) -> list[Message] | None:
        """Return the newest messages of the current branch. The index must be up to date.

        Returns:
            None if more than ``most`` bytes would have to be read.
        """
        index = self._index
        nodes = index.path(index.leaf, limit)
        wanted = index.message_count if limit is None else min(limit, index.message_count)
        if len(nodes) < wanted:
            return None
        if nodes and index.place(nodes[-1])[1] - index.place(nodes[0])[0] > most:
            return None
        return formats.decode_messages(self._lines(nodes))

    def messages(self, limit: int | None, before: str | None, branch: str | None) -> list[Message]:
        """Return the newest messages of a branch, oldest first.

        Raises:
            SessionNotFoundError: there is no such session.
            ValueError: no such message or branch.
        """
        with self.lock:
            index = self.refresh(complete=before is not None or branch is not None)
            if not index.complete:
                lines = self._newest_lines(limit)
                if lines is not None:
                    return formats.decode_messages(lines)
                index = self.refresh()
            node = index.leaf if branch is None else index.find(branch)
            nodes = index.path(node, limit if before is None else None)
            if before is not None:
                position = self._position(nodes, before)
                nodes = nodes[0 if limit is None else max(0, position - limit) : position]
            return formats.decode_messages(self._lines(nodes))

    def _newest_lines(self, limit: int | None) -> list[bytes] | None:
        """Return the lines of the newest messages from the end of the log. None: better read all of it."""
        index = self._index
        nodes = index.path(index.leaf, limit)
        wanted = index.message_count if limit is None else min(limit, index.message_count)
        lines = self._lines(nodes)
        if len(nodes) == wanted:
            return lines
        if wanted - len(nodes) > _MOST_BACKWARDS:
            return None
        fd = paths.open_file(self._name, self._agent_fd(), os.O_RDONLY)
        try:
            older = seeds.lines_before(fd, index.place(nodes[0])[0], lines[0], wanted - len(nodes))
        finally:
            os.close(fd)
        return None if older is None or len(older) + len(lines) != wanted else older + lines

    def _position(self, nodes: list[int], message_id: str) -> int:
        """Return the place of a message on a branch. Looks from the newest on."""
        end = len(nodes)
        while end > 0:
            begin = max(0, end - _BLOCK)
            lines = self._lines(nodes[begin:end])
            for position in range(end - 1, begin - 1, -1):
                if formats.decode_message(lines[position - begin]).id == message_id:
                    return position
            end = begin
        raise ValueError(f"no message {message_id!r} on this branch")

    def replay(self, idempotency_key: str) -> list[Message] | None:
        """Return the messages that were committed with a key. None: there are none."""
        with self.lock:
            found = self.refresh().turns.get(idempotency_key)
            if found is None:
                return None
            first, count = found
            return formats.decode_messages(self._lines(list(range(first, first + count))))

    def branches(self) -> list[Branch]:
        """Return all branches, the current one first."""
        with self.lock:
            return self.refresh().branches()

    def list_checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints, oldest first."""
        with self.lock:
            index = self.refresh()
            try:
                files = legacy.read_checkpoints(self._agent_fd(), self.session_id)
            except FileNotFoundError:
                files = {}
            checkpoints = {**files, **index.checkpoints}
            return sorted(checkpoints.values(), key=lambda checkpoint: checkpoint.timestamp)

    def _lines(self, nodes: list[int]) -> list[bytes]:
        """Return the lines of messages; ``nodes`` ascend."""
        if not nodes:
            return []
        places = [self._index.place(node) for node in nodes]
        lines: list[bytes] = []
        fd = self._fd
        if fd is None:
            fd = paths.open_file(self._name, self._agent_fd(), os.O_RDONLY)
        try:
            first = 0
            for number in range(1, len(places) + 1):
                if number < len(places) and places[number][0] - places[number - 1][1] <= _READ_GAP:
                    continue
                begin = places[first][0]
                data = paths.read_range(fd, begin, places[number - 1][1])
                lines += (data[start - begin : end - begin - 1] for start, end in places[first:number])
                first = number
        finally:
            if fd != self._fd:
                os.close(fd)
        return lines

    def export(self) -> list[bytes]:
        """Return a complete log: the lines, and what only files beside the log know."""
        with self.lock:
            index = self.refresh()
            lines: list[bytes] = []
            if self._stamp is not None:
                fd = paths.open_file(self._name, self._agent_fd(), os.O_RDONLY)
                try:
                    data = paths.read_range(fd, 0, index.size)
                finally:
                    os.close(fd)
                lines = [line for line in data.split(b"\n") if line.strip()]
            for checkpoint in legacy.read_checkpoints(self._agent_fd(), self.session_id).values():
                if checkpoint.id not in index.checkpoints:
                    lines.append(formats.checkpoint_entry(new_id(), checkpoint))
            if index.session is None:
                lines.append(self._adoption(index))
            return lines

    def _adoption(self, index: LogIndex) -> bytes:
        """Return the entry that makes a log of Aixgo (Go) complete."""
        now = formats.format_time(datetime.now(UTC))
        leaf = index.entry_id(index.leaf)
        return formats.adopted_entry(new_id(), now, self._adopted_session(index), leaf)

    def _adopted_session(self, index: LogIndex) -> dict[str, Any]:
        record = self._record(index)
        created = formats.format_time(record.created_at)
        return formats.session_data(
            record.id, record.agent_name, record.user_id, record.metadata, record.ttl_seconds, created
        )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamp_of(fd: int) -> _Stamp:
    """Return the stamp of an open file."""
    return stamp(os.fstat(fd))


def stamp(status: os.stat_result) -> _Stamp:
    """Return the stamp of a file."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _session_of(line: bytes) -> dict[str, Any] | None:
    try:
        data = formats.decode_entry(line).get("data")
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("event") != formats.SESSION_EVENT:
        return None
    session = data.get("session")
    return session if isinstance(session, dict) else None
