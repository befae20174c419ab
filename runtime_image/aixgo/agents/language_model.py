"""The language model behind an agent: pydantic-ai's model for a provider, its settings and its connections.

Importing this module takes more than a second; :mod:`aixgo.agents.roles` imports it when an agent needs it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from openai import AsyncOpenAI
from pydantic_ai import exceptions as model_errors
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles.google import google_model_profile
from pydantic_ai.profiles.grok import grok_model_profile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings

from aixgo.agents.http_client import open_client
from aixgo.agents.url_guard import AddressPolicy, RefusedAddressError
from aixgo.runtime.errors import (
    AgentLoadError,
    ModelRateLimitError,
    ModelUnavailableError,
    ModelUnreachableError,
    UsageLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx2
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model

    from aixgo.contract import ModelConfig

#: Where each provider is when the configuration names no other place.
DEFAULT_BASE_URLS: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "xai": "https://api.x.ai/v1",
    "huggingface": "https://router.huggingface.co/v1",
}
#: The limits of a call: what the library calls them, and the keys of the role's configuration.
_LIMITS: Final = {
    "request_limit": "maxRequests",
    "tool_calls_limit": "maxToolCalls",
    "total_tokens_limit": "maxTotalTokens",
}
#: What makes the next model be asked: an error, or an answer that is none.
_FALLS_BACK: Final = (model_errors.ModelAPIError, model_errors.UnexpectedModelBehavior)
#: Servers without authentication ignore it; never None, or the library would look for a key in the
#: environment.
NO_API_KEY: Final = "none"


class LanguageModel:
    """A model to build ``pydantic_ai.Agent(model.model, model_settings=model.settings)`` on.

    The agent that owns it opens it in its start and closes it in its stop.
    """

    def __init__(self, model: Model, settings: ModelSettings | None = None) -> None:
        #: What ``pydantic_ai.Agent`` takes as its model.
        self.model = model
        #: Temperature and the like, out of the configuration.
        self.settings = settings if settings is not None else ModelSettings()
        self._clients: list[httpx2.AsyncClient] = []
        self._open = False
        self._closing: AsyncExitStack | None = None

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        api_key: str | None,
        policy: AddressPolicy | None = None,
        fallbacks: Sequence[tuple[ModelConfig, str | None]] = (),
    ) -> LanguageModel:
        """Return the model that ``config`` describes. Nothing is opened and nothing is sent.

        Args:
            config: The model.
            api_key: The key of its provider. Never taken from the environment, never sent elsewhere.
            policy: Which addresses may be dialled; None: the policy of a pod.
            fallbacks: Models with their keys that are asked in this order when the ones before fail.

        Raises:
            AgentLoadError: a provider needs a key and there is none, or an address is refused.
        """
        policy = policy or AddressPolicy()
        clients: list[httpx2.AsyncClient] = []
        models = [_model(*one, policy, clients) for one in ((config, api_key), *fallbacks)]
        model = FallbackModel(*models, fallback_on=_FALLS_BACK) if fallbacks else models[0]
        made = cls(model, _settings(config))
        made._clients = clients
        return made

    @property
    def opened(self) -> bool:
        """Whether :meth:`open` has run and :meth:`close` has not."""
        return self._open

    async def open(self) -> None:
        """Open the connection pool to the provider. Nothing is sent."""
        if self._closing is None:
            async with AsyncExitStack() as stack:
                for client in self._clients:
                    await stack.enter_async_context(client)
                self._closing = stack.pop_all()
        self._open = True

    async def close(self) -> None:
        """Close the connection pool."""
        self._open = False
        closing, self._closing = self._closing, None
        if closing is not None:
            await closing.aclose()

    @staticmethod
    @contextmanager
    def translated_errors() -> Iterator[None]:
        """Turn the library's errors into ours. Their texts may quote addresses and keys: none is passed on.

        Raises:
            ModelUnreachableError: no connection to the provider.
            ModelRateLimitError: the provider asks for fewer requests.
            ModelUnavailableError: the provider refuses or fails, or its answer cannot be used.
            UsageLimitError: the call would have used more than the agent may.
        """
        try:
            yield
        except model_errors.UsageLimitExceeded as error:
            raise UsageLimitError(_limit(str(error))) from error
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
        except model_errors.FallbackExceptionGroup as group:
            # Every model failed. The first one is what the agent was meant to have.
            with LanguageModel.translated_errors():
                raise group.exceptions[0] from group


class _Provided(WrapperModel):
    """A model of a server that may answer anything: what the library does not expect is its failure, too."""

    async def request(self, *args: Any, **more: Any) -> ModelResponse:
        try:
            return await super().request(*args, **more)
        except (LookupError, TypeError, AttributeError) as error:  # such as no choices at all
            raise model_errors.UnexpectedModelBehavior("the answer has not the form of one") from error


def _limit(text: str) -> str:
    """Return the key of the role's configuration that the library's text is about."""
    return next((key for name, key in _LIMITS.items() if name in text), "usage")


def _model(
    config: ModelConfig, api_key: str | None, policy: AddressPolicy, clients: list[httpx2.AsyncClient]
) -> Model:
    if config.provider == "test":
        return TestModel()
    if api_key is None and config.base_url is None:
        raise AgentLoadError(f"model provider {config.provider} needs an API key: set model.apiKeySecretRef")
    if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
        raise AgentLoadError(f"the API key of model provider {config.provider} is empty or no API key")
    base_url = (config.base_url or DEFAULT_BASE_URLS[config.provider]).rstrip("/")
    try:
        client = open_client(base_url, policy)
    except RefusedAddressError as error:
        raise AgentLoadError(f"model.baseURL is refused: {error}") from error
    clients.append(client)
    if config.provider == "anthropic":
        return _Provided(_anthropic(config.name, base_url, api_key or NO_API_KEY, client))
    provider = _openai(config, base_url, api_key or NO_API_KEY, client)
    return _Provided(OpenAIChatModel(config.name, provider=provider))


def _openai(
    config: ModelConfig, base_url: str, api_key: str, http_client: httpx2.AsyncClient
) -> OpenAIProvider | OpenAICompatibleProvider:
    """Return the provider for a service that speaks the protocol of OpenAI.

    Google and Hugging Face do, and their own libraries bring another HTTP stack that our guard would not see;
    the library of xAI speaks gRPC and knows no base URL.
    """
    client = AsyncOpenAI(api_key=api_key, base_url=base_url, http_client=http_client, max_retries=0)
    # The library fills these from the environment.
    client.organization = client.project = client.admin_api_key = None
    client._custom_headers = {}  # noqa: SLF001
    if config.provider == "openai" and base_url == DEFAULT_BASE_URLS["openai"]:
        return OpenAIProvider(openai_client=client)
    if config.provider == "google":
        return OpenAICompatibleProvider("google", openai_client=client, profile=google_model_profile)
    if config.provider == "xai":
        return OpenAICompatibleProvider("xai", openai_client=client, profile=grok_model_profile)
    return OpenAICompatibleProvider(config.provider, openai_client=client)


def _anthropic(name: str, base_url: str, api_key: str, http_client: httpx2.AsyncClient) -> Model:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(
        api_key=api_key,
        base_url=base_url.removesuffix("/v1"),  # the library adds it
        http_client=http_client,
        max_retries=0,
    )
    client._custom_headers = {}  # noqa: SLF001 - the library fills it from the environment
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))


def _settings(config: ModelConfig) -> ModelSettings:
    settings = ModelSettings()
    if config.temperature is not None:
        settings["temperature"] = config.temperature
    if config.max_tokens is not None:
        settings["max_tokens"] = config.max_tokens
    return settings
