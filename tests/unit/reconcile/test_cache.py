"""The cache and who is concerned by a change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import manifests as m

from aixgo_operator.kube.resources import AGENTS, CONFIG_MAPS, Manifest
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.triggers import concerned, observe

RUNTIME = Key("AgentRuntime", "n", "runtime")
AGENT = Key("Agent", "n", "assistant")
BACKEND = Key("SessionBackend", "n", "sessions")


def stored(manifest: Manifest, version: int = 1, uid: str | None = None, **metadata: Any) -> Manifest:
    """Return the manifest as an API server gives it back."""
    result = copy.deepcopy(manifest)
    default = f"uid-{manifest['kind']}-{manifest['metadata']['name']}"
    result["metadata"] |= {"uid": uid or default, "resourceVersion": str(version), "generation": 1} | metadata
    return result


def config_map(name: str = "c", owner: str | None = None, version: int = 1, **data: str) -> Manifest:
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "n",
            "labels": {"app.kubernetes.io/managed-by": "aixgo-operator"},
        },
        "data": data,
    }
    if owner:
        reference = {"apiVersion": "aixgo.dev/v1alpha1", "kind": "AgentRuntime", "name": "runtime"}
        made["metadata"]["ownerReferences"] = [reference | {"uid": owner, "controller": True}]
    return stored(made, version)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@given(st.permutations([1, 2, 3, 4, 5]))
def test_the_newest_version_wins_in_whatever_order_they_come(order: list[int]) -> None:
    cache = Cache()
    for version in order:
        cache.put(config_map(version=version, v=str(version)))
    found = cache.find(CONFIG_MAPS, "n", "c")
    assert found is not None
    assert found["data"] == {"v": "5"}


def test_a_late_answer_does_not_bring_a_deleted_object_back(cache: Cache) -> None:
    cache.put(config_map(version=3))
    cache.discard(config_map(version=5))
    assert not cache.put(config_map(version=4))
    assert cache.find(CONFIG_MAPS, "n", "c") is None
    # The same object, seen again (its label was gone for a while): newer than the end that was told.
    assert cache.put(config_map(version=6))


def test_the_end_of_an_earlier_object_does_not_touch_its_successor(cache: Cache) -> None:
    cache.put(stored(config_map(), 9, uid="second"))
    cache.discard(stored(config_map(), 8, uid="first"))
    assert cache.find(CONFIG_MAPS, "n", "c") is not None


def test_children_are_found_by_label_and_owner(cache: Cache) -> None:
    cache.put(config_map("ours", owner="u1"))
    cache.put(config_map("labelled"))
    foreign = config_map("foreign", owner="u1")
    foreign["metadata"]["labels"] = {}
    cache.put(foreign)
    assert [item["metadata"]["name"] for item in cache.owned_by("u1")] == ["ours"]
    cache.discard(config_map("ours", owner="u1"))
    assert cache.owned_by("u1") == []


def test_agents_follow_their_reference(cache: Cache) -> None:
    cache.put(stored(m.agent("n")))
    assert [agent.name for agent in cache.agents_of(("n", "runtime"))] == ["assistant"]
    cache.put(stored(m.agent("n", runtime="other"), 2))
    assert cache.agents_of(("n", "runtime")) == []
    assert len(cache.agents_of(("n", "other"))) == 1


def test_an_object_that_cannot_be_parsed_is_kept_and_in_no_index(cache: Cache) -> None:
    broken = stored(m.agent("n", role="no such role"))
    assert cache.put(broken)
    assert cache.find(AGENTS, "n", "assistant") is not None
    assert cache.agents_of(("n", "runtime")) == []
    assert cache.agent(("n", "assistant")) is None


def test_a_deleted_runtime_is_no_consumer_any_more(cache: Cache) -> None:
    runtime = m.runtime("n", sessionBackendRef={"name": "sessions"})
    cache.put(stored(runtime))
    assert len(cache.runtimes_of(("n", "sessions"))) == 1
    cache.put(stored(runtime, 2, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert cache.runtimes_of(("n", "sessions")) == []


def test_who_is_concerned_by_an_agent(cache: Cache) -> None:
    assert observe(cache, stored(m.agent("n")), deleted=False) == {AGENT, RUNTIME}
    # A move concerns the old runtime and the new one.
    moved = stored(m.agent("n", runtime="other"), 2)
    assert observe(cache, moved, deleted=False) == {AGENT, RUNTIME, Key("AgentRuntime", "n", "other")}
    assert observe(cache, moved, deleted=False) == set(), "old news"
    assert observe(cache, moved, deleted=True) == {AGENT, Key("AgentRuntime", "n", "other")}


def test_who_is_concerned_by_a_runtime(cache: Cache) -> None:
    observe(cache, stored(m.agent("n")), deleted=False)
    caller = m.agent("n", "caller", "front", tools=[{"name": "t", "agentRef": {"name": "assistant"}}])
    observe(cache, stored(caller), deleted=False)
    runtime = stored(m.runtime("n", sessionBackendRef={"name": "sessions"}))
    found = observe(cache, runtime, deleted=False)
    assert found == {RUNTIME, AGENT, BACKEND, Key("AgentRuntime", "n", "front")}


def test_who_is_concerned_by_a_session_backend(cache: Cache) -> None:
    """O19: the runtimes that wait for it, or use it, and nobody else."""
    observe(cache, stored(m.runtime("n", sessionBackendRef={"name": "sessions"})), deleted=False)
    observe(cache, stored(m.runtime("n", "other")), deleted=False)
    far = {"name": "sessions", "namespace": "n"}
    observe(cache, stored(m.runtime("x", "far", sessionBackendRef=far)), deleted=False)
    wanted = {BACKEND, RUNTIME, Key("AgentRuntime", "x", "far")}
    assert observe(cache, stored(m.managed_redis("n")), deleted=False) == wanted
    assert observe(cache, stored(m.managed_redis("n"), 2), deleted=True) == wanted


def test_who_is_concerned_by_a_secret(cache: Cache) -> None:
    key = {"name": "model", "key": "token"}
    model = {"provider": "openai", "name": "small", "apiKeySecretRef": key}
    observe(cache, stored(m.agent("n", model=model)), deleted=False)
    assert set(concerned(cache, "Secret", ("n", "model"))) == {AGENT, RUNTIME}
    assert set(concerned(cache, "Secret", ("n", "other"))) == set()
    assert set(concerned(cache, "ConfigMap", ("n", "model"))) == set()
    assert set(concerned(cache, "Secret", ("elsewhere", "model"))) == set()


def test_credentials_of_a_backend_concern_its_consumers(cache: Cache) -> None:
    observe(cache, stored(m.managed_redis("n")), deleted=False)
    observe(cache, stored(m.runtime("n", sessionBackendRef={"name": "sessions"})), deleted=False)
    assert set(concerned(cache, "Secret", ("n", "sessions-redis-auth"))) == {BACKEND, RUNTIME}


def test_what_we_wrote_is_news_for_others_but_not_for_its_owner(cache: Cache) -> None:
    observe(cache, stored(m.managed_redis("n")), deleted=False)
    observe(cache, stored(m.runtime("n", sessionBackendRef={"name": "sessions"})), deleted=False)
    written = stored(m.secret("n", "sessions-redis-auth", password="p"), 7)
    written["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "aixgo-operator"}
    reference = {"apiVersion": "aixgo.dev/v1alpha1", "kind": "SessionBackend", "name": "sessions"}
    written["metadata"]["ownerReferences"] = [reference | {"uid": "u", "controller": True}]
    cache.wrote(written)
    assert observe(cache, written, deleted=False) == {RUNTIME}
    assert observe(cache, written, deleted=False) == set()


def test_a_child_concerns_its_owner(cache: Cache) -> None:
    assert observe(cache, config_map(owner="u"), deleted=False) == {RUNTIME}
    assert observe(cache, config_map(owner="u", version=2), deleted=True) == {RUNTIME}


@pytest.mark.parametrize("name", ["runtime", "r" * 70])
def test_a_pod_concerns_its_runtime_by_label(cache: Cache, name: str) -> None:
    from aixgo_operator.domain.naming import label_value

    observe(cache, stored(m.runtime("n", name)), deleted=False)
    labels = {"aixgo.dev/runtime": label_value(name), "app.kubernetes.io/managed-by": "aixgo-operator"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "labels": labels}}
    assert observe(cache, stored(pod), deleted=False) == {Key("AgentRuntime", "n", name)}


def namespace_named(name: str, **labels: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def selecting(**selector: Any) -> dict[str, Any]:
    return {"namespaces": {"from": "Selector", "selector": selector}}


def test_labels_of_a_namespace_concern_those_whose_consent_they_change(cache: Cache) -> None:
    team = selecting(matchLabels={"team": "a"})
    observe(cache, stored(m.runtime("n", allowedAgents=team)), deleted=False)
    observe(cache, stored(m.runtime("n", "same")), deleted=False)
    everyone = {"namespaces": {"from": "All"}}
    observe(cache, stored(m.runtime("n", "everyone", allowedAgents=everyone)), deleted=False)
    assert observe(cache, stored(namespace_named("x", team="a")), deleted=False) == {RUNTIME}
    assert observe(cache, stored(namespace_named("x", team="a"), 2), deleted=False) == set()
    assert observe(cache, stored(namespace_named("x", team="a", other="b"), 3), deleted=False) == set()
    assert observe(cache, stored(namespace_named("x", team="b"), 4), deleted=False) == {RUNTIME}
    assert cache.namespace_labels() == {"x": {"team": "b"}}
    assert observe(cache, stored(namespace_named("x", team="a"), 5), deleted=False) == {RUNTIME}
    assert observe(cache, stored(namespace_named("x", team="a"), 6), deleted=True) == {RUNTIME}
    observe(cache, stored(m.runtime("n"), 7), deleted=False)
    assert observe(cache, stored(namespace_named("y", team="a"), 8), deleted=False) == set()


def test_a_namespace_that_becomes_known_may_lose_a_consent(cache: Cache) -> None:
    unlabelled = selecting(matchExpressions=[{"key": "team", "operator": "DoesNotExist"}])
    observe(cache, stored(m.managed_redis("n", allowedConsumers=unlabelled)), deleted=False)
    assert observe(cache, stored(namespace_named("x")), deleted=False) == set()
    assert observe(cache, stored(namespace_named("y", team="a")), deleted=False) == {BACKEND}


def test_callers_that_an_agent_selects_concern_its_runtime_and_theirs(cache: Cache) -> None:
    team = selecting(matchLabels={"team": "a"})
    observe(cache, stored(m.agent("n", allowedCallers=team)), deleted=False)
    tool = {"name": "ask", "agentRef": {"name": "assistant", "namespace": "n"}}
    observe(cache, stored(m.agent("x", "caller", "elsewhere", tools=[tool])), deleted=False)
    concerned_now = observe(cache, stored(namespace_named("x", team="a")), deleted=False)
    assert concerned_now == {AGENT, RUNTIME, Key("AgentRuntime", "x", "elsewhere")}
