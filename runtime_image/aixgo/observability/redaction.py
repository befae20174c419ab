"""Secrets that this process holds, taken out of whatever it logs.

Nothing logs a secret on purpose. But a user's agent may raise an error that quotes its key, and a library may
log at debug level what it sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Shorter texts (``default``) are words that would vanish everywhere.
SHORTEST = 8
#: So many are remembered, the newest; a key that is replaced every minute must not fill the memory.
MOST = 500
REPLACEMENT = "[redacted]"
#: What may stand before a token in an HTTP header.
SCHEMES = ("basic", "bearer", "token")

_secrets: dict[str, None] = {}
#: The same, the longest first: one may be the beginning of another.
_by_length: list[str] = []


def remember_secret(value: str) -> None:
    """Keep ``value``, and each of its lines, out of the logs from now on."""
    words = value.split()
    token = words[1] if len(words) == 2 and words[0].lower() in SCHEMES else ""
    for part in (value, token, *value.splitlines()):
        text = part.strip()
        if len(text) < SHORTEST or text.startswith("-----"):
            continue
        _secrets.pop(text, None)
        _secrets[text] = None
    while len(_secrets) > MOST:
        del _secrets[next(iter(_secrets))]
    _by_length[:] = sorted(_secrets, key=len, reverse=True)


def redacted(value: Any) -> Any:
    """Return ``value`` without secrets; a text, or mappings and sequences of texts."""
    if isinstance(value, str):
        for secret in _by_length:
            if secret in value:
                value = value.replace(secret, REPLACEMENT)
        return value
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    # What a renderer would make of it.
    text = repr(value)
    clean = redacted(text)
    return value if clean == text else clean
