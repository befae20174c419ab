"""What an object refers to: what the reconciler has to read, and what it has to watch, for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aixgo_operator.domain import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
    from aixgo_operator.domain.snapshot import ObjectKey


@dataclass(frozen=True, slots=True)
class References:
    """Secrets and ConfigMaps as (namespace, name)."""

    secrets: frozenset[ObjectKey] = frozenset()
    config_maps: frozenset[ObjectKey] = frozenset()

    def __or__(self, other: References) -> References:
        return References(self.secrets | other.secrets, self.config_maps | other.config_maps)


def runtime_key(agent: Agent) -> ObjectKey:
    """Return the AgentRuntime that the Agent points to."""
    ref = agent.spec.runtime_ref
    return (ref.namespace or agent.namespace, ref.name)


def backend_key(runtime: AgentRuntime) -> ObjectKey | None:
    """Return the SessionBackend that the runtime points to, if any."""
    ref = runtime.spec.session_backend_ref
    return None if ref is None else (ref.namespace or runtime.namespace, ref.name)


def replication_key(backend: SessionBackend) -> ObjectKey | None:
    """Return the RedisReplication that the backend points to, if any."""
    redis = backend.spec.redis
    ref = None if redis is None else redis.replication_ref
    return None if ref is None else (ref.namespace or backend.namespace, ref.name)


def agent_targets(agents: Iterable[Agent]) -> frozenset[ObjectKey]:
    """Return the Agents that ``agents`` call or send to. An output may also lead to no Agent: a channel."""
    found: set[ObjectKey] = set()
    for agent in agents:
        found |= {(agent.namespace, output.target) for output in agent.spec.outputs}
        found |= {
            (tool.agent_ref.namespace or agent.namespace, tool.agent_ref.name)
            for tool in agent.spec.tools
            if tool.agent_ref is not None
        }
    return frozenset(found)


def key_references(role_config: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return name and key of the Secrets with the API keys of fallback models."""
    found: list[tuple[str, str]] = []

    def note(name: str, key: str) -> dict[str, str]:
        found.append((name, key))
        return {}

    with_key_files(role_config, note)
    return found


def with_key_files(
    role_config: Mapping[str, Any] | None, file_of: Callable[[str, str], dict[str, str]]
) -> dict[str, Any]:
    """Return a roleConfig whose fallback models have the files of their API keys instead of the Secrets."""
    config = dict(role_config or {})
    for field in ("fallbackModels", "fallback_models"):
        if isinstance(config.get(field), list):
            config[field] = [_with_key_file(model, file_of) for model in config[field]]
    return config


def _with_key_file(model: Any, file_of: Callable[[str, str], dict[str, str]]) -> Any:
    ref = model.get("apiKeySecretRef") if isinstance(model, dict) else None
    if (
        not isinstance(ref, dict)
        or not isinstance(ref.get("name"), str)
        or not isinstance(ref.get("key"), str)
    ):
        return model
    rest = {key: value for key, value in model.items() if key != "apiKeySecretRef"}
    return rest | {"apiKey": file_of(ref["name"], ref["key"])}


def agent_references(agent: Agent) -> References:
    """Return what an Agent refers to, all in its own namespace."""
    secrets: set[ObjectKey] = set()
    config_maps: set[ObjectKey] = set()
    spec, namespace = agent.spec, agent.namespace
    if spec.model is not None and spec.model.api_key_secret_ref is not None:
        secrets.add((namespace, spec.model.api_key_secret_ref.name))
    if spec.prompt_from is not None:
        if spec.prompt_from.secret_key_ref is not None:
            secrets.add((namespace, spec.prompt_from.secret_key_ref.name))
        if spec.prompt_from.config_map_key_ref is not None:
            config_maps.add((namespace, spec.prompt_from.config_map_key_ref.name))
    secrets |= {(namespace, name) for name, _ in key_references(spec.role_config)}
    for tool in spec.tools:
        if tool.mcp is not None and tool.mcp.headers_secret_ref is not None:
            secrets.add((namespace, tool.mcp.headers_secret_ref.name))
    return References(frozenset(secrets), frozenset(config_maps))


def backend_references(backend: SessionBackend) -> References:
    """Return what a SessionBackend refers to; for a managed Redis its generated Secrets."""
    secrets: set[ObjectKey] = set()
    config_maps: set[ObjectKey] = set()
    namespace, redis = backend.namespace, backend.spec.redis
    if redis is None:
        return References()
    if redis.managed is not None:
        secrets |= {
            (namespace, naming.redis_auth_secret(backend.name)),
            (namespace, naming.redis_tls_secret(backend.name)),
        }
    elif redis.auth is not None:
        for ref in (redis.auth.username_secret_ref, redis.auth.password_secret_ref):
            if ref is not None:
                secrets.add((namespace, ref.name))
    if redis.managed is None and redis.tls is not None and redis.tls.mode == "Required":
        bundle = redis.tls.ca_bundle_ref
        if bundle is not None:
            (secrets if bundle.kind == "Secret" else config_maps).add((namespace, bundle.name))
        if redis.tls.certificate_ref is not None:
            secrets.add((namespace, redis.tls.certificate_ref.name))
    return References(frozenset(secrets), frozenset(config_maps))


def runtime_references(
    runtime: AgentRuntime, agents: Iterable[Agent], backend: SessionBackend | None
) -> References:
    """Return the Secrets and ConfigMaps that resolving the runtime looks at."""
    secrets: set[ObjectKey] = set()
    config_maps: set[ObjectKey] = set()
    tls = runtime.spec.tls
    if tls.certificate_ref is not None:
        secrets.add((runtime.namespace, tls.certificate_ref.name))
    if tls.ca_bundle_ref is not None:
        bundle = (runtime.namespace, tls.ca_bundle_ref.name)
        (secrets if tls.ca_bundle_ref.kind == "Secret" else config_maps).add(bundle)
    found = References(frozenset(secrets), frozenset(config_maps))
    for agent in agents:
        found |= agent_references(agent)
    if backend is not None:
        found |= backend_references(backend)
    return found
