"""Users' manifests, as small as they can be."""

from __future__ import annotations

import base64
from typing import Any

Manifest = dict[str, Any]


def _object(kind: str, namespace: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "aixgo.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def runtime(namespace: str, name: str = "runtime", **spec: Any) -> Manifest:
    """An AgentRuntime."""
    return _object("AgentRuntime", namespace, name, spec)


def agent(namespace: str, name: str = "assistant", runtime: str = "runtime", **spec: Any) -> Manifest:
    """An Agent of role react."""
    model = {"provider": "openai", "name": "small", "baseURL": "http://model:8080/v1"}
    return _object(
        "Agent",
        namespace,
        name,
        {"runtimeRef": {"name": runtime}, "prompt": "Be brief.", "model": model} | spec,
    )


def managed_redis(namespace: str, name: str = "sessions", **spec: Any) -> Manifest:
    """A SessionBackend with a Redis of its own."""
    return _object("SessionBackend", namespace, name, {"type": "Redis", "redis": {"managed": {}}} | spec)


def file_backend(namespace: str, name: str = "sessions", **spec: Any) -> Manifest:
    """A SessionBackend of files on a volume."""
    return _object("SessionBackend", namespace, name, {"type": "File"} | spec)


def secret(namespace: str, name: str, **values: str) -> Manifest:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
