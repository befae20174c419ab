"""Values in files below the secrets directory: ``<secret>/<key>``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aixgo.files import data_directory, stamp
from aixgo.observability.redaction import remember_secret
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aixgo.contract import AgentConfig, SecretFile
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


def agent_secrets(config: AgentConfig) -> list[SecretFile]:
    """Return the secret files that an agent is built from."""
    wanted = [config.prompt.secret, config.model.api_key if config.model is not None else None]
    return [reference for reference in wanted if reference is not None]


def _plain(component: str) -> bool:
    return bool(component) and component not in (".", "..") and "/" not in component and "\0" not in component
