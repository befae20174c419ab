"""Ids: random UUIDs (version 4) in lower case, as Aixgo writes them, and their 16 bytes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_is_id = re.compile(_ID).fullmatch
_are_ids = re.compile(f"(?:{_ID} )*").fullmatch

#: For the bytes that say the version and the variant.
_VERSION: Final = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT: Final = bytes(0x80 | byte & 0x3F for byte in range(256))

#: The next ids: a call of the kernel costs several times what the rest does.
_pool: list[str] = []
_POOL_SIZE: Final = 64
#: An id and a space.
_STRIDE: Final = 37
#: Where in the text of an id its dashes are, and its digits.
_DASHES: Final = (8, 13, 18, 23)
_NIL: Final = "00000000-0000-0000-0000-000000000000"
_PLACES: Final = [place for place in range(36) if place not in _DASHES]
os.register_at_fork(after_in_child=_pool.clear)  # else the child would make its parent's ids


def new_id() -> str:
    """Return a new id. It is ``uuid.uuid4()``, in an eighth of the time."""
    try:
        return _pool.pop()
    except IndexError:  # also when another thread was faster
        raw = bytearray(os.urandom(16 * _POOL_SIZE))
        raw[6::16] = raw[6::16].translate(_VERSION)
        raw[8::16] = raw[8::16].translate(_VARIANT)
        digits = raw.hex().encode()
        text = bytearray((b"-" * 36 + b" ") * _POOL_SIZE)
        for digit, place in enumerate(_PLACES):  # each digit of all ids at once
            text[place::_STRIDE] = digits[digit::32]
        ids = text.decode().split()
        _pool.extend(ids[1:])
        return ids[0]


def unpack(raw: bytes | bytearray) -> str:
    """Return the text of an id of 16 bytes."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def pack(text: str) -> bytes | None:
    """Return the 16 bytes of an id. None: it is another text, which :func:`unpack` would not return."""
    return bytes.fromhex(text.replace("-", "")) if _is_id(text) else None


def pack_all(texts: Sequence[str]) -> bytes | None:
    """Return the bytes of several ids. None: one is another text, or the one of all zeros."""
    joined = " ".join([*texts, ""])
    if not _are_ids(joined) or _NIL in joined:
        return None
    return bytes.fromhex(joined.replace("-", ""))
