"""Manifests of everything that the operator owns, but for Secrets with key material (``render.secrets``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.render import runtime_objects
from aixgo_operator.render.backend_objects import file_volume, managed_redis
from aixgo_operator.render.common import Manifest
from aixgo_operator.render.runtime_pods import config_map, deployment

if TYPE_CHECKING:
    from aixgo_operator.domain.resolved import ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

__all__ = ["Manifest", "render_backend", "render_runtime"]


def render_runtime(resolved: ResolvedRuntime, settings: OperatorSettings) -> list[Manifest]:
    """Return all objects of a runtime but its Secrets; an empty list while ``resolved.held``.

    The order is good for applying: what the pods need stands before the Deployment.
    """
    if resolved.held:
        return []
    wanted = [
        runtime_objects.service_account(resolved, settings),
        config_map(resolved, settings),
        *runtime_objects.services(resolved, settings),
        runtime_objects.network_policy(resolved, settings),
        runtime_objects.certificate(resolved, settings),
        runtime_objects.disruption_budget(resolved, settings),
        deployment(resolved, settings),
        runtime_objects.autoscaler(resolved, settings),
    ]
    return [manifest for manifest in wanted if manifest is not None]


def render_backend(resolved: ResolvedBackend, settings: OperatorSettings) -> list[Manifest]:
    """Return all objects of a backend but its Secrets; an empty list while ``resolved.held``.

    A backend on somebody else's Redis owns nothing.
    """
    if resolved.held:
        return []
    redis = resolved.backend.spec.redis
    if redis is None:
        return file_volume(resolved, settings)
    if redis.managed is None:
        return []
    return managed_redis(resolved, redis.managed, settings)
