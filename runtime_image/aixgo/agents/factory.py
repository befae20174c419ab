"""Agents out of their configuration."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

from aixgo.agents.custom import load_custom
from aixgo.agents.services import AgentServices
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.agents.protocol import Agent
    from aixgo.contract import AgentConfig, SecretFile


def build_agent(
    config: AgentConfig,
    read_secret: Callable[[SecretFile], str],
    services: AgentServices | None = None,
) -> Agent:
    """Build the agent that ``config`` describes. Imports what its role needs, which may take seconds.

    Args:
        config: One agent of ``runtime.json``.
        read_secret: Returns the content of a secret file; raises :class:`AgentLoadError` when there is none.
        services: What the runtime gives to agents; None: what every pod allows.

    Raises:
        AgentLoadError: the agent cannot be built; the text is fit for ``/statusz``.
    """
    if config.tools and config.role != "react":
        raise AgentLoadError(f"role {config.role} uses no tools: remove tools, or take role react")
    if config.role == "custom":
        return load_custom(config)
    # Loads pydantic, at least.
    from aixgo.agents.roles import build

    return build(config, read_secret, services or AgentServices())


def import_ahead(config: AgentConfig) -> None:
    """Import what the agent needs, in any thread. Building it finds the modules then, or the error."""
    if config.role == "custom":
        modules = [(config.handler or "").partition(":")[0]]
    else:
        from aixgo.agents.roles import modules as modules_of

        modules = modules_of(config)
    for module in filter(None, modules):
        with contextlib.suppress(Exception, SystemExit):
            importlib.import_module(module)
