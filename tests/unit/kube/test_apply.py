"""Applying children, against a small in-memory stand-in of the client: which requests are sent, and which are
not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from aixgo_operator.kube.apply import Applier, ChildKey, stamped
from aixgo_operator.kube.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    UnavailableError,
)
from aixgo_operator.kube.resources import CONFIG_MAPS, Manifest, Resource
from aixgo_operator.reconcile.cache import Cache

OWNER: Manifest = {
    "apiVersion": "aixgo.dev/v1alpha1",
    "kind": "AgentRuntime",
    "metadata": {"name": "r", "namespace": "n", "uid": "owner-uid"},
}
LABELS = {"app.kubernetes.io/managed-by": "aixgo-operator"}


def child(name: str = "c", kind: str = "ConfigMap", uid: str = "owner-uid", **content: Any) -> Manifest:
    reference = {
        "apiVersion": OWNER["apiVersion"],
        "kind": OWNER["kind"],
        "name": "r",
        "uid": uid,
        "controller": True,
    }
    metadata = {"name": name, "namespace": "n", "labels": dict(LABELS), "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata} | content


class Client:
    """Keeps objects and counts writes. ``normalise`` changes what is stored, as an API server does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.calls: list[str] = []
        #: What the API server says of an object of this name.
        self.failures: dict[str, ApiError] = {}
        self.version = 100

    def store(self, manifest: Manifest, uid: str | None = None) -> Manifest:
        self.version += 1
        stored = self.normalise(copy.deepcopy(manifest))
        key = (stored["kind"], stored["metadata"]["name"])
        known = self.objects.get(key)
        stored["metadata"]["uid"] = uid or (known["metadata"]["uid"] if known else f"uid-{self.version}")
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = stored
        return copy.deepcopy(stored)

    def normalise(self, manifest: Manifest) -> Manifest:
        return manifest

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        self.calls.append(f"get {name}")
        return copy.deepcopy(self.objects.get((resource.kind, name)))

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        self.calls.append(f"apply {manifest['metadata']['name']}")
        metadata = manifest["metadata"]
        if (failure := self.failures.get(metadata["name"])) is not None:
            raise failure
        known = self.objects.get((manifest["kind"], metadata["name"]))
        if force:
            assert known is not None, "only what is there is forced"
            assert metadata["uid"] == known["metadata"]["uid"]
        else:
            assert metadata["resourceVersion"] == "1", "a creation must not change what is there"
            if known is not None:
                raise ConflictError(409, "Conflict", "the object has been modified")
        return self.store(manifest)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, orphan: bool = False
    ) -> None:
        self.calls.append(f"{'orphan' if orphan else 'delete'} {name}")
        assert self.objects.pop((resource.kind, name))["metadata"]["uid"] == uid


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def applier(client: Client, cache: Cache) -> Applier:
    return Applier(client, cache)  # type: ignore[arg-type]


async def test_creates_once_and_then_sends_nothing(applier: Applier, client: Client) -> None:
    desired = [child(data={"a": "1"})]
    first = await applier.apply(OWNER, desired)
    assert client.calls == ["apply c"]
    assert first.written == [ChildKey("ConfigMap", "c")]
    assert first.wrote("ConfigMap")
    client.calls.clear()
    for _ in range(3):
        assert not (await applier.apply(OWNER, desired)).changed
    assert client.calls == []


async def test_a_removed_field_is_noticed_by_the_hash(applier: Applier, client: Client) -> None:
    await applier.apply(OWNER, [child(data={"a": "1", "b": "2"})])
    client.calls.clear()
    assert (await applier.apply(OWNER, [child(data={"a": "1"})])).changed
    assert client.calls == ["apply c"]


async def test_an_edit_is_repaired(applier: Applier, client: Client, cache: Cache) -> None:
    await applier.apply(OWNER, [child(data={"a": "1"})])
    edited = copy.deepcopy(client.objects["ConfigMap", "c"])
    edited["data"]["a"] = "2"
    cache.put(client.store(edited))
    assert (await applier.apply(OWNER, [child(data={"a": "1"})])).changed
    assert client.objects["ConfigMap", "c"]["data"] == {"a": "1"}


