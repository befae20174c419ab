"""The role ``react``: a language model that answers with the whole conversation in view. Built on pydantic-
ai.

Importing this module takes more than a second; :mod:`aixgo.agents.factory` imports it when an agent needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_ai import Agent as ModelAgent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart

from aixgo.agents.text import ASSISTANT_TYPES, answer, text_of
from aixgo.errors import SessionNotInContextError
from aixgo.session import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aixgo.agents.language_model import LanguageModel
    from aixgo.message import Message


class ReactAgent:
    """An agent that asks a language model.

    The system prompt is the configured one, also in conversations that began with another.
    """

    role = "react"

    def __init__(self, name: str, *, prompt: str, model: LanguageModel) -> None:
        self.name = name
        self._model = model
        self._agent: ModelAgent[None, str] = ModelAgent(
            model.model, instructions=prompt or None, model_settings=model.settings, name=name
        )

    async def start(self) -> None:
        """Open the connection pool to the model provider. Nothing is sent."""
        await self._model.open()

    async def stop(self) -> None:
        """Close the connection pool."""
        await self._model.close()

    def ready(self) -> bool:
        """Whether :meth:`start` has run. The model's own health is probed by the server."""
        return self._model.opened

    async def execute(self, message: Message) -> Message:
        """Answer with the history of the current session, if there is one.

        Raises:
            ModelUnavailableError: the provider does not answer or refuses.
            ModelRateLimitError: the provider asks for fewer requests.
        """
        history = await _history()
        with self._model.translated_errors():
            result = await self._agent.run(text_of(message), message_history=history)
        return answer(result.output)

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Yield the answer in parts as the model produces them; errors as in :meth:`execute`."""
        history = await _history()
        with self._model.translated_errors():
            async with self._agent.run_stream(text_of(message), message_history=history) as result:
                async for delta in result.stream_text(delta=True, debounce_by=None):
                    if delta:
                        yield answer(delta)


async def _history() -> list[ModelMessage]:
    try:
        session = current_session()
    except SessionNotInContextError:
        return []
    return to_model_history(await session.get_messages())


def to_model_history(messages: Sequence[Message]) -> list[ModelMessage]:
    """Return stored messages, oldest first, as the model's history: answers are the model's, all others the
    user's.
    """
    return [
        ModelResponse(parts=[TextPart(text_of(message))])
        if message.type in ASSISTANT_TYPES
        else ModelRequest(parts=[UserPromptPart(text_of(message))])
        for message in messages
    ]
