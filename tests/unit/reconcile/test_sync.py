"""A word to the kubelet is written once, and is no news unless the pod has changed as well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo_operator.kube.resources import PODS, Resource
from aixgo_operator.reconcile import triggers
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.sync import sync_pods

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = {"app.kubernetes.io/managed-by": "aixgo-operator", "aixgo.dev/runtime": "r"}


def pod(version: int, *, ready: str = "False", **annotations: str) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": str(version), "labels": LABELS}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | ({"annotations": annotations} if annotations else {}),
        "spec": {"containers": [{"name": "runtime", "image": "i"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


class Client:
    """An API server with one pod, which may have changed since the operator saw it."""

    def __init__(self, ready: str) -> None:
        self.ready = ready
        self.written: list[Mapping[str, str | None]] = []

    async def annotate(
        self, resource: Resource, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> dict[str, Any]:
        self.written.append(annotations)
        (key, value), *_ = annotations.items()
        answer = pod(9, ready=self.ready, **{key: str(value)})
        answer["metadata"]["managedFields"] = [{"manager": "kubelet"}]
        return answer


@pytest.mark.parametrize(("ready", "news"), [("False", False), ("True", True)], ids=["same", "ready-by-now"])
async def test_whether_the_word_brings_another_look(ready: str, news: bool) -> None:
    cache, client = Cache(), Client(ready)
    runtime = {"name": "r", "namespace": "n", "uid": "r", "resourceVersion": "1"}
    cache.put({"apiVersion": "aixgo.dev/v1alpha1", "kind": "AgentRuntime", "metadata": runtime, "spec": {}})
    cache.put(pod(5))
    context: Any = SimpleNamespace(client=client, cache=cache)

    def seen() -> list[dict[str, Any]]:
        return cache.pods_labelled("n", "aixgo.dev/runtime", "r")

    await sync_pods(context, "n", seen(), [], ["v1"])
    assert len(client.written) == 1
    (key, value), *_ = client.written[0].items()
    event = pod(9, ready=ready, **{key: str(value)})
    assert bool(triggers.observe(cache, event, deleted=False)) is news
    await sync_pods(context, "n", seen(), [], ["v1"])
    assert len(client.written) == 1, "told once"
    assert cache.find(PODS, "n", "p") is not None
