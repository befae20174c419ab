"""YAML as data with the place of everything in it, read within limits (Go: SafeYAMLParser).

The parser hands out events, which are counted before anything is built of them: a hostile file costs no more
than the limits. Plain values follow the core schema of YAML 1.2, as in Go: ``yes`` is a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from aixgo.config.problems import ConfigError, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
#: More digits than any number of a configuration has; Python refuses to read some thousands of them.
_LONGEST_NUMBER = 100
_STANDARD_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file may ask for (the numbers of Aixgo)."""

    file_bytes: int = 10 * 1024 * 1024
    depth: int = 20
    nodes: int = 10_000
    key_bytes: int = 1024
    value_bytes: int = 1024 * 1024


@dataclass(slots=True)
class Scalar:
    """A single value."""

    value: Any
    place: Place
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Sequence:
    """A list."""

    place: Place
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Mapping:
    """A mapping; :attr:`keys` has the places of its keys."""

    place: Place
    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


def to_data(node: Node) -> Any:
    """Return the node as Python's own types."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [to_data(item) for item in node.items]
    return {key: to_data(item) for key, item in node.items.items()}


def parse_document(content: bytes, file: str, limits: Limits | None = None) -> Node:
    """Return the one document in ``content``. An empty file is an empty mapping.

    Raises:
        ConfigError: it is no YAML, has more than one document, or exceeds a limit.
    """
    limits = limits or Limits()
    if len(content) > limits.file_bytes:
        text = f"the file is larger than {limits.file_bytes} bytes"
        raise ConfigError(file, [Problem(Place(), text)])
    try:
        return _Builder(file, limits, yaml.parse(content, Loader=_Loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place()
        text = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(file, [Problem(place, f"not valid YAML: {text}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        text = "not valid YAML: it is not UTF-8 text, or has control characters"
        raise ConfigError(file, [Problem(Place(), text)]) from None


class _Builder:
    """Builds the tree of one document; as deep as the limit allows, so plain recursion is safe."""

    def __init__(self, file: str, limits: Limits, events: Iterator[Any]) -> None:
        self._file = file
        self._limits = limits
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._count = 0
        self._problems: list[Problem] = []

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._refused(event, "a second document; put everything into one")
                root = self._node(next(self._events), 1)
        if self._problems:
            raise ConfigError(self._file, self._problems)
        if root is None or (isinstance(root, Scalar) and root.value is None):
            return Mapping(Place(1, 1))
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._add(1, event)
        if depth > self._limits.depth:
            raise self._refused(event, f"nested more than {self._limits.depth} deep")
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._refused(event, f"unknown alias *{event.anchor[:40]}")
        # An alias counts as much as what it stands for, so a few lines cannot become millions of nodes.
        self._add(node.size, event)
        if depth + node.depth - 1 > self._limits.depth:
            raise self._refused(event, f"nested more than {self._limits.depth} deep")
        return node

    def _scalar(self, event: Any) -> Scalar:
        if len(event.value.encode()) > self._limits.value_bytes:
            raise self._refused(event, f"a value of more than {self._limits.value_bytes} bytes")
        place = _place(event)
        tag = event.tag
        if tag is None or tag == "!":
            plain = event.style in (None, "") and tag is None
            return Scalar(_resolved(event.value) if plain else event.value, place)
        return Scalar(self._tagged(event, tag), place)

    def _tagged(self, event: Any, tag: str) -> Any:
        if tag == _STANDARD_TAG + "str":
            return event.value
        kinds: dict[str, tuple[type, ...]] = {
            "int": (int,),
            "float": (int, float),
            "bool": (bool,),
            "null": (type(None),),
        }
        kind = kinds.get(tag.removeprefix(_STANDARD_TAG)) if tag.startswith(_STANDARD_TAG) else None
        value = _resolved(event.value)
        if kind is None or type(value) not in kind:
            raise self._refused(event, f"the tag {tag[:60]} is not allowed here")
        return value

    def _sequence(self, event: Any, depth: int) -> Sequence:
        self._check_tag(event, "seq")
        node = Sequence(_place(event))
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            child = self._node(item, depth + 1)
            node.items.append(child)
            _grow(node, child)
        return node

    def _mapping(self, event: Any, depth: int) -> Mapping:
        self._check_tag(event, "map")
        node = Mapping(_place(event))
        merged: list[tuple[str, Node, Place]] = []
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key_event, yaml.ScalarEvent):
                raise self._refused(key_event, "a key must be a text")
            self._add(1, key_event)
            key, place = key_event.value, _place(key_event)
            if len(key.encode()) > self._limits.key_bytes:
                raise self._refused(key_event, f"a key of more than {self._limits.key_bytes} bytes")
            child = self._node(next(self._events), depth + 1)
            node.size += 1
            _grow(node, child)
            if key == "<<" and key_event.style in (None, ""):
                merged += self._merged(child, key_event)
            elif key in node.items:
                first = node.keys[key].line
                self._problems.append(Problem(place, f"the key {key[:60]!r} is there twice (line {first})"))
            else:
                node.items[key], node.keys[key] = child, place
        for key, child, place in merged:  # what is written out wins, then what was merged first
            if key not in node.items:
                node.items[key], node.keys[key] = child, place
        return node

    def _merged(self, node: Node, event: Any) -> list[tuple[str, Node, Place]]:
        sources = node.items if isinstance(node, Sequence) else [node]
        found: list[tuple[str, Node, Place]] = []
        for source in sources:
            if not isinstance(source, Mapping):
                raise self._refused(event, "<< takes a mapping or a list of mappings")
            found += [(key, child, source.keys[key]) for key, child in source.items.items()]
        return found

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _STANDARD_TAG + kind):
            raise self._refused(event, f"the tag {event.tag[:60]} is not allowed here")

    def _add(self, nodes: int, event: Any) -> None:
        self._count += nodes
        if self._count > self._limits.nodes:
            raise self._refused(event, f"more than {self._limits.nodes} values and keys, aliases included")

    def _refused(self, event: Any, text: str) -> ConfigError:
        return ConfigError(self._file, [*self._problems, Problem(_place(event), text)])


def _grow(node: Sequence | Mapping, child: Node) -> None:
    node.size += child.size
    node.depth = max(node.depth, child.depth + 1)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _resolved(text: str) -> Any:
    """Return what a plain value stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _LONGEST_NUMBER:
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
