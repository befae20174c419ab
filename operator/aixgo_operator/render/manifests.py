"""Manifests of everything that the operator owns, but for Secrets with key material (``render.secrets``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aixgo_operator.domain.resolved import ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

#: One Kubernetes object as JSON.
Manifest = dict[str, Any]


def render_runtime(resolved: ResolvedRuntime, settings: OperatorSettings) -> list[Manifest]:
    """Return all objects of a runtime but its Secrets; an empty list while ``resolved.held``."""
    raise NotImplementedError


def render_backend(resolved: ResolvedBackend, settings: OperatorSettings) -> list[Manifest]:
    """Return all objects of a backend but its Secrets; an empty list while ``resolved.held``."""
    raise NotImplementedError
