"""``runtime.json``: reading it, checking it, and noticing that it changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import ValidationError

from aixgo.contract import RUNTIME_JSON, RuntimeConfig, where_and_what, with_revisions
from aixgo.errors import AixgoError
from aixgo.files import read_together
from aixgo.version import CONTRACT_VERSION

if TYPE_CHECKING:
    from pathlib import Path


class ConfigurationError(AixgoError):
    """``runtime.json`` cannot be used. One line, without a path and without any value of the file."""


def load_configuration(directory: Path) -> RuntimeConfig:
    """Read ``runtime.json`` in ``directory``.

    Raises:
        ConfigurationError: it is missing, unreadable, no JSON, of a higher contract version, or wrong in
            itself.
    """
    try:
        content = read_together(directory, (RUNTIME_JSON,))[RUNTIME_JSON]
    except OSError as error:
        raise ConfigurationError(f"cannot read {RUNTIME_JSON}: {os.strerror(error.errno or 0)}") from error
    return parse_configuration(content)


def parse_configuration(content: bytes) -> RuntimeConfig:
    """Return the configuration in the bytes of ``runtime.json``.

    Raises:
        ConfigurationError: see :func:`load_configuration`.
    """
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(
            f"{RUNTIME_JSON} is not JSON: line {error.lineno}, column {error.colno}"
        ) from error
    _check_contract(data)
    try:
        config = RuntimeConfig.from_document(data)
    except ValidationError as error:
        where, what = where_and_what(error)
        raise ConfigurationError(f"{RUNTIME_JSON}: {where or 'document'}: {what}") from error
    names = [agent.name for agent in config.agents]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{RUNTIME_JSON}: more than one agent is called {', '.join(twice)}")
    if config.sessions is not None and config.sessions.type == "Redis" and config.sessions.redis is None:
        raise ConfigurationError(f"{RUNTIME_JSON}: sessions.redis is missing")
    if not config.revision or not all(agent.revision for agent in config.agents):
        # Written by hand: without revisions a change could not be told from no change.
        return with_revisions(config)
    return config


def _check_contract(data: Any) -> None:
    """Refuse a newer contract before anything else: what it means by its fields is unknown."""
    if not isinstance(data, dict):
        raise ConfigurationError(f"{RUNTIME_JSON} is not a JSON object")
    contract = data.get("contract", CONTRACT_VERSION)
    if isinstance(contract, int) and contract > CONTRACT_VERSION:
        raise ConfigurationError(
            f"{RUNTIME_JSON} has contract version {contract}; this runtime speaks {CONTRACT_VERSION}"
        )
