"""Messages are read in one go; whatever does not fit that is read line by line, and says the same."""

from __future__ import annotations

import gc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Message
from aixgo.session import message_lines

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(st.none() | st.booleans() | NUMBERS | TEXT, lambda inner: st.lists(inner, max_size=2))
DATA = st.dictionaries(st.sampled_from(["id", "type", "payload", "timestamp", "x"]), TEXT | JSON) | JSON
METADATA = st.dictionaries(TEXT, JSON, max_size=2)
KINDS = st.sampled_from(["message", "message", "metadata", "checkpoint", "of tomorrow"])


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    entry = {"id": draw(TEXT), "timestamp": "2026-02-08T14:36:26Z", "type": draw(KINDS), "data": draw(DATA)}
    if draw(st.booleans()):
        entry["parentId"] = draw(TEXT | st.none() | st.integers(0, 3))
    if draw(st.booleans()):
        entry["data"] = {"id": "i", "type": "t", "payload": "p", "timestamp": "", "metadata": draw(METADATA)}
    return entry


@given(st.lists(entries(), max_size=6), st.booleans())
def test_both_ways_of_reading_say_the_same(log: list[dict[str, Any]], blank: bool) -> None:
    raw = [orjson.dumps(entry) for entry in log]
    block = b"\n".join(raw) + (b"\n\n" if blank else b"\n")
    found = message_lines.decode_lines(b"torn\n" + block, 5)
    assert found == [line for each in raw for line in message_lines.decode_lines(each)]
    wanted = [entry for entry in log if entry["type"] == "message"]
    assert [line.id for line in found] == [entry["id"] for entry in wanted]
    assert [line.data for line in found] == [
        message_lines.decode_message(orjson.dumps(entry)) for entry in wanted
    ]
    for line, entry in zip(found, wanted, strict=True):
        assert (line.parent_id or "") == (parent if isinstance(parent := entry.get("parentId"), str) else "")


def line(metadata: bytes) -> bytes:
    data = b'{"id":"m","type":"t","payload":"","timestamp":"","metadata":%b}' % metadata
    return b'{"id":"a","type":"message","data":%b}' % data


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        (b'{"n":123456789012345678901234}', {"n": 1.2345678901234569e23}),
        (b'{"n":18446744073709551615}', {"n": 2**64 - 1}),
        (b'{"s":"x\\ud800y"}', {"s": "x\ufffdy"}),
        (b"null", {}),
        (b"[1]", {}),
    ],
)
def test_what_others_write_is_read_as_one_by_one(metadata: bytes, wanted: dict[str, Any]) -> None:
    (found,) = message_lines.decode_lines(line(metadata))
    assert found.data == message_lines.decode_message(line(metadata))
    assert found.data == Message("m", "t", "", "", wanted)
    orjson.dumps(found.data.metadata)  # can be written again


@pytest.mark.parametrize(
    "broken", [b'{"id":"a"', b'{"id":1,"type":"message","data":{}}', b"[]", b'{"id":"a"}']
)
def test_what_is_no_entry_is_an_error(broken: bytes) -> None:
    with pytest.raises(ValueError):
        message_lines.decode_lines(line(b"{}") + b"\n" + broken)


def test_histories_do_not_make_the_garbage_collector_run() -> None:
    plain = b'{"id":"a","type":"message","data":{"id":"m","type":"t","payload":"","timestamp":""}}\n'
    count = 5000
    gc.disable()
    try:
        before = gc.get_count()[0]
        found = message_lines.decode_messages([plain] * count)
        made = gc.get_count()[0] - before
    finally:
        gc.enable()
    assert len(found) == count
    assert made <= count + 10  # the dictionaries of metadata, which anybody may fill


def test_deep_metadata_is_an_error_and_no_crash() -> None:
    with pytest.raises(ValueError):
        message_lines.decode_lines(line(b"[" * 5000 + b"]" * 5000))