async def test_what_the_api_server_rewrites_is_not_written_again_and_again(
    client: Client, cache: Cache
) -> None:
    def normalise(manifest: Manifest) -> Manifest:
        manifest["data"] = {"a": "ONE"}
        return manifest

    client.normalise = normalise  # type: ignore[method-assign]
    applier = Applier(client, cache)  # type: ignore[arg-type]
    assert (await applier.apply(OWNER, [child(data={"a": "one"})])).changed
    for _ in range(3):
        assert not (await applier.apply(OWNER, [child(data={"a": "one"})])).changed


@pytest.mark.parametrize("owner_uid", ["another-uid", None])
async def test_an_object_of_somebody_else_is_left_alone(
    applier: Applier, client: Client, owner_uid: str | None
) -> None:
    theirs = child(uid=owner_uid or "x", data={"mine": "yes"})
    theirs["metadata"]["ownerReferences"][0]["name"] = "somebody"
    if owner_uid is None:
        del theirs["metadata"]["ownerReferences"]
    client.store(theirs)
    result = await applier.apply(OWNER, [child(data={"a": "1"})])
    assert result.conflicts == [ChildKey("ConfigMap", "c")]
    assert client.objects["ConfigMap", "c"]["data"] == {"mine": "yes"}
    assert "ConfigMap n/c" in result.conflict_messages("n")[0]
    client.calls.clear()
    await applier.apply(OWNER, [child(data={"a": "1"})])
    assert client.calls == ["get c"], "it is not tried to write again and again"


async def test_a_name_that_was_given_free_is_taken(applier: Applier, client: Client) -> None:
    theirs = child(data={"mine": "yes"})
    del theirs["metadata"]["ownerReferences"]
    client.store(theirs)
    assert (await applier.apply(OWNER, [child(data={"a": "1"})])).conflicts
    client.objects.clear()
    assert (await applier.apply(OWNER, [child(data={"a": "1"})])).written
    assert client.objects["ConfigMap", "c"]["data"] == {"a": "1"}


async def test_a_child_of_an_earlier_owner_of_the_name_is_waited_for(
    applier: Applier, client: Client
) -> None:
    client.store(child(uid="the-uid-before", data={}))
    result = await applier.apply(OWNER, [child(data={"a": "1"})])
    assert result.waiting == [ChildKey("ConfigMap", "c")]
    assert not result.conflicts


async def test_a_manifest_is_completed_when_what_comes_before_it_is_written(
    applier: Applier, client: Client, cache: Cache
) -> None:
    seen: list[tuple[str, Manifest | None, bool]] = []

    def finish(wanted: Manifest, observed: Manifest | None) -> Manifest:
        seen.append((wanted["kind"], observed, cache.find(CONFIG_MAPS, "n", "c") is not None))
        return wanted if wanted["kind"] == "ConfigMap" else wanted | {"spec": {"replicas": 3}}

    wanted = [child("d", "Deployment", spec={}) | {"apiVersion": "apps/v1"}, child("c")]
    await applier.apply(OWNER, wanted, finish=finish)
    assert seen == [("ConfigMap", None, False), ("Deployment", None, True)]
    assert client.objects["Deployment", "d"]["spec"] == {"replicas": 3}
    await applier.apply(OWNER, wanted, finish=finish)
    assert [observed is not None for _, observed, _ in seen[2:]] == [True, True]
    assert client.calls == ["apply c", "apply d"], "what was completed is compared"


async def test_prunes_what_is_owned_and_not_wanted(applier: Applier, client: Client, cache: Cache) -> None:
    await applier.apply(OWNER, [child("a", data={}), child("b", data={})])
    bystander = child("other", data={})
    bystander["metadata"]["ownerReferences"] = []
    cache.put(client.store(bystander))
    result = await applier.apply(OWNER, [child("a", data={})])
    assert result.deleted == [ChildKey("ConfigMap", "b")]
    assert set(client.objects) == {("ConfigMap", "a"), ("ConfigMap", "other")}


