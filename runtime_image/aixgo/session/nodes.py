"""The messages of a log without their content: 60 bytes each."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from aixgo import identifiers
from aixgo.session import formats

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The node before the first message.
ROOT: Final = -1

#: Predecessor; number of messages up to this one; where the run of messages begins that each followed the one
#: before it in the log, up to this one; where the line begins, and how long it is.
_ROW: Final = struct.Struct("=iiiqI")
_ID: Final = 16
_CHAIN: Final = 20
#: Stands for an id that is no UUID.
_OTHER: Final = bytes(_ID)
#: So many new messages are packed together, in a quarter of the time; each needs 300 bytes until then.
_FRESH: Final = 8


class NodeTable:
    """Messages, numbered in the order of the log, with their places, predecessors and chain values."""

    __slots__ = (
        "_chains",
        "_count",
        "_fresh",
        "_ids",
        "_last",
        "_numbers",
        "_resumed",
        "_rows",
        "_texts",
    )

    def __init__(self) -> None:
        self._ids = bytearray()
        self._chains = bytearray()
        self._rows = bytearray()
        self._count = 0
        #: The newest messages, each of which follows the one before it, that are not packed yet: of each its
        #: id, where its line begins and ends, and its chain value.
        self._fresh: list[tuple[str, int, int, str]] = []
        #: The message that was added without its predecessors.
        self._resumed = ROOT
        #: Ids that are no UUIDs: other programs may have written them.
        self._texts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        #: The newest message, its id, its depth and its chain value: asked for again and again.
        self._last = (ROOT, "", 0, formats.NO_CHAIN)

    def __len__(self) -> int:
        return self._count

    def add(self, entry_id: str, parent: int, start: int, end: int, chain: str, depth: int = 0) -> int:
        """Add a message and return its number. ``depth`` only if it does not follow from its parent."""
        if self._fresh:
            self._pack()
        node = self._count
        raw = self._packed(entry_id, node)
        run = node
        if parent == ROOT:
            depth = depth or 1
        else:
            _, before, run_before, _, _ = _ROW.unpack_from(self._rows, parent * _ROW.size)
            depth = before + 1
            if parent == node - 1 and parent != self._resumed:
                run = run_before
        self._ids += raw
        self._chains += bytes.fromhex(chain)
        self._rows += _ROW.pack(parent, depth, run, start, end - start)
        self._count = node + 1
        self._last = (node, entry_id, depth, chain)
        return node

    def follow(self, leaf: int, added: Sequence[tuple[str, int, int, str]]) -> int:
        """Add messages of which each follows the one before it, and return the number of the last one.

        Args:
            leaf: What the first one follows.
            added: Of each its id, where its line begins and ends, and its chain value.
        """
        last = self._last
        if leaf != last[0] or leaf == ROOT:  # it begins another run
            for entry_id, begin, end, chain in added:
                leaf = self.add(entry_id, leaf, begin, end, chain)
            return leaf
        fresh = self._fresh
        fresh += added
        count = len(added)
        self._count += count
        newest = added[-1]
        leaf += count
        self._last = (leaf, newest[0], last[2] + count, newest[3])
        if len(fresh) >= _FRESH:
            self._pack()
        return leaf

    def _pack(self) -> None:
        """Bring what is new to where the rest is."""
        fresh, self._fresh = self._fresh, []
        node = self._count - len(fresh)
        _, depth, run, _, _ = _ROW.unpack_from(self._rows, (node - 1) * _ROW.size)
        if node - 1 == self._resumed:
            run = node
        ids = [each[0] for each in fresh]
        raw = identifiers.pack_all(ids)
        if raw is None:
            raw = b"".join([self._packed(entry_id, at) for at, entry_id in enumerate(ids, node)])
        self._ids += raw
        self._chains += bytes.fromhex("".join([each[3] for each in fresh]))
        pack = _ROW.pack
        self._rows += b"".join(
            [
                pack(at - 1, depth + at - node + 1, run, begin, end - begin)
                for at, (_, begin, end, _) in enumerate(fresh, node)
            ]
        )

    def _packed(self, entry_id: str, node: int) -> bytes:
        raw = identifiers.pack(entry_id)
        if raw is not None and raw != _OTHER:
            return raw
        self._texts[node] = entry_id
        self._numbers[entry_id] = node
        return _OTHER

    def resume(self, entry_id: str, depth: int, chain: str, start: int, end: int) -> int:
        """Add a message whose predecessors are not here, nor perhaps what lies between it and the next."""
        self._resumed = len(self)
        return self.add(entry_id, ROOT, start, end, chain, depth)

    def find(self, entry_id: str) -> int | None:
        """Return the last message with an id. The newest are found at once."""
        if entry_id == self._last[1] and entry_id:
            return self._last[0]
        if self._fresh:
            self._pack()
        raw = identifiers.pack(entry_id)
        if raw is None or raw == _OTHER:
            return self._numbers.get(entry_id)
        end = len(self._ids)
        while (position := self._ids.rfind(raw, 0, end)) >= 0:
            if position % _ID == 0:
                return position // _ID
            end = position + _ID - 1
        return None

    def at(self, node: int) -> tuple[str, int, str]:
        """Return the id of a message's entry, how many messages there are up to it, and its chain value."""
        last = self._last
        if node == last[0]:
            return last[1:]
        return self.entry_id(node), self.depth(node), self.chain(node)

    def entry_id(self, node: int) -> str:
        """Return the id of a message's entry; "" for :data:`ROOT`."""
        if node == self._last[0]:
            return self._last[1]
        if node == ROOT:
            return ""
        if self._fresh:
            self._pack()
        text = self._texts.get(node) if self._texts else None
        return identifiers.unpack(self._ids[node * _ID : (node + 1) * _ID]) if text is None else text

    def depth(self, node: int) -> int:
        """Return the number of messages from the beginning up to a node."""
        if node == self._last[0]:
            return self._last[2]
        return 0 if node == ROOT else self._row(node)[1]

    def chain(self, node: int) -> str:
        """Return the chain value at a node."""
        if node == self._last[0]:
            return self._last[3]
        if node == ROOT:
            return formats.NO_CHAIN
        if self._fresh:
            self._pack()
        return self._chains[node * _CHAIN : (node + 1) * _CHAIN].hex()

    def place(self, node: int) -> tuple[int, int]:
        """Return where a message's line begins and ends (with its line feed)."""
        _, _, _, start, length = self._row(node)
        return start, start + length

    def _row(self, node: int) -> tuple[int, int, int, int, int]:
        if self._fresh:
            self._pack()
        row: tuple[int, int, int, int, int] = _ROW.unpack_from(self._rows, node * _ROW.size)
        return row

    def runs(self, node: int, limit: int | None) -> list[range]:
        """Return the newest ``limit`` messages of a branch, newest run first; each run ascends."""
        found: list[range] = []
        left = len(self) if limit is None else limit
        while node != ROOT and left > 0:
            begin = max(self._row(node)[2], node - left + 1)
            found.append(range(begin, node + 1))
            left -= node + 1 - begin
            node = self._row(begin)[0]
        return found

    def ends(self) -> list[int]:
        """Return the messages that no message follows, newest first."""
        if self._fresh:
            self._pack()
        parents = {row[0] for row in _ROW.iter_unpack(self._rows)}
        return [node for node in range(len(self) - 1, -1, -1) if node not in parents]
