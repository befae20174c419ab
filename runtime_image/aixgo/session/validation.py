"""Checks of what callers pass in. They run before anything is written, on every backend."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.errors import InvalidMessageError, InvalidPathComponentError
from aixgo.message import Message, is_finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Longest agent name, session id or checkpoint id, in bytes of UTF-8: the file system allows 255 with the
#: suffix.
MAX_NAME_BYTES: Final = 200
#: Longest user id, in bytes of UTF-8.
MAX_USER_ID_BYTES: Final = 1024
#: Longest idempotency key, in bytes of UTF-8.
MAX_KEY_BYTES: Final = 512
#: Largest entry of a log as JSON, in bytes, and the largest batch of entries that is committed together.
MAX_ENTRY_BYTES: Final = 16 * 1024 * 1024
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
#: Largest metadata of a session or a checkpoint as JSON, in bytes.
MAX_METADATA_BYTES: Final = 256 * 1024
#: Both without a step of the interpreter; the second refuses what is no text.
_texts_of = operator.attrgetter("id", "type", "payload", "timestamp")
_length = str.__len__
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def agent_name(value: str) -> str:
    """Return ``value`` if it can be an agent name.

    Raises:
        InvalidPathComponentError: it cannot; the text begins as the Go text does.
    """
    return _component("invalid agent name: ", value)


def session_id(value: str) -> str:
    """Return ``value`` if it can be a session id. Raises as :func:`agent_name`."""
    return _component("invalid session ID: ", value)


def new_session_id(value: str) -> str:
    """Return ``value`` if a session may be created with it.

    Braces would break the hash tag of its Redis keys.
    """
    if isinstance(value, str) and ("{" in value or "}" in value):
        raise InvalidPathComponentError("invalid session ID: braces are not allowed")
    return session_id(value)


def checkpoint_id(value: str) -> str:
    """Return ``value`` if it can be a checkpoint id. Raises as :func:`agent_name`."""
    return _component("invalid checkpoint ID: ", value)


def is_component(value: str) -> bool:
    """Say whether ``value`` can be the name of an agent, a session or a checkpoint."""
    try:
        _component("", value)
    except InvalidPathComponentError:
        return False
    return True


def user_id(value: str) -> str:
    """Return ``value`` if it can be a user id; "" is nobody.

    Raises:
        InvalidMessageError: not text, not UTF-8, too long, or with control characters.
    """
    return _text("user id", value, MAX_USER_ID_BYTES)


def idempotency_key(value: str) -> str:
    """Return ``value`` if it can be an idempotency key. Raises as :func:`user_id`."""
    if value == "":
        raise InvalidMessageError("idempotency key is empty")
    return _text("idempotency key", value, MAX_KEY_BYTES)


def page(limit: int, offset: int) -> None:
    """Check the limits of a listing.

    Raises:
        ValueError: negative, or not an integer.
    """
    not_negative("limit", limit)
    not_negative("offset", offset)


def not_negative(what: str, value: int) -> int:
    """Return ``value`` if it is an integer of at least 0.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{what} must be an integer, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{what} must not be negative")
    return value


def ttl_seconds(value: float | None) -> float | None:
    """Return a time to live: None for the backend's default, 0 for none.

    Raises:
        ValueError: negative or not a number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**10:
        raise ValueError("time to live must be a number of seconds of at least 0")
    return value


def timeout(value: float) -> float:
    """Return a time to wait, in seconds.

    Raises:
        ValueError: negative, not finite, or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("timeout must be a number of seconds of at least 0")
    return value


def metadata(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of metadata as it comes back from JSON: who has the original cannot change it.

    Raises:
        InvalidMessageError: it cannot, or it is too large.
    """
    if value is None:
        return {}
    try:
        plain = dict(value)
        raw = orjson.dumps(plain)
    except (TypeError, ValueError) as error:
        raise InvalidMessageError(f"metadata cannot be expressed as JSON: {error}") from error
    if not is_finite(plain):
        raise InvalidMessageError("metadata cannot be expressed as JSON: a number is not finite")
    if len(raw) > MAX_METADATA_BYTES:
        raise InvalidMessageError(f"metadata is {len(raw)} bytes, the limit is {MAX_METADATA_BYTES}")
    copied: dict[str, Any] = orjson.loads(raw)
    return copied


def messages(values: Iterable[Message]) -> list[Message]:
    """Return the messages of one append. Their size is checked when they are encoded.

    Raises:
        InvalidMessageError: something that is no message, or a field that is no text.
    """
    checked = list(values)
    for value in checked:
        if not isinstance(value, Message):
            raise InvalidMessageError(f"expected a Message, not {type(value).__name__}")
        try:
            size = sum(map(_length, _texts_of(value)))
        except TypeError:
            raise InvalidMessageError("id, type, payload and timestamp of a message must be text") from None
        if value.metadata and not is_finite(value.metadata):
            raise InvalidMessageError("a number in the metadata of a message is not finite")
        if size > MAX_ENTRY_BYTES:  # known without encoding it
            raise InvalidMessageError(f"message is over {MAX_ENTRY_BYTES} bytes")
    return checked


def _component(prefix: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidPathComponentError(f"{prefix}must be text, not {type(value).__name__}")
    if value == "":
        raise InvalidPathComponentError(f"{prefix}path component cannot be empty")
    if value == "." or ".." in value or "/" in value or "\\" in value:
        raise InvalidPathComponentError(prefix + InvalidPathComponentError.text)
    if _CONTROL.search(value):
        raise InvalidPathComponentError(f"{prefix}control characters are not allowed")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidPathComponentError(f"{prefix}not valid UTF-8") from None
    if size > MAX_NAME_BYTES:
        raise InvalidPathComponentError(f"{prefix}{size} bytes, the limit is {MAX_NAME_BYTES}")
    return value


def _text(what: str, value: str, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidMessageError(f"{what} must be text, not {type(value).__name__}")
    if _CONTROL.search(value):
        raise InvalidMessageError(f"{what} has control characters")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidMessageError(f"{what} is not valid UTF-8") from None
    if size > limit:
        raise InvalidMessageError(f"{what} is {size} bytes, the limit is {limit}")
    return value
