"""Which model an agent asks, where that is, and which key goes there.

A key is only ever sent to the vendor that it belongs to, or to a place that was named together with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from aixgo.contract import ModelConfig, SecretFile
from aixgo.observability.redaction import remember_secret
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aixgo.config.models import ModelService

Provider = Literal["openai", "anthropic", "google", "xai", "huggingface", "test"]

#: Beginnings of model names, in the order in which they are tried (Go: DetectProvider).
_PREFIXES: Final[tuple[tuple[str, Provider | Literal["vertexai"]], ...]] = (
    *(
        (prefix, "huggingface")
        for prefix in (
            "meta-llama/",
            "mistralai/",
            "tiiuae/",
            "EleutherAI/",
            "bigscience/",
            "facebook/",
            "google/",
            "microsoft/",
        )
    ),
    *((prefix, "openai") for prefix in ("gpt-3.5", "gpt-4", "text-davinci", "text-curie")),
    ("claude", "anthropic"),
    ("vertex/", "vertexai"),
    ("gemini", "google"),
    ("grok", "xai"),
)


@dataclass(frozen=True, slots=True)
class Vendor:
    """The names of environment variables that a vendor's key and address come from, and its domain."""

    keys: tuple[str, ...]
    base_url: str
    domain: str


VENDORS: Final[dict[str, Vendor]] = {
    "openai": Vendor(("OPENAI_API_KEY",), "OPENAI_BASE_URL", "openai.com"),
    "anthropic": Vendor(("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL", "anthropic.com"),
    "google": Vendor(("GOOGLE_API_KEY",), "GOOGLE_BASE_URL", "googleapis.com"),
    "xai": Vendor(("XAI_API_KEY",), "XAI_BASE_URL", "x.ai"),
    "huggingface": Vendor(("HUGGINGFACE_API_KEY", "HF_TOKEN"), "HUGGINGFACE_ENDPOINT", "huggingface.co"),
}
#: Names of providers in model_services, as the original spells them.
_NAMES: Final[dict[str, Provider]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "google": "google",
    "xai": "xai",
    "huggingface": "huggingface",
    "mock": "test",
}
#: Where the servers listen that people run themselves.
_LOCAL: Final = {"ollama": "http://localhost:11434", "vllm": "http://localhost:8000"}
#: "Directories" of secrets: the environment, and the configuration file itself.
ENVIRONMENT, IN_FILE = "environment", "file"


class Secrets:
    """Values that a model or a tool server needs, out of the environment or out of the file itself."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._in_file: dict[str, str] = {}

    def from_file(self, value: str) -> SecretFile:
        """Keep a value of the file apart from the configuration and return what stands for it."""
        key = str(len(self._in_file))
        self._in_file[key] = value
        return SecretFile(secret=IN_FILE, key=key)

    def from_environment(self, name: str) -> SecretFile | None:
        """Return what stands for a variable; None if it is not set."""
        return SecretFile(secret=ENVIRONMENT, key=name) if self._environment.get(name) else None

    def read(self, reference: SecretFile) -> str:
        """Return the value.

        Raises:
            AgentLoadError: there is none.
        """
        values = self._environment if reference.secret == ENVIRONMENT else self._in_file
        value = values.get(reference.key)
        if not value:
            raise AgentLoadError(f"{reference.key} is not set in the environment")
        remember_secret(value)
        return value


class ModelProblemError(ValueError):
    """A model cannot be asked; the text says what is missing."""


def detect_provider(model: str) -> str:
    """Return the provider of a model by its name (Go: DetectProvider)."""
    return next((provider for prefix, provider in _PREFIXES if model.startswith(prefix)), "openai")


def find_service(services: Sequence[ModelService], model: str) -> ModelService | None:
    """Return the service whose name or model an agent names."""
    by_name = next((service for service in services if service.name == model), None)
    return by_name or next((service for service in services if service.model == model), None)


def model_config(
    model: str, services: Sequence[ModelService], environment: Mapping[str, str], secrets: Secrets
) -> ModelConfig:
    """Return how the model that an agent names is asked.

    Raises:
        ModelProblemError: its key is missing, or its provider does not exist here.
    """
    service = find_service(services, model)
    if service is None:
        return _vendor_model(_known(detect_provider(model), model), model, environment, secrets)
    if service.runtime in _LOCAL:
        return _local_model(service, secrets)
    name = service.provider or detect_provider(service.model)
    provider = _NAMES.get(name)
    if provider is None:
        known = ", ".join(sorted(_NAMES))
        raise ModelProblemError(f"provider {name[:60]!r} does not exist here; use one of {known}")
    return _cloud_model(provider, service, environment, secrets)


def _known(provider: str, model: str) -> Provider:
    if provider not in VENDORS:
        raise ModelProblemError(
            f"model {model[:60]!r}: Vertex AI is not supported; use a gemini model with GOOGLE_API_KEY"
        )
    return _NAMES[provider]


def _vendor_model(
    provider: Provider, model: str, environment: Mapping[str, str], secrets: Secrets
) -> ModelConfig:
    vendor = VENDORS[provider]
    base_url = environment.get(vendor.base_url) or None
    key = _environment_key(provider, secrets)
    if key is None and base_url is None:
        names = " or ".join(vendor.keys)
        raise ModelProblemError(f"model {model[:60]!r} needs {names} in the environment")
    return ModelConfig(provider=provider, name=model, base_url=base_url, api_key=key)


def _local_model(service: ModelService, secrets: Secrets) -> ModelConfig:
    address = service.config.address or service.address or _LOCAL[service.runtime]
    return ModelConfig(
        provider="openai",
        name=service.model,
        base_url=_openai_url(address),
        api_key=_service_key(service, secrets),
    )


def _cloud_model(
    provider: Provider, service: ModelService, environment: Mapping[str, str], secrets: Secrets
) -> ModelConfig:
    if provider == "test":
        return ModelConfig(provider="test", name=service.model)
    endpoint = service.config.endpoint or service.config.address or service.address
    key = _service_key(service, secrets)
    if not endpoint and key is None:
        return _vendor_model(provider, service.model, environment, secrets)
    if not endpoint:
        # A key of its own goes to the vendor, not to where the environment sends the other one.
        return ModelConfig(provider=provider, name=service.model, api_key=key)
    if key is None and _belongs_to(provider, endpoint):
        key = _environment_key(provider, secrets)
    return ModelConfig(provider=provider, name=service.model, base_url=endpoint, api_key=key)


def _environment_key(provider: Provider, secrets: Secrets) -> SecretFile | None:
    found = (secrets.from_environment(name) for name in VENDORS[provider].keys)
    return next((reference for reference in found if reference is not None), None)


def _service_key(service: ModelService, secrets: Secrets) -> SecretFile | None:
    settings = service.config
    if settings.api_key_env:
        reference = secrets.from_environment(settings.api_key_env)
        if reference is None:
            raise ModelProblemError(f"{settings.api_key_env[:60]} is not set in the environment")
        return reference
    value = settings.api_key or settings.token
    return secrets.from_file(value) if value else None


def _belongs_to(provider: Provider, url: str) -> bool:
    """Return whether a URL is the vendor's own, over TLS."""
    parts = urlsplit(url)
    host, domain = (parts.hostname or "").lower(), VENDORS[provider].domain
    return parts.scheme == "https" and (host == domain or host.endswith("." + domain))


def _openai_url(address: str) -> str:
    """Return the URL at which a server at ``address`` speaks the OpenAI protocol."""
    url = address if "://" in address else f"http://{address}"
    url = url.rstrip("/")
    return url if urlsplit(url).path else f"{url}/v1"
