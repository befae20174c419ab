"""What the roles accept as input (Go: the StringValidator in front of classifier, aggregator and planner)."""

from __future__ import annotations

import re
from typing import Final

from aixgo.runtime.errors import InvalidRequestError

MAX_CHARACTERS: Final = 100_000
#: All of them but tabulators and line ends.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def checked(text: str, field: str = "input") -> str:
    """Return the text.

    Raises:
        InvalidRequestError: it is empty, too long, or has a control character; the text names ``field``.
    """
    if not text.strip():
        raise InvalidRequestError(field, "is empty")
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(field, f"is longer than {MAX_CHARACTERS} characters")
    if _CONTROLS.search(text):
        raise InvalidRequestError(field, "has control characters")
    return text
