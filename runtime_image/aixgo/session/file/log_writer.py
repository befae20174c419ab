"""One session's JSONL file: appending to it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aixgo.errors import (
    CheckpointNotFoundError,
    SessionConflictError,
    SessionNotFoundError,
    StorageError,
)
from aixgo.identifiers import new_id
from aixgo.session import formats, positions
from aixgo.session.file import legacy, paths, salvage, tail
from aixgo.session.file.change import Change, NewMessages, OtherChange, R
from aixgo.session.file.log_content import LogContent
from aixgo.session.file.sight import LOOK_AGAIN, Stamp, Written, earliest_time, stamp_of
from aixgo.session.file.wal import Names
from aixgo.session.log import LogIndex
from aixgo.session.log_lines import feed_lines
from aixgo.session.types import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.session.formats import Moment
    from aixgo.session.types import Append, SessionRecord

_TWO_WRITERS: Final = "another program wrote to the session at the same time"


class SessionLog(LogContent):
    """A session of a store that this process may write to.

    A change is prepared here, made durable by whoever called, and then applied to the file. In between
    nobody else may prepare one for the same session.
    """

    #: Told when a file was opened that stays open.
    opened: Callable[[SessionLog], None] = staticmethod(lambda _: None)

    _names_in_wal: Names | None = None

    def names(self) -> Names:
        """Return agent and session as the write-ahead log has them."""
        known = self._names_in_wal
        if known is None:
            known = self._names_in_wal = Names.of(self.agent_name, self.session_id)
        return known

    def prepare_append(self, append: Append, moment: Moment) -> Change[SessionRecord] | SessionRecord:
        """Return the change that appends messages, or the session when there is nothing to do.

        The index must be up to date.

        Args:
            append: What to append.
            moment: The present time.

        Raises:
            SessionConflictError: the session is not at the expected version.
            InvalidMessageError: a message cannot be stored.
        """
        index = self._index
        if append.expected_version is not None and append.expected_version != index.version:
            raise SessionConflictError(
                f"session is at version {index.version}, not {append.expected_version}"
            )
        key = append.idempotency_key
        if not append.messages or (key is not None and key in index.turns):
            return self._record(index)
        size, position_at = index.size, index.position_at
        if (
            len(append.messages) == 1
            and key is None
            and size - position_at < tail.SPACING
            and index.session is not None
        ):  # nothing but one line
            parent_id, _, chain = index.tip()
            entry_id = append.id
            line, digest = formats.message_entry(entry_id, parent_id, moment[1], append.messages[0])
            data = line + b"\n"
            added = [(entry_id, size, size + len(data), formats.extend_chain(chain, digest))]
        else:
            data, added, position_at = self._lines_of(append, moment[1])
        return NewMessages(
            self,
            size,
            data,
            self._stamp is None,
            append=append,
            index=index,
            moment=moment[0],
            added=added,
            position_at=position_at,
        )

    def _lines_of(self, append: Append, timestamp: str) -> tuple[bytes, list[tuple[str, int, int, str]], int]:
        """Return the lines of messages that are appended together, with what has to come before them.

        Returns:
            The lines, what :attr:`NewMessages.added` tells of the messages, and where the last entry begins
            that tells a position.
        """
        index, key, left = self._index, append.idempotency_key, len(append.messages)
        parent_id, _, chain = index.tip()
        size, position_at = index.size, index.position_at
        lines: list[bytes] = []
        alone = left == 1 and key is None  # else the id is that of the turn
        if index.session is None:
            lines.append(self._adoption(index))
        if not alone:
            lines.append(formats.turn_entry(append.id, parent_id, timestamp, left, key))
        if lines:
            size += _size(lines)
        added: list[tuple[str, int, int, str]] = []
        for message in append.messages:
            left -= 1
            if not left and size - position_at >= tail.SPACING and index.session is not None:
                position_at = size
                position = index.position().after(len(added), chain)
                lines.append(positions.position_entry(new_id(), parent_id, timestamp, position))
                size += len(lines[-1]) + 1
            entry_id = append.id if alone else new_id()
            line, digest = formats.message_entry(entry_id, parent_id, timestamp, message)
            chain = formats.extend_chain(chain, digest)
            lines.append(line)
            begin, size = size, size + len(line) + 1
            added.append((entry_id, begin, size, chain))
            parent_id = entry_id
        return _joined(lines), added, position_at

    def appended(self, change: NewMessages) -> SessionRecord:
        """Take note of messages that are in the file now, and return the session."""
        append, index = change.append, change.index
        self._index = index
        if index.session is None:
            self._adopt(index)
        if append.idempotency_key is not None:
            index.turns[append.idempotency_key] = (index.node_count, len(append.messages))
        leaf_before = index.leaf
        index.appended(change.added, change.moment, change.position_at)
        recent = self.recent.get(self.key, index)
        if recent is not None and recent.place == leaf_before:  # the next turn need not read them
            recent.add(append.messages, index.leaf, len(change.data))
            self.recent.keep(self.key, recent)
        record = self._made_record(index)
        self._known = (index.session, record)
        return record

    def prepare_checkpoint(
        self, checkpoint_id: str, metadata: dict[str, Any], moment: Moment
    ) -> Change[Checkpoint]:
        """Return the change that appends a checkpoint of the current branch. The index must be up to date."""
        index = self._index
        now = moment[0]
        place = index.leaf
        checkpoint = Checkpoint(
            id=checkpoint_id,
            session_id=self.session_id,
            timestamp=now,
            entry_id=index.entry_id(place),
            checksum=formats.content_checksum(
                index.chain(place),
                checkpoint_id=checkpoint_id,
                session_id=self.session_id,
                timestamp=now,
                entry_id=index.entry_id(place),
                message_count=index.depth(place),
                metadata=metadata,
            ),
            metadata=metadata,
            message_count=index.depth(place),
        )
        adoption = self._adoption_lines(index)
        lines = [*adoption, formats.checkpoint_entry(new_id(), checkpoint)]

        def finish() -> Checkpoint:
            self._index = index
            if adoption:
                self._adopt(index)
            index.checkpointed(checkpoint, index.size + _size(lines))
            return checkpoint

        return self._change(lines, finish)

    def knows_checkpoint(self, checkpoint_id: str) -> bool:
        """Say whether the log itself has a checkpoint. The index must be up to date."""
        return checkpoint_id in self._index.checkpoints

    def prepare_restore(self, checkpoint_id: str, moment: Moment) -> Change[SessionRecord]:
        """Return the change that goes on at a checkpoint. The index must be up to date.

        The checkpoint's checksum is verified against what is in the file.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointMismatchError: it belongs to another session.
            CheckpointCorruptedError: it, or an entry that it covers, was changed.
        """
        index = self._index
        checkpoint = index.checkpoints.get(checkpoint_id)
        if checkpoint is None:
            checkpoint = legacy.read_checkpoint(self._agent_fd(), checkpoint_id)
        if checkpoint is None:
            raise CheckpointNotFoundError
        node = index.verified(checkpoint)
        now, timestamp = moment
        adoption = self._adoption_lines(index)
        entry = formats.restore_entry(
            new_id(),
            index.entry_id(index.leaf),
            timestamp,
            checkpoint.id,
            checkpoint.entry_id,
            index.depth(node),
        )
        lines = [*adoption, entry]

        def finish() -> SessionRecord:
            self._index = index
            if adoption:
                self._adopt(index)
            size = index.size + _size(lines)
            index.moved(node, now)
            index.size = size
            return self._record(index)

        return self._change(lines, finish)

    def prepare_create(self, lines: list[bytes]) -> Change[SessionRecord]:
        """Return the change that makes the log, with its first lines."""

        def finish() -> SessionRecord:
            self._index = LogIndex(self.session_id)
            feed_lines(self._index, b"\n".join(lines) + b"\n", 0)
            return self._record(self._index)

        self._index, self._stamp, self._legacy = LogIndex(self.session_id), None, {}
        return self._change(lines, finish)

    def create_durably(self, lines: list[bytes]) -> SessionRecord:
        """Make the log without the help of a write-ahead log.

        Raises:
            FileExistsError: there is one.
            OSError: nothing was made.
        """
        with self.lock:
            record = self.apply(self.prepare_create(lines))
            if self._durable and self._fd is not None:
                try:
                    os.fsync(self._fd)
                    paths.sync(self._agent_fd())
                except OSError:
                    self._undo(self._fd, 0, creates=True)
                    raise
            return record

    def apply(self, change: Change[R], moment: object = None) -> R:
        """Write a change to the file and return its result.

        Args:
            change: What to write.
            moment: See :meth:`Sight.names`.

        Raises:
            OSError: the file is as it was before.
            StorageError: another program wrote to the file.
            SessionNotFoundError: the session was deleted in between.
        """
        with self.lock:
            if self.gone:
                raise SessionNotFoundError
            begin, data = change.begin, change.data
            if change.creates:
                fd = self._writable(creates=True)
            elif self._index.size != begin:
                raise StorageError(_TWO_WRITERS)
            elif self._fd is None:
                fd = self._writable(creates=False)
            else:
                fd = self._fd
            known = self._stamp
            earliest = earliest_time()
            try:
                paths.write_all(fd, data)
            except OSError:
                self._undo(fd, begin, creates=change.creates)
                raise
            latest = time.time_ns()
            self._stamp = None
            written = Written(0 if known is None else known.inode, begin + len(data), earliest, latest)
            left = self._left(fd, written, moment)
            result = change.finish()
            self._stamp = left
            return result

    def _left(self, fd: int, written: Written, moment: object) -> Stamp | Written:
        """Return what the file is like now that it was written to. Raises as :meth:`apply`."""
        names = self._sight.names(self.agent_name, moment)
        if names and names == self._names:
            if os.lseek(fd, 0, os.SEEK_END) != written.size:
                raise StorageError(_TWO_WRITERS)
            return written
        status = os.fstat(fd)
        if status.st_nlink == 0:
            raise SessionNotFoundError
        if status.st_size != written.size:
            raise StorageError(_TWO_WRITERS)
        now = stamp_of(status)
        if self._sight.clock_is_ours is None:
            ours = msgspec.structs.replace(written, inode=now.inode)
            self._sight.clock_is_ours = ours.explains(now)
        self._names, self._look_again = names, time.monotonic() + LOOK_AGAIN
        return now

    def _writable(self, *, creates: bool) -> int:
        self.close_fd()
        agent = self._directories.open_agent(self.agent_name, create=creates)
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if creates else 0)
        self._fd = paths.open_file(self._name, agent, flags)
        self.opened(self)
        return self._fd

    def _undo(self, fd: int, size: int, *, creates: bool) -> None:
        self._stamp = None  # whatever happens next, the file is read again
        if creates:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._agent_fd())
            self.close_fd()
        else:
            with contextlib.suppress(OSError):  # what is left is cut before the next change
                paths.truncate(fd, size, durable=self._durable)

    def _change(self, lines: list[bytes], finish: Callable[[], R]) -> Change[R]:
        return OtherChange(self, self._index.size, _joined(lines), self._stamp is None, note=finish)

    def delete(self) -> None:
        """Remove the log. What is beside it is the store's business."""
        with self.lock:
            agent = self._agent_fd()
            for name in (self._name, self._damaged_name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=agent)
            legacy.delete_checkpoints(agent, self.session_id, durable=self._durable)
            if self._durable:
                paths.sync(agent)
            self.gone = True
            self.close_fd()
            self._index, self._stamp, self._legacy = LogIndex(self.session_id), None, {}

    @property
    def _damaged_name(self) -> str:
        return f"{self.session_id}.damaged"

    def salvage(self) -> str:
        """Drop what is no entry from a damaged log.

        The log as it was is kept beside it, as ``<session>.damaged``.

        Returns:
            What was done, for people.
        """
        with self.lock:
            agent = self._agent_fd()
            data = paths.read_file(self._name, agent) or b""
            lines = [line for line in data.split(b"\n") if line.strip()]
            kept = salvage.readable_lines(lines)
            paths.replace_file(self._damaged_name, agent, data, durable=self._durable)
            paths.replace_file(
                self._name, agent, b"".join(line + b"\n" for line in kept), durable=self._durable
            )
            self._stamp = None
            self.close_fd()
            return f"{len(lines) - len(kept)} damaged lines were set aside"

    def _adoption_lines(self, index: LogIndex) -> list[bytes]:
        return [self._adoption(index)] if index.session is None else []

    def _adopt(self, index: LogIndex) -> None:
        index.session = self._adopted_session(index)


def _joined(lines: list[bytes]) -> bytes:
    """Return lines as they stand in a file. Raises InvalidMessageError: they are too much for one commit."""
    data = lines[0] + b"\n" if len(lines) == 1 else b"\n".join([*lines, b""])
    formats.check_batch(len(data))
    return data


def _size(lines: list[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)
