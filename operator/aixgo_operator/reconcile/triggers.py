"""Which objects of ours have to be looked at again when something in the cluster changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import (
    API_VERSION,
    KIND_AGENT,
    KIND_AGENT_RUNTIME,
    KIND_SESSION_BACKEND,
    LABEL_RUNTIME,
    LABEL_SESSION_BACKEND,
)
from aixgo_operator.domain import naming, references
from aixgo_operator.domain.consent import allows, consent_of
from aixgo_operator.kube.apply import controller_of
from aixgo_operator.kube.resources import NAMESPACES
from aixgo_operator.reconcile.cache import ref_of
from aixgo_operator.reconcile.keys import Key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.resources import Manifest
    from aixgo_operator.reconcile.cache import Cache, Ref


_TLS_SUFFIX = "-tls"


def observe(cache: Cache, manifest: Manifest, *, deleted: bool) -> set[Key]:
    """Take a watch event into the cache and return the keys that it concerns; none for old news.

    What the operator wrote itself is news for those who refer to it, not for its owner.
    """
    ref = ref_of(manifest)
    known = cache.get(ref)
    before = set(_affected(cache, ref, known)) if known is not None else set()
    if deleted:
        cache.discard(manifest)
    elif not cache.put(manifest):
        if not cache.announced(manifest):
            return set()
        return set(_affected(cache, ref, manifest)) - set(_owner(manifest))
    cache.announced(manifest)
    if ref[0] == NAMESPACES.kind:
        return set(_consents(cache, ref[2], _labels(known or {}), {} if deleted else _labels(manifest)))
    return before | set(_affected(cache, ref, manifest))


def _affected(cache: Cache, ref: Ref, manifest: Manifest) -> Iterator[Key]:
    kind, namespace, name = ref
    key: ObjectKey = (namespace, name)
    match kind:
        case "AgentRuntime":
            yield Key(*ref)
            yield from _around_runtime(cache, ref)
        case "Agent":
            yield Key(*ref)
            yield from _around_agent(cache, ref)
        case "SessionBackend":
            yield Key(*ref)
            yield from _runtimes(cache, key)
        case "Secret" | "ConfigMap":
            yield from _owner(manifest)
            yield from concerned(cache, kind, key)
        case "Pod" | "PersistentVolumeClaim":
            yield from _labelled(cache, manifest)
        case _:
            yield from _owner(manifest)


def _consents(cache: Cache, name: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Key]:
    """Return who is concerned by new labels of a namespace: those whose consent covers it now, or no more.

    One that is not known, or gone, has no labels.
    """
    for giver in cache.selecting():
        given, owner = consent_of(giver), giver.namespace
        if allows(given, owner, name, {name: old}) != allows(given, owner, name, {name: new}):
            yield from _affected_by(cache, giver)


def _affected_by(cache: Cache, giver: AgentRuntime | SessionBackend | Agent) -> Iterator[Key]:
    ref = (giver.resource.kind, giver.namespace, giver.name)
    manifest = cache.get(ref)
    if manifest is not None:
        yield from _affected(cache, ref, manifest)


def _around_runtime(cache: Cache, ref: Ref) -> Iterator[Key]:
    """Its Agents, its backend, and the runtimes whose agents call agents of this one."""
    key = ref[1:]
    for agent in cache.agents_of(key):
        yield Key(KIND_AGENT, agent.namespace, agent.name)
        for caller in cache.callers_of((agent.namespace, agent.name)):
            yield _runtime_of(caller)
    yield from _backend_of(cache, ref)


def _around_agent(cache: Cache, ref: Ref) -> Iterator[Key]:
    """Its runtime, and the runtimes of the agents that call it."""
    agent = cache.agent(ref[1:])
    if agent is not None:
        yield _runtime_of(agent)
    for caller in cache.callers_of(ref[1:]):
        yield _runtime_of(caller)


def _backend_of(cache: Cache, ref: Ref) -> Iterator[Key]:
    runtime = cache.runtime(ref[1:])
    if runtime is not None and runtime.spec.session_backend_ref is not None:
        target = runtime.spec.session_backend_ref
        yield Key(KIND_SESSION_BACKEND, target.namespace or runtime.namespace, target.name)


def _runtimes(cache: Cache, backend: ObjectKey) -> Iterator[Key]:
    for runtime in cache.runtimes_of(backend):
        yield Key(KIND_AGENT_RUNTIME, runtime.namespace, runtime.name)


def concerned(cache: Cache, kind: str, key: ObjectKey) -> Iterator[Key]:
    """Return the keys that a change of a Secret or ConfigMap of that name concerns, whoever owns it."""
    namespace, name = key
    if kind == "Secret" and name.endswith(_TLS_SUFFIX):  # cert-manager writes it for the runtime
        runtime = (KIND_AGENT_RUNTIME, namespace, name.removesuffix(_TLS_SUFFIX))
        if cache.get(runtime) is not None:
            yield Key(*runtime)
    for ref in cache.mentioning(kind, key):
        yield Key(*ref)
        if ref[0] == KIND_AGENT:
            agent = cache.agent(ref[1:])
            if agent is not None:
                yield _runtime_of(agent)
        elif ref[0] == KIND_SESSION_BACKEND:
            yield from _runtimes(cache, ref[1:])


def _labelled(cache: Cache, manifest: Manifest) -> Iterator[Key]:
    namespace, labels = manifest["metadata"].get("namespace", ""), _labels(manifest)
    for label, kind in ((LABEL_RUNTIME, KIND_AGENT_RUNTIME), (LABEL_SESSION_BACKEND, KIND_SESSION_BACKEND)):
        value = labels.get(label)
        if value is None:
            continue
        # A label value may be the cut and hashed form of the name; the direct hit is the rule.
        if cache.get((kind, namespace, value)) is not None:
            yield Key(kind, namespace, value)
            continue
        for item in cache.all_of(kind):
            metadata = item["metadata"]
            if metadata["namespace"] == namespace and naming.label_value(metadata["name"]) == value:
                yield Key(kind, namespace, metadata["name"])


def _owner(manifest: Manifest) -> Iterator[Key]:
    reference = controller_of(manifest)
    if reference is not None and reference["apiVersion"] == API_VERSION:
        yield Key(reference["kind"], manifest["metadata"].get("namespace", ""), reference["name"])


def _runtime_of(agent: Agent) -> Key:
    return Key(KIND_AGENT_RUNTIME, *references.runtime_key(agent))


def _labels(manifest: Manifest) -> dict[str, str]:
    return (manifest.get("metadata") or {}).get("labels") or {}