async def test_prunes_nothing_that_is_to_be_kept(applier: Applier, client: Client) -> None:
    await applier.apply(OWNER, [child("a", data={}), child("given-up", data={})])
    result = await applier.apply(OWNER, [], keep=lambda key: key.name != "given-up")
    assert [key.name for key in result.deleted] == ["given-up"]
    assert ("ConfigMap", "a") in client.objects


async def test_a_volume_claim_is_never_pruned(applier: Applier, client: Client) -> None:
    await applier.apply(OWNER, [child("claim", "PersistentVolumeClaim", spec={"size": 1})])
    assert not (await applier.apply(OWNER, [])).changed
    assert ("PersistentVolumeClaim", "claim") in client.objects


async def test_a_kept_volume_claim_is_taken_over_by_its_labels(applier: Applier, client: Client) -> None:
    labels = LABELS | {"aixgo.dev/session-backend": "b", "app.kubernetes.io/component": "redis"}
    kept = child("claim", "PersistentVolumeClaim", spec={"size": 1})
    del kept["metadata"]["ownerReferences"]
    kept["metadata"]["labels"] = labels
    client.store(kept)
    assert not (await applier.apply(OWNER, [kept])).conflicts

    foreign = copy.deepcopy(kept)
    foreign["metadata"]["name"] = "foreign"
    client.store(foreign | {"metadata": foreign["metadata"] | {"labels": {"app": "x"}}})
    assert (await applier.apply(OWNER, [foreign])).conflicts == [ChildKey("PersistentVolumeClaim", "foreign")]


def test_the_hash_of_a_secret_says_nothing_of_its_values() -> None:
    one, two = (stamped(child(kind="Secret", data={"key": value})) for value in ("MQ==", "Mg=="))
    assert one["metadata"]["annotations"] == two["metadata"]["annotations"]
    other = stamped(child(kind="Secret", data={"other": "MQ=="}))
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]


def test_the_table_knows_the_path() -> None:
    assert CONFIG_MAPS.path("n", "c") == "/api/v1/namespaces/n/configmaps/c"


REFUSALS = [
    ForbiddenError(
        403, "Forbidden", 'configmaps "a" is forbidden: exceeded quota: few, used: count/configmaps=1'
    ),
    ApiError(400, "BadRequest", 'admission webhook "policy" denied the request: no'),
    InvalidError(422, "Invalid", 'ConfigMap "a" is invalid'),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.status)
async def test_what_is_refused_holds_up_no_other(client: Client, applier: Applier, error: ApiError) -> None:
    """A policy on one kind must not keep certificates from being renewed."""
    await applier.apply(OWNER, [child("old")])
    client.failures["a"] = error
    result = await applier.apply(OWNER, [child("a"), child("b"), child("s", "Secret")])
    assert {name for _, name in client.objects} == {"b", "s"}, "the others are made, and those of before go"
    (refused,) = result.refused
    assert type(refused) is type(error)
    assert refused.message == f"ConfigMap n/a is refused: {error.message}"
    assert result.refused_for_good is (error.status == 422)


async def test_a_webhook_that_does_not_answer_holds_up_no_other(client: Client, applier: Applier) -> None:
    client.failures["a"] = ApiError(
        500, "InternalError", 'Internal error occurred: failed calling webhook "x": context deadline exceeded'
    )
    with pytest.raises(ApiError, match=r"ConfigMap n/a is refused: .*failed calling webhook") as raised:
        await applier.apply(OWNER, [child("a"), child("b")])
    assert raised.value.retryable
    assert [name for _, name in client.objects] == ["b"]


@pytest.mark.parametrize(
    "error",
    [
        ForbiddenError(403, "Forbidden", "unable to create: namespace n is being terminated"),
        ApiError(500, "InternalError", "etcdserver: request timed out"),
        UnavailableError(0, "Timeout", "no answer"),
    ],
)
async def test_a_failure_of_more_than_one_object_ends_the_round(
    client: Client, applier: Applier, error: ApiError
) -> None:
    client.failures["a"] = error
    with pytest.raises(type(error)):
        await applier.apply(OWNER, [child("a"), child("b")])
    assert not client.objects
