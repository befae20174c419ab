"""What a log means: branches, turns, damage. Property tests compare it with a model."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo import Message
from aixgo.session import CheckpointCorruptedError, CheckpointMismatchError, SessionCorruptedError, formats
from aixgo.session.file.salvage import readable_lines
from aixgo.session.log import ROOT, LogIndex
from aixgo.session.log_lines import feed_lines, index_lines
from aixgo.session.types import Checkpoint, NewSession

TIME = "2026-02-08T14:36:26Z"


def entry(entry_id: str, parent: str = "", text: str = "") -> bytes:
    message = Message(f"m-{entry_id}", "user", text or entry_id, "")
    return formats.encode_entry(entry_id, parent, TIME, formats.MESSAGE, message.to_dict())


def turn(count: int, key: str | None = None) -> bytes:
    return formats.turn_entry("t", "", TIME, count, key)


def restore(target: str, count: int) -> bytes:
    return formats.restore_entry("r", "", TIME, "c", target, count)


def joined(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def branch(index: LogIndex, node: int | None = None) -> list[str]:
    return [index.entry_id(step) for step in index.path(index.leaf if node is None else node)]


def checkpoint(index: LogIndex, checkpoint_id: str = "c") -> Checkpoint:
    node = index.leaf
    values = {
        "checkpoint_id": checkpoint_id,
        "session_id": index.session_id,
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
        "entry_id": index.entry_id(node),
        "message_count": index.depth(node),
        "metadata": {},
    }
    checksum = formats.content_checksum(index.chain(node), **values)  # type: ignore[arg-type]
    return Checkpoint(
        checkpoint_id,
        index.session_id,
        datetime(2026, 1, 1, tzinfo=UTC),
        index.entry_id(node),
        checksum,
        {},
        index.depth(node),
    )


def test_a_chain() -> None:
    index = index_lines("s", [entry("a"), entry("b", "a"), entry("c", "b")])
    assert branch(index) == ["a", "b", "c"]
    assert (index.message_count, index.version, index.node_count) == (3, 3, 3)
    assert index.path(index.leaf, 2) == [1, 2]
    assert [(each.leaf, each.message_count, each.current) for each in index.branches()] == [("c", 3, True)]


def test_a_fork_of_go_shows_the_newest_leaf_and_keeps_the_other() -> None:
    index = index_lines("s", [entry("a"), entry("b", "a"), entry("x", "a"), entry("y", "x")])
    assert branch(index) == ["a", "x", "y"]
    assert [(each.leaf, each.message_count) for each in index.branches()] == [("y", 3), ("b", 2)]


def test_a_missing_parent_ends_the_chain() -> None:
    index = index_lines("s", [entry("a", "gone"), entry("b", "a")])
    assert branch(index) == ["a", "b"]
    assert index.message_count == 2


def test_restores() -> None:
    lines = [entry("a"), entry("b", "a"), restore("a", 1), entry("c", "a"), restore("", 0)]
    index = index_lines("s", lines)
    assert (index.leaf, index.message_count, index.version) == (ROOT, 0, 5)
    assert {each.leaf for each in index.branches()} == {"", "b", "c"}
    index = index_lines("s", [*lines, entry("d")])
    assert branch(index) == ["d"]


def test_the_session_entry_may_come_late_and_name_the_leaf() -> None:
    data = formats.session_data("s", "agent", "ada", {}, 0, TIME)
    index = index_lines("s", [entry("a"), entry("b", "a"), formats.adopted_entry("h", TIME, data, "a")])
    assert index.session is not None
    assert index.session["userId"] == "ada"
    assert (branch(index), index.version) == (["a"], 2)


def test_unknown_events_and_types_are_skipped() -> None:
    unknown = formats.encode_entry("u", "", TIME, formats.METADATA, {"event": "later"})
    other = formats.encode_entry("v", "", TIME, "another type", {})
    index = index_lines("s", [unknown, entry("a"), b"", other, entry("b", "a")])
    assert (branch(index), index.version) == (["a", "b"], 2)


def test_a_turn_counts_when_it_is_complete() -> None:
    lines = [entry("a"), turn(2, "key"), entry("b", "a"), entry("c", "b")]
    index = LogIndex("s")
    for number, line in enumerate(lines[:3]):
        index.feed(line, number, number + 1)
    assert (branch(index), index.size, index.in_turn, index.turns) == (["a"], 1, True, {})
    index.feed(lines[3], 3, 4)
    assert (branch(index), index.size, index.in_turn) == (["a", "b", "c"], 4, False)
    assert index.turns == {"key": (1, 2)}
    with pytest.raises(SessionCorruptedError, match="last turn"):
        index_lines("s", lines[:3])
    with pytest.raises(SessionCorruptedError, match="line 4"):
        index_lines("s", [*lines[:3], restore("a", 1)])


def test_checkpoints_cover_content_order_and_presence() -> None:
    lines = [entry("a"), entry("b", "a"), entry("c", "b")]
    good = checkpoint(index_lines("s", lines))
    assert index_lines("s", [*lines, entry("d", "c")]).verified(good) == 2
    for damaged in (
        [entry("a"), entry("b", "a", "other"), entry("c", "b")],
        [entry("a"), entry("c", "b")],
        [entry("a"), entry("c", "b"), entry("b", "a")],
        [entry("a"), entry("b", "a")],
        [entry("a"), entry("b", "a"), entry("c", "a")],
        [],
    ):
        with pytest.raises(CheckpointCorruptedError):
            index_lines("s", damaged).verified(good)
    with pytest.raises(CheckpointMismatchError):
        index_lines("other", lines).verified(good)


def test_checkpoints_of_go_cover_ids() -> None:
    lines = [entry("a"), entry("b", "a")]
    index = index_lines("s", lines)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert index.verified(Checkpoint("c", "s", moment, "b", formats.ids_checksum("ab"))) == 1
    assert index.verified(Checkpoint("c", "s", moment, "", formats.ids_checksum(""))) == ROOT
    with pytest.raises(CheckpointCorruptedError):
        index.verified(Checkpoint("c", "s", moment, "b", formats.ids_checksum("ba")))


@pytest.mark.parametrize("tail", [b"{", b"\0\0\0", b"junk\n", b"junk\n\0\0junk\n{}\n", entry("c", "b")[:-1]])
def test_a_torn_tail_is_told_from_damage(tail: bytes) -> None:
    whole = joined(entry("a"), entry("b", "a"))
    index = LogIndex("s")
    assert feed_lines(index, whole + tail, 0) == len(whole)
    assert branch(index) == ["a", "b"]
    if tail.endswith(b"\n"):
        with pytest.raises(SessionCorruptedError, match="line 3"):
            feed_lines(LogIndex("s"), whole + tail + joined(entry("c", "b")), 0)


def test_an_incomplete_turn_is_torn_from_its_beginning() -> None:
    whole = joined(entry("a"))
    data = whole + joined(turn(3), entry("b", "a"), entry("c", "b"))
    index = LogIndex("s")
    assert feed_lines(index, data, 0) == len(whole)
    rest = data[len(whole) :] + joined(entry("d", "c"))
    assert feed_lines(index, rest, len(whole)) is None
    assert branch(index) == ["a", "b", "c", "d"]


def test_what_is_left_of_a_damaged_log() -> None:
    lines = [
        entry("a"),
        b"junk",
        turn(2),
        entry("b", "a"),
        entry("c", "b"),
        turn(2),
        b"junk",
        entry("d", "c"),
    ]
    kept = readable_lines(lines)
    assert kept == [lines[0], lines[2], lines[3], lines[4], lines[7]]
    assert branch(index_lines("s", kept)) == ["a", "b", "c", "d"]


# -- against a model -----------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("checkpoint"), st.just(0)),
        st.tuples(st.just("restore"), st.integers(0, 5)),
    ),
    max_size=25,
)


def play(steps: list[tuple[str, int]]) -> tuple[list[bytes], list[list[str]], list[tuple[str, list[str]]]]:
    """Return the lines of a history, the branch after each line, and the checkpoints with their branches."""
    lines = [formats.session_entry("h", TIME, NewSession("s", "agent"), 0)]
    current: list[str] = []
    states: list[list[str]] = [[]]
    points: list[tuple[str, list[str]]] = []
    for number, (step, value) in enumerate(steps):
        if step == "append":
            before = list(current)
            if value > 1:
                lines.append(turn(value, f"k{number}"))
                states.append(before)
            for part in range(value):
                entry_id = f"{number}-{part}"
                lines.append(entry(entry_id, current[-1] if current else ""))
                current.append(entry_id)
                states.append(list(current) if part == value - 1 else before)
        elif step == "checkpoint":
            point = checkpoint(index_lines("s", lines), f"c{number}")
            lines.append(formats.checkpoint_entry(f"ce{number}", point))
            points.append((point.id, list(current)))
            states.append(list(current))
        elif points:
            point_id, target = points[value % len(points)]
            current = list(target)
            lines.append(
                formats.restore_entry(f"r{number}", "", TIME, point_id, (target or [""])[-1], len(target))
            )
            states.append(list(current))
    return lines, states, points


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_every_prefix_of_a_log_means_what_it_meant_then(steps: list[tuple[str, int]]) -> None:
    lines, states, _ = play(steps)
    index = LogIndex("s")
    version = 0
    for number, line in enumerate(lines):
        index.feed(line, number, number + 1)
        assert branch(index) == states[number]
        assert index.message_count == len(states[number])
        assert index.version >= version
        version = index.version


@given(STEPS, st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_loses_at_most_what_was_not_complete(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    lines, states, _ = play(steps)
    whole = joined(*lines)
    cut = data.draw(st.integers(0, len(whole)))
    index = LogIndex("s")
    torn = feed_lines(index, whole[:cut], 0)
    complete = whole[:cut].count(b"\n")
    assert branch(index) == (states[complete - 1] if complete else [])
    size = cut if torn is None else torn
    assert index.size == size
    assert feed_lines(index, whole[size:], size) is None
    assert branch(index) == states[-1]


@given(STEPS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_noticed(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    lines, _, points = play(steps)
    index = index_lines("s", lines)
    for point in index.checkpoints.values():
        index.verified(point)
    covered = [(point_id, ids) for point_id, ids in points if ids]
    if not covered:
        return
    point_id, ids = data.draw(st.sampled_from(covered))
    victim = data.draw(st.sampled_from(ids))
    place = next(
        number
        for number, line in enumerate(lines)
        if (decoded := json.loads(line))["type"] == "message" and decoded["id"] == victim
    )
    changed = json.loads(lines[place])
    changed["data"]["payload"] += "!"
    lines[place] = formats.encode_entry(
        victim, changed.get("parentId", ""), changed["timestamp"], "message", changed["data"]
    )
    tampered = index_lines("s", lines)
    with pytest.raises(CheckpointCorruptedError):
        tampered.verified(tampered.checkpoints[point_id])
