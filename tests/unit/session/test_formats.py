"""The lines of a session's log."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Message
from aixgo.session import InvalidMessageError, formats, message_lines
from aixgo.session.types import Checkpoint, NewSession

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
IDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(MOMENTS)
def test_times_round_trip_as_go_writes_them(moment: datetime) -> None:
    text = formats.format_time(moment)
    assert formats.parse_time(text) == moment
    assert text.endswith("Z")
    fraction = text.partition(".")[2].rstrip("Z")
    assert not fraction.endswith("0")
    assert ("." in text) == bool(moment.microsecond)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-08T14:36:26.123456789Z", datetime(2026, 2, 8, 14, 36, 26, 123456, UTC)),
        ("2026-02-08T14:36:26Z", datetime(2026, 2, 8, 14, 36, 26, 0, UTC)),
        ("2026-02-08T14:36:26.5+09:00", datetime(2026, 2, 8, 5, 36, 26, 500000, UTC)),
        ("2026-02-08t14:36:26-00:30", datetime(2026, 2, 8, 15, 6, 26, 0, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 0, UTC)),
    ],
)
def test_other_times_are_read(text: str, moment: datetime) -> None:
    assert formats.parse_time(text) == moment


@pytest.mark.parametrize(
    "text", ["", "2026-02-08", "2026-02-08T14:36:26", "2026-13-08T14:36:26Z", "٢٠٢٦-02-08T14:36:26Z"]
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError):
        formats.parse_time(text)
    assert formats.time_or_none(text) is None


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 2, 8, 1, tzinfo=timezone(timedelta(hours=9)))
    assert formats.format_time(moment) == "2026-02-07T16:00:00Z"


class _Clock(datetime):
    """What tests put in the place of the clock."""


def test_moments_of_derived_classes_are_written_as_plain_ones() -> None:
    for micros in (0, 500_000, 1):
        plain = datetime(2026, 2, 8, 1, 2, 3, micros, UTC)
        derived = _Clock(2026, 2, 8, 1, 2, 3, micros, UTC)
        assert formats.format_time(derived) == formats.format_time(plain)


@given(IDS, st.one_of(st.just(""), IDS), st.text(st.characters(exclude_categories=("Cs",))))
def test_the_line_of_a_message_is_that_of_any_entry(entry_id: str, parent_id: str, payload: str) -> None:
    message = Message("m", "user", payload, "", {"k": payload})
    line, digest = formats.message_entry(entry_id, parent_id, "t", message)
    assert line == formats.encode_entry(entry_id, parent_id, "t", formats.MESSAGE, message.to_dict())
    assert digest == formats.content_digest(line, parent_id)


@given(IDS, IDS, st.text(st.characters(exclude_categories=("Cs",))))
def test_an_entry_is_one_line_with_the_keys_of_go(entry_id: str, parent_id: str, payload: str) -> None:
    message = Message("m", "user", payload, "", {"k": payload})
    raw = formats.encode_entry(entry_id, parent_id, "t", formats.MESSAGE, message.to_dict())
    assert b"\n" not in raw
    assert list(json.loads(raw)) == [
        key for key in ("id", "parentId", "timestamp", "type", "data") if key != "parentId" or parent_id
    ]
    assert message_lines.decode_message(raw) == message
    without = formats.encode_entry(entry_id, "", "t", formats.MESSAGE, message.to_dict())
    assert formats.content_digest(raw, parent_id) == hashlib.sha256(without).hexdigest()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"id":1,"type":"x"}', b'{"id":"a"}', b"\xff"])
def test_what_is_no_entry(raw: bytes) -> None:
    with pytest.raises(ValueError):
        formats.decode_entry(raw)


@pytest.mark.parametrize("data", ["null", "{}", "5", '{"payload":7,"metadata":[]}'])
def test_messages_of_any_data(data: str) -> None:
    raw = b'{"id":"a","timestamp":"t","type":"message","data":%s}' % data.encode()
    assert message_lines.decode_message(raw) == Message("", "", "", "")


def test_lone_surrogates_are_read_as_go_reads_them() -> None:
    raw = rb'{"id":"a","timestamp":"t","type":"message","data":{"payload":"x\ud800y\ud83d\ude00"}}'
    assert message_lines.decode_message(raw).payload == "x\ufffdy😀"


def test_large_integers_stay_exact() -> None:
    raw = b'{"id":"a","type":"message","data":{"metadata":{"n":9007199254740993}}}'
    assert message_lines.decode_message(raw).metadata == {"n": 9007199254740993}


def test_what_cannot_be_encoded() -> None:
    for data in ({"x": "\ud800"}, {"x": object()}, {"x": 2**70}):
        with pytest.raises(InvalidMessageError):
            formats.encode_entry("a", "", "t", formats.MESSAGE, data)


def test_a_session_entry_says_whose_it_is() -> None:
    session = NewSession("s", "agent", "user", {"k": 1})
    entry = formats.decode_entry(formats.session_entry("e", "t", session, 60.0))
    assert entry["data"]["session"] == {
        "agentName": "agent",
        "createdAt": "t",
        "id": "s",
        "metadata": {"k": 1},
        "ttlSeconds": 60.0,
        "userId": "user",
    }


@given(IDS, MOMENTS, st.integers(0, 10**6))
def test_checkpoints_round_trip(entry_id: str, moment: datetime, count: int) -> None:
    values = {
        "checkpoint_id": "c",
        "session_id": "s",
        "timestamp": moment,
        "entry_id": entry_id,
        "message_count": count,
        "metadata": {"b": 1, "a": [entry_id]},
    }
    checksum = formats.content_checksum("chain", **values)  # type: ignore[arg-type]
    checkpoint = Checkpoint("c", "s", moment, entry_id, checksum, {"b": 1, "a": [entry_id]}, count)
    entry = formats.decode_entry(formats.checkpoint_entry("e", checkpoint))
    again = formats.checkpoint_of(entry["data"])
    assert again == checkpoint
    assert formats.checkpoint_is_intact(again, "chain", count)
    assert not formats.checkpoint_is_intact(again, "other", count)
    assert not formats.checkpoint_is_intact(again, "chain", count + 1)


def test_the_checksum_of_go() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert formats.ids_checksum([]) == empty
    assert formats.ids_checksum(["a", "b"]) == hashlib.sha256(b"ab").hexdigest()
