"""Values in files below the secrets directory: ``<secret>/<key>``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aixgo.contract import SecretFile
from aixgo.files import data_directory, stamp
from aixgo.observability.redaction import remember_secret
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aixgo.contract import AgentConfig
    from aixgo.files import Stamp


class SecretFiles:
    """Reads secrets at the moment of use. Never reports a value; what was read is kept out of the logs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, reference: SecretFile) -> str:
        """Return the content of a secret file.

        Raises:
            AgentLoadError: there is no such file, it is not readable, or not UTF-8.
        """
        where = f"secret {reference.secret!r}, key {reference.key!r}"
        if not all(_plain(part) for part in (reference.secret, reference.key)):
            raise AgentLoadError(f"{where}: not a name of a secret and a key")
        try:
            path = data_directory(self._directory) / reference.secret / reference.key
            value = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AgentLoadError(f"{where} is not available") from error
        remember_secret(value)
        return value

    def keys(self, secret: str) -> list[str]:
        """Return the keys of a Secret; none if it is not there."""
        if not _plain(secret):
            return []
        try:
            entries = list((data_directory(self._directory) / secret).iterdir())
        except OSError:
            return []
        return sorted(entry.name for entry in entries if not entry.name.startswith("..") and entry.is_file())

    def headers(self, secret: str) -> dict[str, str]:
        """Return every key of a Secret with its value.

        Raises:
            AgentLoadError: there is no such Secret, or it is empty.
        """
        keys = self.keys(secret)
        if not keys:
            raise AgentLoadError(f"secret {secret!r} is not available")
        return {key: self.read(SecretFile(secret=secret, key=key)) for key in keys}

    def of_agent(self, config: AgentConfig) -> list[SecretFile]:
        """Return the secret files that an agent is built from."""
        wanted = [config.prompt.secret, config.model.api_key if config.model is not None else None]
        references = [reference for reference in wanted if reference is not None]
        references += _fallback_keys(config)
        for tool in config.tools:
            if tool.mcp is not None and (secret := tool.mcp.headers_secret) is not None:
                references += [SecretFile(secret=secret, key=key) for key in self.keys(secret)]
        return references

    def stamp(self, references: Iterable[SecretFile]) -> Stamp:
        """Return the stamp of these files; it changes when one of them is replaced."""
        return stamp(self._directory, sorted(f"{ref.secret}/{ref.key}" for ref in references))

    def digest(self, references: Iterable[SecretFile]) -> str:
        """Return a hash over the present content of these files; a missing one counts as such."""
        total = hashlib.sha256()
        for reference in references:
            try:
                content = self.read(reference).encode()
            except AgentLoadError:
                content = b""
            total.update(hashlib.sha256(content).digest())
        return total.hexdigest()


def _fallback_keys(config: AgentConfig) -> list[SecretFile]:
    if config.role != "react" or not {"fallbackModels", "fallback_models"} & config.role_config.keys():
        return []
    # Loads pydantic, which a process without fallback models may not need.
    from aixgo.contract.role_config import RoleConfigError, parse_role_config

    try:
        settings = parse_role_config(config.role, config.role_config)
    except RoleConfigError:
        return []  # the agent is not loaded, and says why
    keys = [fallback.api_key for fallback in getattr(settings, "fallback_models", ())]
    return [SecretFile(secret=key.secret, key=key.key) for key in keys if key is not None]


def _plain(component: str) -> bool:
    return bool(component) and component not in (".", "..") and "/" not in component and "\0" not in component
