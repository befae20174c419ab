"""Agents out of their configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo.agents.custom import load_custom
from aixgo.agents.logger import LoggerAgent
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.agents.protocol import Agent
    from aixgo.contract import AgentConfig, ModelConfig, SecretFile

#: Roles that this version can run.
SUPPORTED_ROLES = ("react", "logger", "custom")


def build_agent(config: AgentConfig, read_secret: Callable[[SecretFile], str]) -> Agent:
    """Build the agent that ``config`` describes. Imports what its role needs, which may take seconds.

    Args:
        config: One agent of ``runtime.json``.
        read_secret: Returns the content of a secret file; raises :class:`AgentLoadError` when there is none.

    Raises:
        AgentLoadError: the agent cannot be built; the text is fit for ``/statusz``.
    """
    if config.role not in SUPPORTED_ROLES:
        raise AgentLoadError(f"role {config.role} is not supported by this runtime version")
    if config.tools:
        names = ", ".join(tool.name for tool in config.tools)
        raise AgentLoadError(f"tools are not supported by this runtime version: {names}")
    if config.role == "logger":
        return LoggerAgent(config.name)
    if config.role == "custom":
        return load_custom(config)
    return _react(config, read_secret)


def _react(config: AgentConfig, read_secret: Callable[[SecretFile], str]) -> Agent:
    if config.model is None:
        raise AgentLoadError("role react needs a model")
    prompt = read_prompt(config, read_secret)
    api_key = read_api_key(config.model, read_secret)
    try:
        from aixgo.agents.language_model import LanguageModel
        from aixgo.agents.react import ReactAgent
    except ImportError as error:
        raise AgentLoadError("role react needs the extra 'agents': pip install 'aixgo[agents]'") from error
    return ReactAgent(config.name, prompt=prompt, model=LanguageModel.of(config.model, api_key))


def read_prompt(config: AgentConfig, read_secret: Callable[[SecretFile], str]) -> str:
    """Return the system prompt, from the configuration or its Secret; "" if there is none."""
    if config.prompt.secret is not None:
        return read_secret(config.prompt.secret)
    return config.prompt.text or ""


def read_api_key(config: ModelConfig, read_secret: Callable[[SecretFile], str]) -> str | None:
    """Return the key of a model's provider; None if the configuration names none."""
    return read_secret(config.api_key).strip() if config.api_key is not None else None
