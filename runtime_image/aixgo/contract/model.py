"""The base of every model of the runtime contract: camelCase in JSON, unknown fields ignored."""

from __future__ import annotations

from typing import Any, Self

import msgspec


class ContractModel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A frozen record of the contract. An older runtime ignores the fields that a newer operator adds.

    What comes from outside is checked by :meth:`from_document` and :meth:`from_json`; what the program makes
    itself is mypy's to check.
    """

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Return the model in what a JSON document holds.

        Raises:
            msgspec.ValidationError: it is none; see :func:`where_and_what`.
        """
        return msgspec.convert(document, cls)

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Return the model in a JSON document.

        Raises:
            msgspec.DecodeError: it is none, or not JSON; see :func:`where_and_what`.
        """
        return msgspec.json.decode(content, type=cls)

    def document(self) -> dict[str, Any]:
        """Return what the JSON document holds, in lists and dictionaries."""
        document: dict[str, Any] = msgspec.json.decode(self.json())
        return document

    def json(self) -> bytes:
        """Return the JSON document."""
        return msgspec.json.encode(self)

    def changed(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields, by their names in Python."""
        return msgspec.structs.replace(self, **changes)


def where_and_what(error: msgspec.DecodeError) -> tuple[str, str]:
    """Return which field is wrong, such as ``agents[0].name`` ("": the whole), and why.

    No value of the document is in the text.
    """
    text, _, path = str(error).partition(" - at `")
    # Of a choice that there is not msgspec tells the value.
    text = "no such choice" if text.startswith("Invalid enum value") else text.replace("`", "")
    return path.rstrip("`").removeprefix("$").removeprefix("."), text
