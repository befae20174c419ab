"""The role ``custom``: an agent out of the user's own code, named ``module:Attribute``."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from aixgo.agents.protocol import Agent, function_agent
from aixgo.cancellation import is_own_failure
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from aixgo.contract import AgentConfig


def load_custom(config: AgentConfig) -> Agent:
    """Return the agent that ``config.handler`` names.

    The attribute may be an ``async def`` function or asynchronous generator, an agent made by
    ``@aixgo.agent``, an agent object, or a class. A class is called with the agent's
    :class:`~aixgo.contract.AgentConfig` if its constructor takes an argument, else with nothing.

    Raises:
        AgentLoadError: the module, the attribute or its kind is wrong; the text says which.
    """
    handler = config.handler or ""
    module_name, _, attribute = handler.partition(":")
    if not module_name or not attribute:
        raise AgentLoadError(f"handler {handler!r} is not of the form module:Attribute")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        if not is_own_failure(error):
            raise
        raise AgentLoadError(
            f"handler {handler!r}: cannot import {module_name!r}: {_reason(error)}"
        ) from error
    try:
        target = getattr(module, attribute)
    except AttributeError as error:
        raise AgentLoadError(f"handler {handler!r}: module {module_name!r} has no {attribute!r}") from error
    return _to_agent(config, handler, target)


def _to_agent(config: AgentConfig, handler: str, target: Any) -> Agent:
    if inspect.isclass(target):
        make: Any = target
        try:
            target = make(config) if _takes_an_argument(target) else make()
        except BaseException as error:
            if not is_own_failure(error):
                raise
            raise AgentLoadError(f"handler {handler!r}: the constructor failed: {_reason(error)}") from error
    if isinstance(target, Agent):
        return target
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        return function_agent(config.name, target)
    raise AgentLoadError(
        f"handler {handler!r} is neither an agent, a class of agents nor an 'async def' function"
    )


def _takes_an_argument(cls: type) -> bool:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(parameter.kind in positional for parameter in parameters)


def _reason(error: BaseException) -> str:
    """Return what is safe to show: a missing module by name, other errors by their type."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named {error.name!r}"
    return type(error).__name__
