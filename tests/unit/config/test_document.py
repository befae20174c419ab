"""The YAML reader: what values mean, where they are, and what a hostile file may cost."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo.config.document import Limits, Mapping, Scalar, parse_document, to_data
from aixgo.config.problems import ConfigError, Place

SMALL = Limits(file_bytes=4096, depth=4, nodes=20, key_bytes=8, value_bytes=16)


def data(text: str | bytes, limits: Limits | None = None) -> Any:
    content = text.encode() if isinstance(text, str) else text
    return to_data(parse_document(content, "file.yaml", limits))


def refused(text: str | bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        data(text, limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("2026-02-08", "2026-02-08"),
        ("5m", "5m"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_values_follow_the_core_schema(text: str, value: Any) -> None:
    assert data(f"key: {text}") == {"key": value}


def test_places_count_from_one() -> None:
    root = parse_document(b"a: 1\nb:\n  - {c: x}\n", "f")
    assert isinstance(root, Mapping)
    assert root.keys["b"] == Place(2, 1)
    inner = root.items["b"].items[0]  # type: ignore[union-attr]
    assert inner.keys["c"] == Place(3, 6)
    assert isinstance(inner.items["c"], Scalar)
    assert inner.items["c"].place == Place(3, 9)


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert data("") == {}
    assert data("# only a comment\n") == {}


def test_anchors_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: [*b, {z: 4}]}\n"
    assert data(text) == {"base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 3}, "two": {"x": 1, "y": 2, "z": 4}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [[[\n", "file.yaml:2:1: not valid YAML"),
        ("a: 1\na: 2\n", "file.yaml:2:1: the key 'a' is there twice (line 1)"),
        ("a: 1\n---\nb: 2\n", "file.yaml:2:1: a second document"),
        ("a: !!python/object/apply:os.system [x]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: !secret x", "file.yaml:1:4: the tag !secret is not allowed"),
        ("a: *b", "file.yaml:1:4: unknown alias *b"),
        ("a: &a [*a]", "unknown alias *a"),
        ("? [x]\n: 1\n", "file.yaml:1:3: a key must be a text"),
        ("a: {<<: 5}", "<< takes a mapping"),
        (b"a: \xff\xfe", "file.yaml: not valid YAML"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_what_is_refused_has_its_place(text: str | bytes, message: str) -> None:
    assert message in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "x" * 5000, "file.yaml: the file is larger than 4096 bytes"),
        ("a: {b: {c: {d: 1}}}", "file.yaml:1:16: nested more than 4 deep"),
        ("a: &x {b: {c: 1}}\nd: {e: *x}", "nested more than 4 deep"),
        ("- 1\n" * 30, "file.yaml:20:3: more than 20 values and keys"),
        ("long-key-x: 1", "file.yaml:1:1: a key of more than 8 bytes"),
        ("a: 'ééééééééé'", "file.yaml:1:4: a value of more than 16 bytes"),
    ],
)
def test_limits(text: str, message: str) -> None:
    assert message in refused(text, SMALL)


def test_what_is_just_inside_the_limits_is_read() -> None:
    assert data("a: {b: {c: 1}}", SMALL) == {"a": {"b": {"c": 1}}}
    assert len(data("- 1\n" * 19, SMALL)) == 19
    assert data("12345678: " + "x" * 16, SMALL) == {"12345678": "x" * 16}


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.perf_counter()
    assert "aliases included" in refused("\n".join(lines))
    assert time.perf_counter() - began < 1


def test_deep_nesting_costs_no_recursion() -> None:
    began = time.perf_counter()
    assert "nested more than 20 deep" in refused("[" * 1_000_000)
    assert time.perf_counter() - began < 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc: -#é'\"\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé <", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON.filter(lambda value: value is not None))
def test_what_was_written_is_what_is_read(value: Any) -> None:
    assert data(yaml.safe_dump({"root": value}, allow_unicode=True))["root"] == value


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(noise: str | bytes) -> None:
    content = noise.encode("utf-8", "surrogatepass") if isinstance(noise, str) else noise
    with contextlib.suppress(ConfigError):
        parse_document(content, "f")
