"""Messages: construction, payloads, the JSON of Aixgo."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from aixgo import Message
from aixgo.identifiers import new_id

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\\ud" not in json.dumps(value))
TEXT = st.text(st.characters(exclude_categories=("Cs",)))


class Point(BaseModel):
    x: int
    y: int = 0


def test_new_fills_in_what_go_fills_in() -> None:
    message = Message.new("question", {"text": "Größe <&>"})
    assert uuid.UUID(message.id).version == 4
    assert message.type == "question"
    assert message.payload == '{"text":"Größe <&>"}'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", message.timestamp)
    assert message.metadata == {}


def test_a_payload_that_is_no_json_is_an_error() -> None:
    with pytest.raises(TypeError, match="payload"):
        Message.new("user", object())
    with pytest.raises(TypeError, match="payload"):
        Message.new("user", "\ud800")
    with pytest.raises(TypeError, match="finite"):
        Message.new("user", {"a": [1.0, (float("inf"),)]})


def test_payload_as() -> None:
    message = Message.new("point", Point(x=1))
    assert message.payload_as(Point) == Point(x=1)
    assert message.payload_as(dict) == {"x": 1, "y": 0}
    assert Message.new("user", [1, 2]).payload_as(list[int]) == [1, 2]
    assert Message.new("user", "text").payload_as(str) == "text"
    for payload, type_ in (("", str), ("no json", str), ("1", str), ("true", int), ('{"x":"a"}', Point)):
        with pytest.raises(ValueError):
            Message("", "", payload, "").payload_as(type_)


def test_messages_do_not_change() -> None:
    message = Message.new("user", 1)
    marked = message.with_metadata("a", 1).with_metadata("b", 2)
    assert (dict(message.metadata), dict(marked.metadata)) == ({}, {"a": 1, "b": 2})
    assert marked.id == message.id
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.type = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del message.type
    assert hash(message) == hash(message.with_metadata("x", []))


@given(TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3))
def test_json_round_trip(
    id_: str, type_: str, payload: str, timestamp: str, metadata: dict[str, object]
) -> None:
    message = Message(id_, type_, payload, timestamp, metadata)
    assert Message.from_json(message.to_json()) == message
    keys = list(json.loads(message.to_json()))
    assert keys == sorted(keys)
    assert ("metadata" in keys) == bool(metadata)


@given(JSON)
def test_any_json_is_read(value: object) -> None:
    if isinstance(value, dict):
        message = Message.from_json(json.dumps(value))
        assert isinstance(message.payload, str)
        assert isinstance(message.metadata, dict)
    else:
        with pytest.raises(ValueError):
            Message.from_json(json.dumps(value))


def test_new_ids_are_random_uuids() -> None:
    ids = {new_id() for _ in range(500)}
    assert len(ids) == 500
    for each in ids:
        parsed = uuid.UUID(each)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, each)
