"""One session's JSONL file: appending to it."""

from __future__ import annotations

import contextlib
import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.errors import (
    CheckpointNotFoundError,
    SessionConflictError,
    StorageError,
)
from aixgo.session import formats
from aixgo.session.file import legacy, paths
from aixgo.session.file.log_reader import LogReader, stamp_of
from aixgo.session.log import LogIndex, readable_lines
from aixgo.session.types import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.session.types import Append, SessionRecord


class SessionLog(LogReader):
    """A session of a store that this process may write to."""

    def append(self, append: Append, guard: Callable[[], None]) -> SessionRecord:
        """Append messages, all or none.

        Args:
            append: What to append.
            guard: Raises if this process may not write, or not under this lease, any more.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionConflictError: it is not at the expected version.
            StorageError: nothing was written.
        """
        with self._lock:
            index = self.refresh(repair=True)
            if append.expected_version is not None and append.expected_version != index.version:
                raise SessionConflictError(
                    f"session is at version {index.version}, not {append.expected_version}"
                )
            if append.idempotency_key is not None and append.idempotency_key in index.turns:
                return self._record(index)
            if not append.messages:
                return self._record(index)
            now = datetime.now(UTC)
            timestamp = formats.format_time(now)
            lines = self._adoption_lines(index)
            header_lines = len(lines)
            ids = [str(uuid.uuid4()) for _ in append.messages]
            parent_id = index.entry_id(index.leaf)
            if len(ids) > 1 or append.idempotency_key is not None:
                lines.append(
                    formats.turn_entry(append.id, parent_id, timestamp, len(ids), append.idempotency_key)
                )
            first_message = len(lines)
            for entry_id, message in zip(ids, append.messages, strict=True):
                data = message.to_dict()
                lines.append(formats.encode_entry(entry_id, parent_id, timestamp, formats.MESSAGE, data))
                parent_id = entry_id
            place = self._write(lines, guard)
            if header_lines:
                self._adopt(index)
            first_node = index.node_count
            for number, line in enumerate(lines):
                end = place + len(line) + 1
                if number >= first_message:
                    digest = formats.content_digest(line, index.entry_id(index.leaf))
                    index.add_node(ids[number - first_message], index.leaf, place, end, digest)
                place = end
            if append.idempotency_key is not None:
                index.turns[append.idempotency_key] = (first_node, len(ids))
            index.appended(now, place)
            return self._record(index)

    def checkpoint(
        self, checkpoint_id: str, metadata: dict[str, Any], guard: Callable[[], None]
    ) -> Checkpoint:
        """Append a checkpoint of the current branch."""
        with self._lock:
            index = self.refresh(repair=True)
            now = datetime.now(UTC)
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
            lines = [*adoption, formats.checkpoint_entry(str(uuid.uuid4()), checkpoint)]
            end = self._write(lines, guard) + sum(len(line) + 1 for line in lines)
            if adoption:
                self._adopt(index)
            index.checkpointed(checkpoint, end)
            return checkpoint

    def restore(self, checkpoint_id: str, guard: Callable[[], None]) -> SessionRecord:
        """Go on at a checkpoint. Its checksum is verified against what is in the file.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointMismatchError: it belongs to another session.
            CheckpointCorruptedError: it, or an entry that it covers, was changed.
        """
        with self._lock:
            index = self.refresh(repair=True)
            checkpoint = index.checkpoints.get(checkpoint_id)
            if checkpoint is None:
                checkpoint = legacy.read_checkpoint(self._agent_fd(), checkpoint_id)
            if checkpoint is None:
                raise CheckpointNotFoundError
            node = index.verified(checkpoint)
            now = datetime.now(UTC)
            adoption = self._adoption_lines(index)
            entry = formats.restore_entry(
                str(uuid.uuid4()),
                index.entry_id(index.leaf),
                formats.format_time(now),
                checkpoint.id,
                checkpoint.entry_id,
                index.depth(node),
            )
            lines = [*adoption, entry]
            end = self._write(lines, guard) + sum(len(line) + 1 for line in lines)
            if adoption:
                self._adopt(index)
            index.moved(node, now)
            index.size = end
            return self._record(index)

    def delete(self) -> None:
        """Remove the log. What is beside it is the store's business."""
        with self._lock:
            agent = self._agent_fd()
            for name in (self._name, self._damaged_name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=agent)
            legacy.delete_checkpoints(agent, self.session_id, durable=self._durable)
            if self._durable:
                paths.sync(agent)
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
        with self._lock:
            agent = self._agent_fd()
            data = paths.read_file(self._name, agent) or b""
            lines = [line for line in data.split(b"\n") if line.strip()]
            kept = readable_lines(lines)
            paths.replace_file(self._damaged_name, agent, data, durable=self._durable)
            paths.replace_file(
                self._name, agent, b"".join(line + b"\n" for line in kept), durable=self._durable
            )
            self._stamp = None
            return f"{len(lines) - len(kept)} damaged lines were set aside"

    def create(self, lines: list[bytes]) -> SessionRecord:
        """Make the log, with its first lines.

        Raises:
            FileExistsError: there is one.
            StorageError: nothing was made.
        """
        with self._lock:
            agent = self._directories.open_agent(self.agent_name, create=True)
            fd = paths.open_file(self._name, agent, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            try:
                paths.write_all(fd, b"\n".join(lines) + b"\n")
                if self._durable:
                    os.fsync(fd)
                    paths.sync(agent)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=agent)
                raise
            finally:
                os.close(fd)
            self._index, self._stamp = LogIndex(self.session_id), None
            return self.record()

    def _write(self, lines: list[bytes], guard: Callable[[], None]) -> int:
        """Append whole lines and return where they begin. After an error the file is as it was before."""
        data = b"\n".join(lines) + b"\n"
        formats.check_batch(len(data))
        guard()
        flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if self._stamp is None else 0)
        fd = paths.open_file(self._name, self._agent_fd(), flags)
        begin = self._index.size
        try:
            try:
                paths.write_all(fd, data)
                if self._durable:
                    os.fdatasync(fd)
            except OSError:
                self._stamp = None  # whatever happens next, the file is read again
                paths.truncate(fd, begin, durable=self._durable)
                raise
            if flags & os.O_CREAT and self._durable:
                paths.sync(self._agent_fd())
            self._stamp = stamp_of(fd)
        finally:
            os.close(fd)
        if self._stamp[1] != begin + len(data):
            self._stamp = None
            raise StorageError("another program wrote to the session at the same time")
        return begin

    def _adoption_lines(self, index: LogIndex) -> list[bytes]:
        return [self._adoption(index)] if index.session is None else []

    def _adopt(self, index: LogIndex) -> None:
        index.session = self._adopted_session(index)
