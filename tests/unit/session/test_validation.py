"""What callers may pass in."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Message
from aixgo.session import InvalidMessageError, InvalidPathComponentError, validation
from aixgo.session.testing import BAD_NAMES


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: str) -> None:
    for check, prefix in (
        (validation.agent_name, "invalid agent name: "),
        (validation.session_id, "invalid session ID: "),
        (validation.checkpoint_id, "invalid checkpoint ID: "),
    ):
        with pytest.raises(InvalidPathComponentError) as caught:
            check(name)
        assert str(caught.value).startswith(prefix)
    assert not validation.is_component(name)


def test_the_texts_of_go() -> None:
    with pytest.raises(InvalidPathComponentError) as caught:
        validation.agent_name("../etc")
    assert str(caught.value) == (
        "invalid agent name: invalid path component: contains path separator or traversal sequence"
    )
    with pytest.raises(InvalidPathComponentError) as caught:
        validation.session_id("")
    assert str(caught.value) == "invalid session ID: path component cannot be empty"


@pytest.mark.parametrize(
    "name", ["a", "a.b", "Ünïcode 日本", "-x", ".hidden", "CON", "a:b", "x" * 200, "{a}"]
)
def test_good_names(name: str) -> None:
    assert validation.agent_name(name) == name
    assert validation.session_id(name) == name


@given(st.text())
def test_a_name_never_leaves_its_directory(name: str) -> None:
    if validation.is_component(name):
        assert "/" not in name
        assert "\0" not in name
        assert name not in ("", ".", "..")
        assert len(name.encode()) <= validation.MAX_NAME_BYTES


def test_new_sessions_need_ids_without_braces() -> None:
    with pytest.raises(InvalidPathComponentError, match="braces"):
        validation.new_session_id("a{b}")
    assert validation.new_session_id("chosen") == "chosen"


@pytest.mark.parametrize("name", [None, 5, b"bytes"])
def test_names_are_text(name: Any) -> None:
    with pytest.raises(InvalidPathComponentError):
        validation.agent_name(name)
    with pytest.raises(InvalidMessageError):
        validation.user_id(name)


def test_user_ids() -> None:
    assert validation.user_id("") == ""
    assert validation.user_id("bób@example.org/../x") == "bób@example.org/../x"
    for bad in ("a\0", "a\n", "\ud800", "x" * 1025):
        with pytest.raises(InvalidMessageError, match="user id"):
            validation.user_id(bad)


def test_keys() -> None:
    assert validation.idempotency_key("k") == "k"
    for bad in ("", "a\0", "x" * 513):
        with pytest.raises(InvalidMessageError, match="idempotency key"):
            validation.idempotency_key(bad)


@pytest.mark.parametrize(("limit", "offset"), [(-1, 0), (0, -1), (1.5, 0), ("1", 0), (True, 0)])
def test_pages(limit: Any, offset: Any) -> None:
    with pytest.raises(ValueError):
        validation.page(limit, offset)
    validation.page(0, 0)


@pytest.mark.parametrize("ttl", [-1, math.nan, math.inf, "5", True])
def test_times_to_live(ttl: Any) -> None:
    with pytest.raises(ValueError):
        validation.ttl_seconds(ttl)
    assert validation.ttl_seconds(None) is None
    assert validation.ttl_seconds(0.5) == 0.5


def test_metadata() -> None:
    given_metadata = {"a": {"b": [1]}}
    checked = validation.metadata(given_metadata)
    assert checked == given_metadata
    assert checked is not given_metadata
    assert validation.metadata(None) == {}
    for bad in ({"x": object()}, {1: "x"}, {"x": "\ud800"}, {"x": "y" * 300_000}, {"x": [math.nan]}):
        with pytest.raises(InvalidMessageError, match="metadata"):
            validation.metadata(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        Message("i", "t", 5, ""),
        Message(None, "t", "", ""),
        Message("i", "t", "", "", {"x": math.inf}),
    ],
)  # type: ignore[arg-type]
def test_messages(bad: Any) -> None:
    good = Message.new("user", 1)
    assert validation.messages(iter([good])) == [good]
    with pytest.raises(InvalidMessageError):
        validation.messages([good, bad])
