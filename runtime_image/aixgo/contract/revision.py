"""Revisions: content hashes that let the operator see which configuration a pod really serves."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aixgo.contract.model import ContractModel
    from aixgo.contract.runtime_config import RuntimeConfig


def content_hash(model: ContractModel) -> str:
    """Return 16 hex digits of the SHA-256 of the model's canonical JSON, without its field ``revision``."""
    data = model.document()
    data.pop("revision", None)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def with_revisions(config: RuntimeConfig) -> RuntimeConfig:
    """Return ``config`` with every revision filled in. The order of agents does not matter."""
    agents = tuple(
        agent.changed(revision=content_hash(agent))
        for agent in sorted(config.agents, key=lambda a: (a.namespace, a.name))
    )
    routes = tuple(sorted(config.routes, key=lambda r: (r.namespace, r.agent)))
    complete = config.changed(agents=agents, routes=routes)
    return complete.changed(revision=content_hash(complete))
