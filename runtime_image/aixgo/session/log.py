"""What a session's log means: branches, counts, checkpoints. Pure; every store and every import uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aixgo.errors import CheckpointCorruptedError, CheckpointMismatchError
from aixgo.session import formats, positions
from aixgo.session.nodes import ROOT, NodeTable
from aixgo.session.types import Branch, Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime


class WholeLogNeededError(Exception):
    """An entry refers to one that is before what an index knows of a log."""


@dataclass(slots=True)
class _OpenTurn:
    """Messages that belong together, of which not all were seen yet."""

    wanted: int
    key: str | None
    end: int
    lines: list[tuple[bytes, int, int, dict[str, Any]]] = field(default_factory=list)
    #: How many messages are among the lines.
    messages: int = 0


class LogIndex:
    """Everything about a log but its messages' content. Messages are nodes, numbered in the order of the log.

    :meth:`feed` takes the lines in order. What belongs to a turn counts only when the whole turn was seen, so
    :attr:`size` may stay behind the lines that were fed.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        #: The ``session`` object of the log; None for a log of Aixgo (Go) that nobody has added to yet.
        self.session: dict[str, Any] | None = None
        self.leaf = ROOT
        #: Messages and restores so far.
        self.version = 0
        #: Where the part of the log that counts ends.
        self.size = 0
        self.checkpoints: dict[str, Checkpoint] = {}
        #: Idempotency key -> first node and number of messages.
        self.turns: dict[str, tuple[int, int]] = {}
        self.first_time: datetime | None = None
        #: Newest message or restore.
        self.updated_at: datetime | None = None
        #: Newest entry of any kind.
        self.touched_at: datetime | None = None
        #: Whether it knows the whole log, and not only its end.
        self.complete = True
        #: Where the last entry begins that tells a position.
        self.position_at = 0
        #: Whether every position that it tells is right. If not, another program changed what comes before.
        self.positions_are_right = True
        self._nodes = NodeTable()
        self._turn: _OpenTurn | None = None

    @classmethod
    def resumed(
        cls,
        session_id: str,
        *,
        session: dict[str, Any],
        leaf: str,
        depth: int,
        chain: str,
        place: tuple[int, int],
        version: int,
        size: int,
        updated_at: datetime,
        touched_at: datetime,
    ) -> LogIndex:
        """Return the index of a log of which only the newest message of the current branch is known.

        It can be appended to, and checkpoints can be made. It knows no checkpoint, no other branch and no
        idempotency key.
        """
        index = cls(session_id)
        index.complete = False
        index.session, index.version, index.size = session, version, size
        index.updated_at, index.touched_at = updated_at, touched_at
        if leaf:
            index.leaf = index._nodes.resume(leaf, depth, chain, *place)
        return index

    # -- reading a log -----------------------------------------------------------------------------------

    def feed(self, raw: bytes, start: int, end: int) -> None:
        """Take the next line. Its place is ``start`` to ``end``, which counts the line feed.

        Raises:
            ValueError: it is no entry, or not one that may stand here.
        """
        if not raw.strip():
            if self._turn is None:
                self.size = end
            return
        entry = formats.decode_entry(raw)
        if self._turn is not None:
            self._feed_turn(self._turn, raw, start, end, entry)
            return
        if entry["type"] == formats.MESSAGE:
            self._add_message(raw, start, end, entry)
        elif not self._add_other(start, end, entry):
            return
        self.size = end

    def _add_other(self, start: int, end: int, entry: dict[str, Any]) -> bool:
        """Take an entry that is no message. False: it counts together with those that follow."""
        kind, data = entry["type"], entry.get("data")
        moment = formats.time_or_none(entry.get("timestamp"))
        if kind == formats.CHECKPOINT:
            self._add_checkpoint(data)
        elif kind == formats.METADATA and isinstance(data, dict):
            if data.get("event") == formats.TURN_EVENT and self._begin_turn(data, end):
                return False
            self._add_event(data, moment, start)
        self._touch(moment)
        return True

    def _feed_turn(self, turn: _OpenTurn, raw: bytes, start: int, end: int, entry: dict[str, Any]) -> None:
        turn.lines.append((raw, start, end, entry))
        if entry["type"] == formats.MESSAGE:
            turn.messages += 1
        elif not positions.is_position(entry):
            raise ValueError("a turn was not completed")
        if turn.messages < turn.wanted:
            return
        self._turn = None
        first = len(self._nodes)
        for line in turn.lines:
            if line[3]["type"] == formats.MESSAGE:
                self._add_message(*line)
            else:
                self._add_position(line[3]["data"], line[1])
        if turn.key is not None:
            self.turns.setdefault(turn.key, (first, turn.wanted))
        self.size = end

    def _begin_turn(self, data: dict[str, Any], end: int) -> bool:
        wanted, key = formats.turn_size(data), data.get("idempotencyKey")
        if wanted < 1:
            return False
        self._turn = _OpenTurn(wanted, key if isinstance(key, str) else None, end)
        return True

    def drop_open_turn(self) -> None:
        """Forget the lines of a turn that was not complete; they are fed again from :attr:`size` on."""
        self._turn = None

    def _add_message(self, raw: bytes, start: int, end: int, entry: dict[str, Any]) -> None:
        parent_id = entry.get("parentId")
        # Another program may have left out what came before: the chain ends there.
        parent = self._nodes.find(parent_id) if isinstance(parent_id, str) else None
        if parent is None:
            if parent_id and not self.complete:
                raise WholeLogNeededError
            parent = ROOT
        self.add_node(entry["id"], parent, start, end, formats.content_digest(raw, parent_id))
        moment = formats.time_or_none(entry.get("timestamp"))
        self._touch(moment)
        self._update(moment)

    def add_node(self, entry_id: str, parent: int, start: int, end: int, digest: str) -> int:
        """Add a message as the new leaf and return its node."""
        chain = formats.extend_chain(self.chain(parent), digest)
        node = self._nodes.add(entry_id, parent, start, end, chain)
        self.leaf = node
        self.version += 1
        return node

    def _add_checkpoint(self, data: Any) -> None:
        checkpoint = formats.checkpoint_of(data)
        self.checkpoints[checkpoint.id] = checkpoint

    def _add_event(self, data: dict[str, Any], moment: datetime | None, start: int) -> None:
        event = data.get("event")
        if event == formats.SESSION_EVENT and isinstance(data.get("session"), dict):
            self.session = data["session"]
            if isinstance(data.get("currentLeaf"), str):
                self.leaf = self._found(data["currentLeaf"])
        elif event == formats.RESTORE_EVENT:
            self.leaf = self._found(str(data.get("entryId", "")))
            self.version += 1
            self._update(moment)
        elif event == positions.POSITION_EVENT:
            self._add_position(data, start)

    def _add_position(self, data: dict[str, Any], start: int) -> None:
        self.position_at = start
        self.positions_are_right &= positions.position_of(data) == self.position()

    def _found(self, entry_id: str) -> int:
        try:
            return self.find(entry_id)
        except ValueError:
            if self.complete:
                raise
            raise WholeLogNeededError from None

    def _touch(self, moment: datetime | None) -> None:
        if moment is not None:
            self.first_time = self.first_time or moment
            self.touched_at = max(self.touched_at or moment, moment)

    def _update(self, moment: datetime | None) -> None:
        if moment is not None:
            self.updated_at = max(self.updated_at or moment, moment)

    # -- asking ------------------------------------------------------------------------------------------

    @property
    def node_count(self) -> int:
        """Number of messages of all branches together."""
        return len(self._nodes)

    @property
    def in_turn(self) -> bool:
        """Whether the log ends inside a turn."""
        return self._turn is not None

    @property
    def message_count(self) -> int:
        """Number of messages on the current branch."""
        return self.depth(self.leaf)

    def position(self) -> positions.Position:
        """Return where the session stands."""
        _, count, chain = self.tip()
        return positions.Position(chain, count, self.version)

    def tip(self) -> tuple[str, int, str]:
        """Return the id of the branch's newest message, how many it has, and its chain value."""
        return self._nodes.at(self.leaf)

    def entry_id(self, node: int) -> str:
        """Return the id of a message's entry; "" for :data:`ROOT`."""
        return self._nodes.entry_id(node)

    def depth(self, node: int) -> int:
        """Return the number of messages from the beginning up to a node."""
        return self._nodes.depth(node)

    def chain(self, node: int) -> str:
        """Return the chain value at a node."""
        return self._nodes.chain(node)

    def place(self, node: int) -> tuple[int, int]:
        """Return where a message's line begins and ends (with its line feed)."""
        return self._nodes.place(node)

    def find(self, entry_id: str) -> int:
        """Return the node of an entry; "" is :data:`ROOT`.

        Raises:
            ValueError: there is no such message.
        """
        if entry_id == "":
            return ROOT
        node = self._nodes.find(entry_id)
        if node is None:
            raise ValueError(f"no entry {entry_id!r}")
        return node

    def path(self, node: int, limit: int | None = None) -> list[int]:
        """Return the newest ``limit`` nodes of a branch, oldest first."""
        return [step for run in reversed(self._nodes.runs(node, limit)) for step in run]

    def runs(self, node: int, limit: int | None) -> list[range]:
        """Return what :meth:`path` returns in runs of nodes that lie behind each other, newest run first."""
        return self._nodes.runs(node, limit)

    def span(self, runs: list[range]) -> int:
        """Return how many bytes lie between the beginning and the end of runs."""
        return sum(self.place(run[-1])[1] - self.place(run[0])[0] for run in runs)

    def backwards(self, node: int) -> Iterator[int]:
        """Yield the nodes of a branch, newest first."""
        for run in self._nodes.runs(node, None):
            yield from reversed(run)

    def branches(self) -> list[Branch]:
        """Return all lines of history: the current one first, then the others, newest first."""
        leaves = [node for node in self._nodes.ends() if node != self.leaf]
        return [self._branch(self.leaf), *(self._branch(node) for node in leaves)]

    def _branch(self, node: int) -> Branch:
        return Branch(self.entry_id(node), self.depth(node), node == self.leaf)

    def verified(self, checkpoint: Checkpoint) -> int:
        """Return the node of a checkpoint whose checksum is right.

        Raises:
            CheckpointMismatchError: it belongs to another session.
            CheckpointCorruptedError: an entry or the checkpoint was changed, or an entry is missing.
        """
        if checkpoint.session_id != self.session_id:
            raise CheckpointMismatchError
        try:
            node = self.find(checkpoint.entry_id)
        except ValueError:
            raise CheckpointCorruptedError("checkpoint entry not found") from None
        if checkpoint.message_count is None:
            intact = checkpoint.checksum == formats.ids_checksum(
                self.entry_id(step) for step in self.path(node)
            )
        else:
            intact = formats.checkpoint_is_intact(checkpoint, self.chain(node), self.depth(node))
        if not intact:
            raise CheckpointCorruptedError
        return node

    def apply_original(self, metadata: Mapping[str, Any]) -> None:
        """Take what only the SessionMetadata of Aixgo (Go) knows: a restore that nothing followed."""
        updated = formats.time_or_none(metadata.get("updatedAt"))
        # After a crash it is older than the log; then the newest entry is the leaf.
        if updated is None or (self.updated_at is not None and updated < self.updated_at):
            return
        leaf = metadata.get("currentLeaf") or ""
        if isinstance(leaf, str) and (leaf == "" or self._nodes.find(leaf) is not None):
            self.leaf = self.find(leaf)

    def moved(self, leaf: int, moment: datetime) -> None:
        """Note a restore that was just written."""
        self.leaf = leaf
        self.version += 1
        self._touch(moment)
        self._update(moment)

    def appended(
        self, added: Sequence[tuple[str, int, int, str]], moment: datetime, position_at: int
    ) -> None:
        """Note messages that were just written, one after the other, at the end of the log.

        Args:
            added: Of each the id of its entry, where its line begins and ends, and its chain value.
            moment: When.
            position_at: Where the last entry begins that tells a position.
        """
        self.leaf = self._nodes.follow(self.leaf, added)
        self.version += len(added)
        self.size, self.position_at = added[-1][2], position_at
        touched, updated = self.touched_at, self.updated_at
        if touched is None or updated is None:
            self._touch(moment)
            self._update(moment)
            return
        if moment > touched:
            self.touched_at = moment
        if moment > updated:
            self.updated_at = moment

    def checkpointed(self, checkpoint: Checkpoint, size: int) -> None:
        """Note a checkpoint that was just written."""
        self.checkpoints[checkpoint.id] = checkpoint
        self._touch(checkpoint.timestamp)
        self.size = size
