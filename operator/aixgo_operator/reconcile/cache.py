"""What the operator knows of the cluster: objects as last seen, and who depends on whom.

Fed by watch events, by what our own writes return, and by a full list now and then (:mod:`.resync`). An older
state never overwrites a newer one, so the order of these sources does not matter.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from aixgo_operator.api.constants import (
    KIND_AGENT,
    KIND_AGENT_RUNTIME,
    KIND_SESSION_BACKEND,
    LABEL_MANAGED_BY,
    LABEL_RUNTIME,
    LABEL_SESSION_BACKEND,
    MANAGED_BY,
)
from aixgo_operator.api.v1alpha1 import KINDS, Agent, AgentRuntime, CustomResource, SessionBackend
from aixgo_operator.domain import consent, references
from aixgo_operator.kube.apply import controller_uid
from aixgo_operator.kube.resources import PODS
from aixgo_operator.kube.slim import slim, slim_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.resources import Manifest, Resource

_MAX_GONE: Final = 10_000
_NAMESPACE: Final = "Namespace"

#: Kind, namespace (empty for a cluster-wide kind), name.
Ref = tuple[str, str, str]


def ref_of(manifest: Manifest) -> Ref:
    """Return kind, namespace and name of an object."""
    metadata = manifest["metadata"]
    return (manifest["kind"], metadata.get("namespace") or "", metadata["name"])


class _Index:
    """Which objects mention a value."""

    def __init__(self) -> None:
        self._members: dict[Hashable, set[Ref]] = defaultdict(set)
        self._values: dict[Ref, frozenset[Hashable]] = {}

    def set(self, ref: Ref, values: Iterable[Hashable]) -> None:
        new = frozenset(values)
        old = self._values.get(ref, frozenset())
        for value in old - new:
            self._members[value].discard(ref)
            if not self._members[value]:
                del self._members[value]
        for value in new - old:
            self._members[value].add(ref)
        if new:
            self._values[ref] = new
        else:
            self._values.pop(ref, None)

    def get(self, value: Hashable) -> list[Ref]:
        return sorted(self._members.get(value, ()))


class Cache:
    """Objects by kind, namespace and name, with the indices that the reconcilers ask for. Not thread-safe."""

    def __init__(self, on_change: Callable[[Manifest], None] | None = None) -> None:
        #: Told of every new version, wherever it comes from.
        self._on_change = on_change
        self._objects: dict[Ref, Manifest] = {}
        self._by_kind: dict[str, dict[Ref, Manifest]] = defaultdict(dict)
        self._namespaces: dict[str, dict[str, str]] | None = None
        self._parsed: dict[Ref, tuple[str, CustomResource]] = {}
        #: Versions at which objects went, by uid: a late answer to a write must not bring them back.
        self._gone: OrderedDict[str, int] = OrderedDict()
        #: Versions that we wrote and that no watch event has told of yet.
        self._unannounced: dict[Ref, int | None] = {}
        self._owner = _Index()
        self._runtime = _Index()
        self._backend = _Index()
        self._target = _Index()
        self._mentions = _Index()
        self._label = _Index()
        self._selecting = _Index()

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """Return an object as last seen."""
        return self._objects.get((resource.kind, namespace or "", name))

    def get(self, ref: Ref) -> Manifest | None:
        """Return an object as last seen."""
        return self._objects.get(ref)

    def all_of(self, kind: str) -> Iterator[Manifest]:
        """Yield every object of a kind."""
        return iter(list(self._by_kind[kind].values()))

    def put(self, manifest: Manifest) -> bool:
        """Remember an object; return whether it is newer than what was known."""
        ref = ref_of(manifest)
        known = self._objects.get(ref)
        if known is not None and not newer(manifest, known):
            return False
        if (_version(manifest) or 0) <= self._gone.get(manifest["metadata"].get("uid", ""), -1):
            return False
        self._objects[ref] = self._by_kind[ref[0]][ref] = _slim(manifest)
        if ref[0] == _NAMESPACE:
            self._namespaces = None
        self._reindex(ref, manifest)
        if self._on_change is not None:
            self._on_change(manifest)
        return True

    def wrote(self, manifest: Manifest) -> None:
        """Remember an object that we have just written; its event is still news to others."""
        if self.put(manifest):
            self._unannounced[ref_of(manifest)] = _version(manifest)

    def announced(self, manifest: Manifest) -> bool:
        """Return whether this event is the first word of something that we wrote, and take note of it."""
        ref = ref_of(manifest)
        written = self._unannounced.get(ref)
        if written is None or (_version(manifest) or 0) < written:
            return False
        del self._unannounced[ref]
        return True

    def discard(self, manifest: Manifest) -> None:
        """Forget an object that is gone. A later object of the same name stays."""
        ref = ref_of(manifest)
        uid = manifest["metadata"].get("uid", "")
        self._gone[uid] = max(_version(manifest) or 0, self._gone.get(uid, 0))
        if len(self._gone) > _MAX_GONE:
            self._gone.popitem(last=False)
        known = self._objects.get(ref)
        if known is None or known["metadata"].get("uid") != uid:
            return
        del self._objects[ref], self._by_kind[ref[0]][ref]
        if ref[0] == _NAMESPACE:
            self._namespaces = None
        self._unannounced.pop(ref, None)
        self._parsed.pop(ref, None)
        for index in self._indices():
            index.set(ref, ())

    # Parsed objects of our kinds

    def parse(self, ref: Ref) -> CustomResource | None:
        """Return the parsed object, or None if there is none. Raises pydantic.ValidationError."""
        manifest = self._objects.get(ref)
        if manifest is None:
            return None
        version = str(manifest["metadata"].get("resourceVersion"))
        parsed = self._parsed.get(ref)
        if parsed is None or parsed[0] != version:
            parsed = self._parsed[ref] = (version, KINDS[ref[0]].model_validate(manifest))
        return parsed[1]

    def runtime(self, key: ObjectKey) -> AgentRuntime | None:
        """Return an AgentRuntime; None if it does not exist, is being deleted or cannot be parsed."""
        found = self._live((KIND_AGENT_RUNTIME, *key))
        return found if isinstance(found, AgentRuntime) else None

    def agent(self, key: ObjectKey) -> Agent | None:
        """Return an Agent; None if it does not exist, is being deleted or cannot be parsed."""
        found = self._live((KIND_AGENT, *key))
        return found if isinstance(found, Agent) else None

    def backend(self, key: ObjectKey) -> SessionBackend | None:
        """Return a SessionBackend; None if it does not exist or cannot be parsed."""
        found = self._live((KIND_SESSION_BACKEND, *key), deleted=True)
        return found if isinstance(found, SessionBackend) else None

    # Indices

    def owned_by(self, uid: str) -> list[Manifest]:
        """Return the objects that carry our label and whose controller has this uid."""
        return self._objects_of(self._owner.get(uid))

    def agents_of(self, runtime: ObjectKey) -> list[Agent]:
        """Return the Agents whose runtimeRef is this runtime."""
        return [a for ref in self._runtime.get(runtime) if (a := self.agent(ref[1:])) is not None]

    def runtimes_of(self, backend: ObjectKey) -> list[AgentRuntime]:
        """Return the AgentRuntimes whose sessionBackendRef is this backend."""
        return [r for ref in self._backend.get(backend) if (r := self.runtime(ref[1:])) is not None]

    def callers_of(self, agent: ObjectKey) -> list[Agent]:
        """Return the Agents that have this agent as a tool."""
        return [a for ref in self._target.get(agent) if (a := self.agent(ref[1:])) is not None]

    def mentioning(self, kind: str, key: ObjectKey) -> list[Ref]:
        """Return the objects of our kinds that refer to this Secret or ConfigMap."""
        return self._mentions.get((kind, *key))

    def pods_labelled(self, namespace: str, label: str, value: str) -> list[Manifest]:
        """Return the pods of a namespace that carry a label."""
        return self._objects_of(self._label.get((namespace, label, value)))

    def selecting(self) -> Iterator[AgentRuntime | SessionBackend | Agent]:
        """Yield the objects whose consent depends on the labels of namespaces."""
        for ref in self._selecting.get(True):
            found = self._live(ref, deleted=True)
            if isinstance(found, AgentRuntime | SessionBackend | Agent):
                yield found

    def namespace_labels(self) -> dict[str, dict[str, str]]:
        """Return the labels of every known namespace: the same object until one changes."""
        if self._namespaces is None:
            found = self.all_of(_NAMESPACE)
            self._namespaces = {m["metadata"]["name"]: m["metadata"].get("labels") or {} for m in found}
        return self._namespaces

    def _live(self, ref: Ref, *, deleted: bool = False) -> CustomResource | None:
        try:
            found = self.parse(ref)
        except ValidationError:
            return None
        if found is None or (found.metadata.deletion_timestamp is not None and not deleted):
            return None
        return found

    def _objects_of(self, refs: list[Ref]) -> list[Manifest]:
        return [self._objects[ref] for ref in refs]

    def _indices(self) -> tuple[_Index, ...]:
        return (
            self._owner,
            self._runtime,
            self._backend,
            self._target,
            self._mentions,
            self._label,
            self._selecting,
        )

    def _reindex(self, ref: Ref, manifest: Manifest) -> None:
        kind, namespace, _ = ref
        labels = manifest["metadata"].get("labels") or {}
        owner = controller_uid(manifest)
        self._owner.set(ref, {owner} if owner and labels.get(LABEL_MANAGED_BY) == MANAGED_BY else ())
        if kind == "Pod":
            wanted = (LABEL_RUNTIME, LABEL_SESSION_BACKEND)
            self._label.set(ref, {(namespace, label, labels[label]) for label in wanted if label in labels})
        if kind not in KINDS:
            return
        try:
            parsed = self.parse(ref)
        except ValidationError:
            parsed = None
        mentioned = references.References()
        runtime: set[ObjectKey] = set()
        backend: set[ObjectKey] = set()
        targets: Iterable[ObjectKey] = ()
        if isinstance(parsed, Agent):
            runtime = {references.runtime_key(parsed)}
            targets = references.agent_targets([parsed])
            mentioned = references.agent_references(parsed)
        elif isinstance(parsed, AgentRuntime):
            key = references.backend_key(parsed)
            backend = {key} if key is not None else set()
            mentioned = references.runtime_references(parsed, (), None)
        elif isinstance(parsed, SessionBackend):
            mentioned = references.backend_references(parsed)
        if isinstance(parsed, Agent | AgentRuntime | SessionBackend):
            selects = consent.consent_of(parsed).namespaces.from_ == "Selector"
            self._selecting.set(ref, {True} if selects else ())
        else:
            self._selecting.set(ref, ())
        self._runtime.set(ref, runtime)
        self._backend.set(ref, backend)
        self._target.set(ref, targets)
        secrets = {("Secret", *key) for key in mentioned.secrets}
        self._mentions.set(ref, secrets | {("ConfigMap", *key) for key in mentioned.config_maps})


def newer(candidate: Manifest, known: Manifest) -> bool:
    """Whether ``candidate`` is another or a later state. Versions are numbers that grow (guaranteed since
    1.35)."""
    old, new = _version(known), _version(candidate)
    if old is None or new is None:
        return candidate != known
    return new > old


def _version(manifest: Manifest) -> int | None:
    try:
        return int(manifest["metadata"]["resourceVersion"])
    except (KeyError, TypeError, ValueError):
        return None


def _slim(manifest: Manifest) -> Manifest:
    return slim_pod(slim(manifest)) if manifest["kind"] == PODS.kind else slim(manifest)
