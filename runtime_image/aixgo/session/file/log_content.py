"""One session's JSONL file: what its entries say."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.identifiers import new_id
from aixgo.session import formats
from aixgo.session.file import legacy, paths, seeds
from aixgo.session.file.log_reader import LogReader

if TYPE_CHECKING:
    from aixgo.message import Message
    from aixgo.session.log import LogIndex
    from aixgo.session.types import Branch, Checkpoint

#: How many messages are read at once when one of them is looked for.
_BLOCK = 256
#: How many messages are looked for from the end of a log.
_MOST_BACKWARDS = 4096
#: Messages that lie this close together in a file are read in one go.
_READ_GAP = 64 * 1024


class LogContent(LogReader):
    """A session of a store, with what its messages say."""

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
