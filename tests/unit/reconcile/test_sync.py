"""A word to the kubelet: written once, where a file can be old, and news only if the pod has changed, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo_operator.kube.resources import CONFIG_MAPS, PODS, Resource
from aixgo_operator.reconcile import triggers
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.sync import state_of_files, sync_pods, synced, with_first_state

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

    await sync_pods(context, "n", seen(), "v1")
    assert len(client.written) == 1
    (key, value), *_ = client.written[0].items()
    event = pod(9, ready=ready, **{key: str(value)})
    assert bool(triggers.observe(cache, event, deleted=False)) is news
    await sync_pods(context, "n", seen(), "v1")
    assert len(client.written) == 1, "told once"
    assert cache.find(PODS, "n", "p") is not None


def config(version: str) -> dict[str, Any]:
    metadata = {"name": "c", "namespace": "n", "uid": "c", "resourceVersion": version}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def test_the_state_of_files_is_that_of_every_object() -> None:
    cache = Cache()
    states = {state_of_files(cache, "n", [(CONFIG_MAPS, "c")], ["Secret/n/s@u.1"])}
    for version in ("1", "2"):
        cache.put(config(version))
        for other in ("1", "2"):
            states.add(state_of_files(cache, "n", [(CONFIG_MAPS, "c")], [f"Secret/n/s@u.{other}"]))
    assert len(states) == 5
    assert state_of_files(cache, "n", [(CONFIG_MAPS, "c")], ["Secret/n/s@u.2"]) in states


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (None, "now"),
        # Its pods may be older than the state of now. One that an earlier operator wrote says nothing.
        ({"aixgo.dev/synced": "then"}, "then"),
        ({"else": "x"}, None),
        ({}, None),
    ],
)
def test_a_workload_keeps_the_state_that_was_there_before_it(
    observed: dict[str, str] | None, state: str | None
) -> None:
    wanted = {"kind": "Deployment", "metadata": {"name": "w", "annotations": {"own": "1"}}, "spec": {}}
    stored = None if observed is None else {"metadata": {"name": "w", "annotations": observed}}
    done = with_first_state(wanted, stored, lambda: "now")
    assert synced(done) == state
    assert done["metadata"]["annotations"]["own"] == "1"
    assert synced(wanted) is None, "the rendered one stays as it is"


@pytest.mark.parametrize(
    ("said", "first", "told"),
    [
        (None, "now", False),
        (None, "then", True),
        (None, None, True),
        # A pod's own word is later than that of its workload.
        ("then", "now", True),
        ("now", "then", False),
    ],
)
async def test_only_a_pod_that_can_have_old_files_is_told(
    said: str | None, first: str | None, told: bool
) -> None:
    client = Client("False")
    context: Any = SimpleNamespace(client=client, cache=Cache())
    found = pod(5, **({} if said is None else {"aixgo.dev/synced": said}))
    await sync_pods(context, "n", [found], "now", first)
    assert bool(client.written) is told
