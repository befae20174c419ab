"""The role ``react``: a language model that answers with the whole conversation in view. Built on pydantic-
ai.

Importing this module takes more than a second; :mod:`aixgo.agents.factory` imports it when an agent needs it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic_ai import Agent as ModelAgent
from pydantic_ai import exceptions as model_errors
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from aixgo.agents.text import ASSISTANT_TYPES, answer, text_of
from aixgo.errors import SessionNotInContextError
from aixgo.runtime.errors import (
    AgentLoadError,
    ModelRateLimitError,
    ModelUnavailableError,
    ModelUnreachableError,
)
from aixgo.session import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from pydantic_ai.models import Model

    from aixgo.contract import ModelConfig
    from aixgo.message import Message

#: Where a provider speaks the OpenAI protocol when the configuration names no other place.
DEFAULT_BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "xai": "https://api.x.ai/v1",
    "huggingface": "https://router.huggingface.co/v1",
}
#: Servers without authentication ignore it; never None, or the library would look for a key in the
#: environment.
NO_API_KEY = "none"


class ReactAgent:
    """An agent that asks a language model.

    The system prompt is the configured one, also in conversations that began with another.
    """

    role = "react"

    def __init__(self, name: str, *, prompt: str, model: ModelConfig, api_key: str | None) -> None:
        self.name = name
        self._provider = _provider(model, api_key)
        self._agent: ModelAgent[None, str] = ModelAgent(
            _model(model, self._provider),
            instructions=prompt or None,
            model_settings=_settings(model),
            name=name,
        )
        self._started = False

    async def start(self) -> None:
        """Open the connection pool to the model provider. Nothing is sent."""
        if self._provider is not None:
            await self._provider.__aenter__()
        self._started = True

    async def stop(self) -> None:
        """Close the connection pool."""
        if self._started and self._provider is not None:
            await self._provider.__aexit__(None, None, None)
        self._started = False

    def ready(self) -> bool:
        """Whether :meth:`start` has run. The model's own health is probed by the server."""
        return self._started

    async def execute(self, message: Message) -> Message:
        """Answer with the history of the current session, if there is one.

        Raises:
            ModelUnavailableError: the provider does not answer or refuses.
            ModelRateLimitError: the provider asks for fewer requests.
        """
        history = await _history()
        with _translated_errors():
            result = await self._agent.run(text_of(message), message_history=history)
        return answer(result.output)

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Yield the answer in parts as the model produces them; errors as in :meth:`execute`."""
        history = await _history()
        with _translated_errors():
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


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn the library's errors into ours. Their texts may quote addresses and keys, so none is passed on."""
    try:
        yield
    except model_errors.ModelRateLimitError as error:
        raise ModelRateLimitError("the model provider's rate limit is reached", error.retry_after) from error
    except model_errors.ModelConnectionError as error:
        raise ModelUnreachableError("the model endpoint is not reachable") from error
    except model_errors.ModelHTTPError as error:
        if error.status_code == 429:
            raise ModelRateLimitError("the model provider's quota is used up", error.retry_after) from error
        raise ModelUnavailableError(
            f"the model provider answered with HTTP status {error.status_code}"
        ) from error
    except model_errors.ModelAPIError as error:
        raise ModelUnavailableError("the model provider failed") from error
    except model_errors.UnexpectedModelBehavior as error:
        raise ModelUnavailableError("the model gave no usable answer") from error


def _provider(model: ModelConfig, api_key: str | None) -> OpenAIProvider | None:
    if model.provider == "test":
        return None
    base_url = model.base_url or DEFAULT_BASE_URLS[model.provider]
    if api_key is None and model.base_url is None:
        raise AgentLoadError(f"model provider {model.provider} needs an API key: set model.apiKeySecretRef")
    return OpenAIProvider(base_url=base_url, api_key=api_key or NO_API_KEY)


def _model(model: ModelConfig, provider: OpenAIProvider | None) -> Model:
    if provider is None:
        return TestModel()
    return OpenAIChatModel(model.name, provider=provider)


def _settings(model: ModelConfig) -> ModelSettings:
    settings = ModelSettings()
    if model.temperature is not None:
        settings["temperature"] = model.temperature
    if model.max_tokens is not None:
        settings["max_tokens"] = model.max_tokens
    return settings
