"""The agents that the measured runtimes serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aixgo.agents.text import answer
from aixgo.session import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aixgo.message import Message

#: The parts of a streamed answer: as many, and as long, as a language model's tokens.
CHUNKS: Final = 1000
CHUNK: Final = "token "
#: How much of the conversation the agent with a session reads.
HISTORY: Final = 20


async def echo(message: Message) -> Message:
    """Return the message."""
    return message


async def remember(message: Message) -> Message:
    """Read the newest messages of the session, and answer."""
    history = await current_session().get_messages(limit=HISTORY)
    return answer(f"{len(history)} messages before this one")


async def tokens(message: Message) -> AsyncIterator[str]:
    """Answer token by token."""
    del message
    for _ in range(CHUNKS):
        yield CHUNK
