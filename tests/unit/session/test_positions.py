"""Positions: what is told by a line is what is told by its entry; what others write is none."""

from __future__ import annotations

import pytest

from aixgo.session import formats, positions
from aixgo.session.positions import Position

CHAIN = "0123456789abcdef0123456789abcdef01234567"
TIME = "2026-02-08T14:36:26.5Z"
POSITION = Position(CHAIN, 3, 5)


def line(leaf: str = "leaf", time: str = TIME, position: Position = POSITION) -> bytes:
    return positions.position_entry("id", leaf, time, position)


@pytest.mark.parametrize(
    ("leaf", "position"),
    [("leaf", POSITION), ("", Position("", 0, 0)), ("", Position("", 0, 7))],
)
def test_a_line_says_what_its_entry_says(leaf: str, position: Position) -> None:
    raw = line(leaf, position=position)
    entry = formats.decode_entry(raw)
    assert positions.is_position(entry)
    assert positions.position_of(entry["data"]) == position
    assert positions.decode_line(raw) == (leaf, formats.parse_time(TIME), position)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"metadata"', b'"message"'),
        (b'"position"', b'"restore"'),
        (b'"messageCount":3', b'"messageCount":"3"'),
        (b'"messageCount":3', b'"messageCount":6'),
        (b'"messageCount":3', b'"messageCount":-1'),
        (b'"messageCount":3', b'"messageCount":0'),
        (b'"version":5', b'"version":null'),
        (CHAIN.encode(), CHAIN[1:].encode()),
        (CHAIN.encode(), CHAIN.upper().encode()),
        (CHAIN.encode(), b""),
        (b'"leaf"', b"null"),
        (TIME.encode(), b"2026-02-08T16:36:26.5+02:00"),
        (TIME.encode(), b"2026-02-08T14:36:26.5"),
        (TIME.encode(), b"yesterday"),
        (b"}}", b"}"),
    ],
)
def test_anything_else_is_no_position(was: bytes, becomes: bytes) -> None:
    raw = line()
    assert raw.count(was) == 1
    assert positions.decode_line(raw.replace(was, becomes)) is None


@pytest.mark.parametrize(
    "data",
    [{}, {"event": "position"}, {"event": "position", "chain": CHAIN, "messageCount": 3, "version": 5.5}],
)
def test_an_entry_without_a_position_tells_none(data: dict[str, object]) -> None:
    assert positions.position_of(data) is None
