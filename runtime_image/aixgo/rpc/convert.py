"""Messages between the wire and the library."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import orjson
from google.protobuf import json_format, struct_pb2

from aixgo.identifiers import new_id
from aixgo.message import Message, rfc3339_seconds
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Longest id or type of a message, in characters.
MAX_WORD = 256
#: What a caller means that gives no type.
DEFAULT_TYPE = "user"
_NO_WORD = f"must be printable and at most {MAX_WORD} characters long"


def to_wire(message: Message) -> pb.Message:
    """Return the message as it goes over the wire.

    Raises:
        ValueError: the metadata holds something that JSON cannot express.
    """
    wire = pb.Message()
    put_on_wire(message, wire)
    return wire


def put_on_wire(message: Message, wire: pb.Message) -> None:
    """Fill in an empty message of a response in place: one that is made and then put in is copied.

    Raises:
        ValueError: the metadata holds something that JSON cannot express.
    """
    wire.id, wire.type = message.id, message.type
    wire.payload, wire.timestamp = message.payload, message.timestamp
    if message.metadata:
        wire.metadata.CopyFrom(_struct(message.metadata))


def with_json_payload(message: Message) -> Message:
    """Return the message with a payload that is JSON, as the wire wants it: any other text becomes a string.

    Inside a process a payload may be any text; Aixgo's producer sends such ones.
    """
    try:
        orjson.loads(message.payload)
    except orjson.JSONDecodeError:
        return msgspec.structs.replace(message, payload=orjson.dumps(message.payload).decode())
    return message


def from_wire(wire: pb.Message) -> Message:
    """Return the message that came over the wire, as it is.

    Raises:
        InvalidRequestError: its metadata is none.
    """
    return Message(wire.id, wire.type, wire.payload, wire.timestamp, _metadata(wire))


def _metadata(wire: pb.Message, field: str = "message") -> dict[str, Any]:
    if not wire.HasField("metadata"):
        return {}
    try:
        metadata: dict[str, Any] = json_format.MessageToDict(wire.metadata)
    except ValueError as error:
        raise InvalidRequestError(f"{field}.metadata", "a number is not finite") from error
    return metadata


def from_caller(wire: pb.Message, field: str) -> Message:
    """Return a caller's message, checked. An id, a type and a timestamp are filled in where they are missing.

    Args:
        wire: The message.
        field: Its field in the request, for the error.

    Raises:
        InvalidRequestError: a part of it is malformed; the part is named.
    """
    identifier, kind, payload, timestamp = wire.id, wire.type, wire.payload, wire.timestamp
    if len(identifier) > MAX_WORD or not identifier.isprintable():
        raise InvalidRequestError(f"{field}.id", _NO_WORD)
    if len(kind) > MAX_WORD or not kind.isprintable():
        raise InvalidRequestError(f"{field}.type", _NO_WORD)
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"{field}.payload", "must be JSON text") from error
    if timestamp:
        try:
            datetime.fromisoformat(timestamp)
        except ValueError as error:
            raise InvalidRequestError(f"{field}.timestamp", "must be RFC 3339") from error
    return Message(
        identifier or new_id(),
        kind or DEFAULT_TYPE,
        payload,
        timestamp or rfc3339_seconds(datetime.now(UTC)),
        _metadata(wire, field),
    )


def _struct(metadata: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(_plain(metadata))
    return struct


def _plain(value: Any) -> Any:
    """Return ``value`` with tuples as lists and mappings as dicts, which is all that a Struct takes."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
