"""Agents of the roles that come with the library, out of their configuration.

Their settings are models of pydantic, which a process that has only agents of its own need not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from aixgo.agents.aggregator import AggregatorAgent
from aixgo.agents.logger import LoggerAgent
from aixgo.agents.producer import ProducerAgent
from aixgo.contract import SecretFile
from aixgo.contract.role_config import (
    AggregatorConfig,
    ClassifierConfig,
    NoConfig,
    PlannerConfig,
    ProducerConfig,
    ReactConfig,
    RoleConfigError,
    needs_model,
    parse_role_config,
)
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo.agents.language_model import LanguageModel
    from aixgo.agents.protocol import Agent
    from aixgo.agents.services import AgentServices
    from aixgo.contract import AgentConfig, ModelConfig
    from aixgo.contract.role_config import FallbackModel

T = TypeVar("T")


def build(config: AgentConfig, read_secret: Callable[[SecretFile], str], services: AgentServices) -> Agent:
    """Build the agent; see :func:`aixgo.agents.factory.build_agent`."""
    if config.role == "logger":
        _role_config(config, NoConfig)
        return LoggerAgent(config.name, inputs=config.inputs)
    if config.role == "producer":
        return ProducerAgent(config.name, config=_role_config(config, ProducerConfig), outputs=config.outputs)
    builders = {"aggregator": _aggregator, "classifier": _classifier, "planner": _planner, "react": _react}
    return builders[config.role](config, read_secret, services)


def modules(config: AgentConfig) -> list[str]:
    """Return the modules that take long to import and that the agent needs."""
    found = []
    if config.model is not None and needs_model(config.role, config.role_config):
        # An aggregator that votes needs no model.
        module: str = "synthesis" if config.role == "aggregator" else config.role
        found.append(f"aixgo.agents.{module}")
        if config.model.provider == "anthropic":
            found.append("pydantic_ai.models.anthropic")
    if any(tool.mcp is not None for tool in config.tools):
        found.append("aixgo.agents.mcp_tools")
    return found


def _aggregator(
    config: AgentConfig, read_secret: Callable[[SecretFile], str], services: AgentServices
) -> Agent:
    settings = _role_config(config, AggregatorConfig)
    return AggregatorAgent(
        config.name,
        config=settings,
        prompt=read_prompt(config, read_secret),
        model=open_model(config, read_secret, services) if config.model and not settings.votes else None,
        inputs=config.inputs,
        outputs=config.outputs,
    )


def _classifier(
    config: AgentConfig, read_secret: Callable[[SecretFile], str], services: AgentServices
) -> Agent:
    settings = _role_config(config, ClassifierConfig)
    model = open_model(config, read_secret, services)
    from aixgo.agents.classifier import ClassifierAgent

    return ClassifierAgent(
        config.name,
        config=settings,
        model=model,
        prompt=read_prompt(config, read_secret),
    )


def _planner(config: AgentConfig, read_secret: Callable[[SecretFile], str], services: AgentServices) -> Agent:
    settings = _role_config(config, PlannerConfig)
    model = open_model(config, read_secret, services)
    from aixgo.agents.planner import PlannerAgent

    return PlannerAgent(
        config.name,
        config=settings,
        model=model,
        prompt=read_prompt(config, read_secret),
    )


def _react(config: AgentConfig, read_secret: Callable[[SecretFile], str], services: AgentServices) -> Agent:
    settings = _role_config(config, ReactConfig)
    prompt = read_prompt(config, read_secret)
    model = open_model(config, read_secret, services, settings.fallback_models)
    from aixgo.agents.react import ReactAgent
    from aixgo.agents.tools import build_tools

    tools = build_tools(config.tools, services, settings.tool_timeout_seconds)
    return ReactAgent(config.name, prompt=prompt, model=model, config=settings, tools=tools)


def open_model(
    config: AgentConfig,
    read_secret: Callable[[SecretFile], str],
    services: AgentServices,
    fallbacks: Sequence[FallbackModel] = (),
) -> LanguageModel:
    """Return the language model of an agent, not opened yet.

    Raises:
        AgentLoadError: there is none, its key is missing, or its address is refused.
    """
    if config.model is None:
        raise AgentLoadError(f"role {config.role} needs a model")
    try:
        from aixgo.agents.language_model import LanguageModel
    except ImportError as error:
        raise AgentLoadError(
            f"role {config.role} needs the extra 'agents': pip install 'aixgo[agents]'"
        ) from error
    main = config.model
    api_key = read_api_key(main, read_secret)
    others = [_fallback(main, api_key, fallback, read_secret) for fallback in fallbacks]
    return LanguageModel.of(main, api_key, services.policy, others)


def _fallback(
    main: ModelConfig,
    main_key: str | None,
    fallback: FallbackModel,
    read_secret: Callable[[SecretFile], str],
) -> tuple[ModelConfig, str | None]:
    """Return a fallback model with its key: the agent's own only if it goes where the agent's own goes."""
    provider = fallback.provider or main.provider
    base_url = fallback.base_url or (main.base_url if provider == main.provider else None)
    key = fallback.api_key
    model = main.changed(
        name=fallback.name,
        provider=provider,
        base_url=base_url,
        api_key=SecretFile(secret=key.secret, key=key.key) if key is not None else None,
    )
    if key is None and (provider, base_url) == (main.provider, main.base_url):
        return model, main_key
    return model, read_api_key(model, read_secret)


def _role_config(config: AgentConfig, model: type[T]) -> T:
    try:
        settings = parse_role_config(config.role, config.role_config)
    except RoleConfigError as error:
        raise AgentLoadError(str(error)) from error
    if not isinstance(settings, model):
        raise TypeError(f"the settings of role {config.role} are no {model.__name__}")
    return settings


def read_prompt(config: AgentConfig, read_secret: Callable[[SecretFile], str]) -> str:
    """Return the system prompt, from the configuration or its Secret; "" if there is none."""
    if config.prompt.secret is not None:
        return read_secret(config.prompt.secret)
    return config.prompt.text or ""


def read_api_key(config: ModelConfig, read_secret: Callable[[SecretFile], str]) -> str | None:
    """Return the key of a model's provider; None if the configuration names none."""
    return read_secret(config.api_key).strip() if config.api_key is not None else None
