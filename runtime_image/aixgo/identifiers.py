"""Ids: random UUIDs (version 4) in lower case, as Aixgo writes them, and their 16 bytes."""

from __future__ import annotations

import os
from typing import Final

#: The digit of the variant, for four random bits.
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


#: Random hexadecimal digits for the next ids: a call of the kernel costs several times what the rest does.
_pool: list[str] = []
_POOL_SIZE: Final = 64
os.register_at_fork(after_in_child=_pool.clear)  # else the child would make its parent's ids


def new_id() -> str:
    """Return a new id. It is ``uuid.uuid4()``, in an eighth of the time."""
    try:
        text = _pool.pop()
    except IndexError:  # also when another thread was faster
        digits = os.urandom(16 * _POOL_SIZE).hex()
        _pool.extend(digits[first : first + 32] for first in range(32, len(digits), 32))
        text = digits[:32]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def unpack(raw: bytes | bytearray) -> str:
    """Return the text of an id of 16 bytes."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def pack(text: str) -> bytes | None:
    """Return the 16 bytes of an id. None: it is another text, which :func:`unpack` would not return."""
    if len(text) != 36 or not text[8] == text[13] == text[18] == text[23] == "-":
        return None
    digits = text.replace("-", "")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    return raw if raw.hex() == digits and len(raw) == 16 else None
