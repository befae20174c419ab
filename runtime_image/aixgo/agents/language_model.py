"""The language model behind an agent: pydantic-ai's model for a provider, its settings and its connections.

Importing this module takes more than a second; :mod:`aixgo.agents.factory` imports it when an agent needs it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic_ai import exceptions as model_errors
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from aixgo.runtime.errors import (
    AgentLoadError,
    ModelRateLimitError,
    ModelUnavailableError,
    ModelUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_ai.models import Model

    from aixgo.contract import ModelConfig

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


class LanguageModel:
    """A model to build ``pydantic_ai.Agent(model.model, model_settings=model.settings)`` on.

    The agent that owns it opens it in its start and closes it in its stop.
    """

    def __init__(self, model: Model, settings: ModelSettings | None = None) -> None:
        #: What ``pydantic_ai.Agent`` takes as its model.
        self.model = model
        #: Temperature and the like, out of the configuration.
        self.settings = settings if settings is not None else ModelSettings()
        self._provider: OpenAIProvider | None = None
        self._open = False

    @classmethod
    def of(cls, config: ModelConfig, api_key: str | None) -> LanguageModel:
        """Return the model that ``config`` describes. Nothing is opened and nothing is sent.

        Raises:
            AgentLoadError: the provider needs a key, and there is none.
        """
        if config.provider == "test":
            return cls(TestModel(), _settings(config))
        if api_key is None and config.base_url is None:
            raise AgentLoadError(
                f"model provider {config.provider} needs an API key: set model.apiKeySecretRef"
            )
        base_url = config.base_url or DEFAULT_BASE_URLS[config.provider]
        provider = OpenAIProvider(base_url=base_url, api_key=api_key or NO_API_KEY)
        language_model = cls(OpenAIChatModel(config.name, provider=provider), _settings(config))
        language_model._provider = provider
        return language_model

    @property
    def opened(self) -> bool:
        """Whether :meth:`open` has run and :meth:`close` has not."""
        return self._open

    async def open(self) -> None:
        """Open the connection pool to the provider. Nothing is sent."""
        if not self._open and self._provider is not None:
            await self._provider.__aenter__()
        self._open = True

    async def close(self) -> None:
        """Close the connection pool."""
        if self._open and self._provider is not None:
            await self._provider.__aexit__(None, None, None)
        self._open = False

    @staticmethod
    @contextmanager
    def translated_errors() -> Iterator[None]:
        """Turn the library's errors into ours. Their texts may quote addresses and keys: none is passed on.

        Raises:
            ModelUnreachableError: no connection to the provider.
            ModelRateLimitError: the provider asks for fewer requests.
            ModelUnavailableError: the provider refuses or fails, or its answer cannot be used.
        """
        try:
            yield
        except model_errors.ModelRateLimitError as error:
            raise ModelRateLimitError(
                "the model provider's rate limit is reached", error.retry_after
            ) from error
        except model_errors.ModelConnectionError as error:
            raise ModelUnreachableError("the model endpoint is not reachable") from error
        except model_errors.ModelHTTPError as error:
            if error.status_code == 429:
                raise ModelRateLimitError(
                    "the model provider's quota is used up", error.retry_after
                ) from error
            raise ModelUnavailableError(
                f"the model provider answered with HTTP status {error.status_code}"
            ) from error
        except model_errors.ModelAPIError as error:
            raise ModelUnavailableError("the model provider failed") from error
        except model_errors.UnexpectedModelBehavior as error:
            raise ModelUnavailableError("the model gave no usable answer") from error


def _settings(config: ModelConfig) -> ModelSettings:
    settings = ModelSettings()
    if config.temperature is not None:
        settings["temperature"] = config.temperature
    if config.max_tokens is not None:
        settings["max_tokens"] = config.max_tokens
    return settings
