"""The metadata keys that go beyond the messages of the wire contract. All of them may be left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aixgo.observability.tracing import outgoing_metadata
from aixgo.runtime.call_context import current_call

if TYPE_CHECKING:
    from collections.abc import Iterable

Metadata = tuple[tuple[str, str], ...]

#: Send: the agent that sends; without it, the message comes from code that is no agent.
SENDER: Final = "aixgo-sender"
#: Send: the request has no message on purpose: None is sent.
NO_MESSAGE: Final = "aixgo-no-message"
#: Send: how many milliseconds the message may wait for room. Without it, a little less than the deadline.
WAIT: Final = "aixgo-wait-ms"
#: Listen: a random id of the reader. What it has not acknowledged is sent again when it comes back.
READER: Final = "aixgo-reader"
#: Listen, in both directions: the id of the numbering that ACKNOWLEDGED belongs to. Messages have the numbers
#: 1, 2, 3...; a connection begins with the first one that was not acknowledged.
NUMBERING: Final = "aixgo-numbering"
#: Listen: the reader has all messages up to this number.
ACKNOWLEDGED: Final = "aixgo-acknowledged"
#: Listen: ``acknowledge`` or ``leave`` (what is not acknowledged goes back): no messages are wanted.
ONLY: Final = "aixgo-only"


def of_call() -> Metadata:
    """Return what a call takes along: the trace, and the agents that it came through."""
    trace = outgoing_metadata()
    chain = current_call().metadata()
    return (*trace, *chain) if trace else chain


@dataclass(frozen=True, slots=True)
class Listening:
    """What a reader says when it begins to listen, or acknowledges."""

    reader: str = ""
    numbering: str = ""
    acknowledged: int = 0
    only: str = ""

    def to_metadata(self) -> Metadata:
        """Return it as gRPC metadata."""
        pairs = [(READER, self.reader), (NUMBERING, self.numbering), (ACKNOWLEDGED, str(self.acknowledged))]
        return (*pairs, (ONLY, self.only)) if self.only else tuple(pairs)

    @classmethod
    def of(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Listening:
        """Return what the metadata of a call says.

        Raises:
            ValueError: it is malformed.
        """
        found = {key: value for key, value in metadata if isinstance(value, str)}
        reader, numbering = found.get(READER, ""), found.get(NUMBERING, "")
        if len(reader) > 64 or len(numbering) > 64:
            raise ValueError("too long")
        acknowledged = int(found.get(ACKNOWLEDGED, "0"))
        return cls(reader, numbering, acknowledged, found.get(ONLY, ""))
