"""One session's JSONL file: what its entries say."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Self

from aixgo.errors import SessionCorruptedError
from aixgo.identifiers import new_id
from aixgo.session import formats, message_lines
from aixgo.session.file import legacy, paths, tail
from aixgo.session.file.last_look import Block
from aixgo.session.file.log_reader import LogReader
from aixgo.session.recent import Recent

if TYPE_CHECKING:
    from aixgo.message import Message
    from aixgo.session.log import LogIndex
    from aixgo.session.types import Branch, Checkpoint

#: How many messages are read at once when one of them is looked for.
_BLOCK = 256
#: How many messages are looked for from the end of a log.
_MOST_BACKWARDS = 4096


class _Reading:
    """Reads a log. The file is opened once something is wanted that is not at hand."""

    __slots__ = ("_at_hand", "_fd", "_log", "_own")

    def __init__(self, log: LogContent, at_hand: Block | None = None) -> None:
        self._log = log
        self._at_hand = at_hand
        self._fd: int | None = None
        #: Whether the descriptor is to be closed.
        self._own = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own and self._fd is not None:
            os.close(self._fd)

    def block(self, begin: int, end: int) -> Block:
        """Return a block that ends at ``end`` and begins at ``begin``, or before it if it is at hand."""
        at_hand = self._at_hand
        if at_hand is not None and at_hand.begin <= begin and at_hand.end == end:
            return at_hand
        return Block(begin, self.part(begin, end))

    def part(self, begin: int, end: int) -> bytes:
        """Return the bytes of the log between two places."""
        data = None if self._at_hand is None else self._at_hand.part(begin, end)
        if data is not None:
            return data
        if self._fd is None:
            self._fd, self._own = self._log.open_fd()
        return paths.read_range(self._fd, begin, end)


class LogContent(LogReader):
    """A session of a store, with what its messages say."""

    def newest_messages(self, limit: int | None, most: int) -> list[Message] | None:
        """Return the newest messages of the current branch. The index must be up to date.

        Returns:
            None if more than ``most`` bytes would have to be read, or the whole log.
        """
        index = self._index
        count = index.message_count
        wanted = count if limit is None else min(limit, count)
        if not wanted:
            if not count:  # what follows is known from its beginning
                self.recent.keep(self.key, Recent(index, index.leaf))
            return []
        recent = self.recent.get(self.key, index)
        if recent is not None and self._followed(recent, index, wanted, most):
            messages = recent.newest(wanted)
        else:
            found = self._read_newest(index, wanted, most)
            if found is None:
                return None
            messages, size = found
            recent = Recent(index, index.leaf)
            recent.add(messages, index.leaf, size)
        self.recent.keep(self.key, recent)
        return messages

    def known_messages(self, limit: int | None) -> list[Message] | None:
        """Return the newest messages of the current branch as the index has it. None: they must be read."""
        if not self.lock.acquire(blocking=False):
            return None
        try:
            index = self._index
            recent = self.recent.get(self.key, index)
            if recent is None or recent.place != index.leaf:
                return None
            _, count, _ = index.tip()
            wanted = count if limit is None or limit > count else limit
            return recent.newest(wanted) if wanted <= len(recent) else None
        finally:
            self.lock.release()

    def _followed(self, recent: Recent[int], index: LogIndex, wanted: int, most: int) -> bool:
        """Add to what is kept the messages since, if that is enough."""
        newer: list[range] = []
        for run in index.runs(index.leaf, wanted):
            if recent.place in run:
                if recent.place != run[-1]:
                    newer.append(range(recent.place + 1, run[-1] + 1))
                break
            newer.append(run)
        else:
            return False
        if sum(map(len, newer)) + len(recent) < wanted or index.span(newer) > most:
            return False
        if newer:
            recent.add(self._decoded(newer), index.leaf, index.span(newer))
        return True

    def _read_newest(self, index: LogIndex, wanted: int, most: int) -> tuple[list[Message], int] | None:
        runs = index.runs(index.leaf, wanted) if wanted <= index.node_count else []
        if sum(map(len, runs)) == wanted:
            size = index.span(runs)
            return None if size > most else (self._decoded(runs), size)
        if wanted > _MOST_BACKWARDS:
            return None
        with _Reading(self, self._last_look.take(index)) as reading:
            found = tail.newest_messages(
                reading.block, index.place(index.leaf), index.entry_id(index.leaf), wanted, most
            )
        return None if found is None or len(found[0]) != wanted else found

    def messages(self, limit: int | None, before: str | None, branch: str | None) -> list[Message]:
        """Return the newest messages of a branch, oldest first.

        Raises:
            SessionNotFoundError: there is no such session.
            ValueError: no such message or branch.
        """
        with self.lock:
            if before is None and branch is None:
                self.refresh(complete=False)
                found = self.newest_messages(limit, sys.maxsize)
                if found is not None:
                    return found
            index = self.refresh()
            node = index.leaf if branch is None else index.find(branch)
            if before is None:
                return self._decoded(index.runs(node, limit))
            nodes = index.path(node)
            position = self._position(nodes, before)
            nodes = nodes[0 if limit is None else max(0, position - limit) : position]
            return message_lines.decode_messages(self._lines(nodes))

    def _position(self, nodes: list[int], message_id: str) -> int:
        """Return the place of a message on a branch. Looks from the newest on."""
        end = len(nodes)
        while end > 0:
            begin = max(0, end - _BLOCK)
            lines = self._lines(nodes[begin:end])
            for position in range(end - 1, begin - 1, -1):
                if message_lines.decode_message(lines[position - begin]).id == message_id:
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
            return self._decoded([range(first, first + count)])

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

    def _decoded(self, runs: list[range]) -> list[Message]:
        """Return the messages of runs of nodes, oldest first; the newest run comes first."""
        messages: list[Message] = []
        with _Reading(self, self._last_look.take(self._index)) as reading:
            for run in reversed(runs):
                # Between its messages there are no others, but perhaps checkpoints.
                begin, end = self._index.place(run[0])[0], self._index.place(run[-1])[1]
                found = message_lines.decode_lines(reading.part(begin, end))
                if len(found) != len(run):
                    raise SessionCorruptedError("session log is corrupted: it was changed while it was read")
                messages += [line.data for line in found]
        return messages

    def _lines(self, nodes: list[int]) -> list[bytes]:
        """Return the lines of messages; ``nodes`` ascend."""
        lines: list[bytes] = []
        with _Reading(self) as reading:
            for node in nodes:
                begin, end = self._index.place(node)
                lines.append(reading.part(begin, end - 1))
        return lines

    def open_fd(self) -> tuple[int, bool]:
        """Return the descriptor of the file, and whether it is to be closed after use."""
        if self._fd is not None:
            return self._fd, False
        return paths.open_file(self._name, self._agent_fd(), os.O_RDONLY), True

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
        _, now = formats.present()
        leaf = index.entry_id(index.leaf)
        return formats.adopted_entry(new_id(), now, self._adopted_session(index), leaf)

    def _adopted_session(self, index: LogIndex) -> dict[str, Any]:
        record = self._record(index)
        created = formats.format_time(record.created_at)
        return formats.session_data(
            record.id, record.agent_name, record.user_id, record.metadata, record.ttl_seconds, created
        )
