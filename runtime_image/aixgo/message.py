"""Messages: what agents receive and answer, and what a session stores (Go: agent.Message)."""

from __future__ import annotations

import builtins  # noqa: TC003 - in the class, `type` is a field
import dataclasses
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import orjson

from aixgo.identifiers import new_id

T = TypeVar("T")

#: Types that :meth:`Message.payload_as` checks by itself. For others it loads pydantic.
_PLAIN_TYPES: Final = (dict, list, str, int, float, bool)


# What JSON can express has no cycles: the garbage collector need not know of messages, and does not run
# because many are read.
class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of a conversation. It cannot be changed; :meth:`with_metadata` returns another one.

    ``payload`` is JSON text when the message comes from :meth:`new`; elsewhere it may be any text.
    ``timestamp`` is RFC 3339 in UTC, to the second, or empty.
    """

    id: str
    type: str
    payload: str
    timestamp: str
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.id, self.type, self.payload, self.timestamp))

    @classmethod
    def new(cls, type: str, payload: Any) -> Message:  # noqa: A002 - the Go name of the field
        """Return a message with a new id and the present time (Go: NewMessage).

        Args:
            type: What the message is, such as ``user`` or ``question``.
            payload: Anything that JSON can express, a dataclass or a pydantic model.

        Raises:
            TypeError: the payload cannot be expressed as JSON.
        """
        try:
            text = orjson.dumps(payload, default=_jsonable).decode()
        except orjson.JSONEncodeError as error:
            raise TypeError(f"payload cannot be expressed as JSON: {error}") from error
        if "null" in text and not is_finite(payload):  # which is what became of the number
            raise TypeError("payload cannot be expressed as JSON: a number is not finite")
        return cls(new_id(), type, text, _present())

    def with_metadata(self, key: str, value: Any) -> Message:
        """Return a copy with one more entry in its metadata (Go: WithMetadata)."""
        return msgspec.structs.replace(self, metadata={**self.metadata, key: value})

    def payload_as(self, type_: builtins.type[T]) -> T:
        """Return the payload, parsed from JSON and checked against ``type_`` (Go: UnmarshalPayload).

        ``type_`` is a plain type such as ``dict``, or whatever pydantic validates: a model, ``list[int]``.

        Raises:
            ValueError: the payload is empty, is not JSON, or does not fit.
        """
        if not self.payload:
            raise ValueError("payload is empty")
        if type_ in _PLAIN_TYPES:
            value = orjson.loads(self.payload)
            if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
                raise ValueError(f"payload is {type(value).__name__}, not {type_.__name__}")
            return value
        from pydantic import TypeAdapter

        return TypeAdapter(type_).validate_json(self.payload)

    def to_dict(self) -> dict[str, Any]:
        """Return the message as the JSON object that Aixgo stores. Empty metadata is left out."""
        data: dict[str, Any] = {"id": self.id}
        if self.metadata:
            data["metadata"] = dict(self.metadata)
        data["payload"] = self.payload
        data["timestamp"] = self.timestamp
        data["type"] = self.type
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """Return the message of such a JSON object. As in Go, a missing or wrongly typed value is empty."""
        identifier, kind, payload, timestamp, metadata = map(data.get, cls.__struct_fields__)
        return cls(
            identifier if isinstance(identifier, str) else "",
            kind if isinstance(kind, str) else "",
            payload if isinstance(payload, str) else "",
            timestamp if isinstance(timestamp, str) else "",
            metadata if isinstance(metadata, dict) else {},
        )

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return orjson.dumps(self.to_dict()).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Message:
        """Return the message of such a text.

        Raises:
            ValueError: it is not a JSON object.
        """
        data = orjson.loads(text)
        if not isinstance(data, dict):
            raise ValueError("a message is a JSON object")
        return cls.from_dict(data)


def _refuse(message: Message, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(message: Message, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


# A frozen struct raises only an AttributeError, deletes what it is told to, and lets no class say otherwise
# in its body.
Message.__setattr__ = _refuse  # type: ignore[method-assign,assignment]
Message.__delattr__ = _refuse_to_delete  # type: ignore[method-assign,assignment]

#: A second since 1970, and its text: most messages are made in the same one as the one before.
_second: tuple[int, str] = (0, "1970-01-01T00:00:00Z")


def _present() -> str:
    global _second  # replaced as a whole: safe in threads
    known, now = _second, int(time.time())
    if known[0] != now:
        known = _second = (now, rfc3339_seconds(datetime.fromtimestamp(now, UTC)))
    return known[1]


def rfc3339_seconds(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, to the second: what Go writes into a message."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")[:-6] + "Z"


def is_finite(value: Any) -> bool:
    """Say whether JSON can express every number inside a value: it knows no infinity and no NaN."""
    kind = type(value)
    if kind is str or kind is int:
        return True
    if kind is dict:
        return all(map(is_finite, value.values()))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(is_finite(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(is_finite(each) for each in value)
    return True


def _jsonable(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
