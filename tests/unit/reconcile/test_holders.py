"""Who holds certificates, out of the cache and of what pods and Redis servers said."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest

from aixgo.contract import SessionStatus, Statusz, TLSStatus
from aixgo_operator.kube.resources import Manifest
from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import fingerprints
from aixgo_operator.pki.issue import LeafRequest, issue_leaf
from aixgo_operator.pki.rotation import Phase, Rotation, begin, behind
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.holders import Holder, Holders

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
YEAR = 365 * dt.timedelta(days=1)
OLD = create_authority(now=NOW, duration=YEAR)
ROTATION = begin(Rotation(Phase.STABLE, OLD), now=NOW, duration=YEAR)
assert ROTATION.successor is not None
NEW = ROTATION.successor
BOTH = OLD.cert_pem + NEW.cert_pem
AUTHORITIES = [OLD.cert_pem, NEW.cert_pem]
LEAF = issue_leaf(LeafRequest("r", dt.timedelta(days=1), dns_names=("r",)), OLD, now=NOW)
OURS = {"app.kubernetes.io/managed-by": "aixgo-operator"}
OLD_MARK, NEW_MARK = fingerprints(OLD.cert_pem)[0], fingerprints(NEW.cert_pem)[0]
LEAF_MARK = fingerprints(LEAF.cert_pem)[0]


def thing(kind: str, name: str, owner: tuple[str, str] | None = None, **content: Any) -> Manifest:
    metadata: dict[str, Any] = {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "1"}
    if owner is not None:
        metadata["labels"] = dict(OURS)
        reference = {"apiVersion": "aixgo.dev/v1alpha1", "kind": owner[0], "name": owner[1]}
        metadata["ownerReferences"] = [reference | {"uid": f"uid-{owner[1]}", "controller": True}]
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def user_object(kind: str, name: str, spec: dict[str, Any]) -> Manifest:
    found = thing(kind, name, spec=spec)
    return found | {"apiVersion": "aixgo.dev/v1alpha1", "metadata": found["metadata"] | {"generation": 1}}


def tls_secret(name: str, owner: tuple[str, str], bundle: bytes) -> Manifest:
    data = {"tls.crt": LEAF.cert_pem, "tls.key": LEAF.key_pem, "ca.crt": bundle}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return thing("Secret", name, owner, type="kubernetes.io/tls", data=encoded)


def pod(
    name: str, label: str, owner: tuple[str, str], *, ready: bool = True, phase: str = "Running"
) -> Manifest:
    found = thing("Pod", name, spec={"containers": [{"name": "c"}]})
    kind, of = owner
    found["metadata"]["labels"] = {**OURS, label: of.removesuffix("-redis"), "pod-template-hash": "h"}
    controller = f"{of}-h" if kind == "ReplicaSet" else of
    found["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "name": controller,
            "uid": f"uid-{controller}",
            "controller": True,
        }
    ]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    found["status"] = {"phase": phase, "podIP": "10.0.0.1", "conditions": conditions}
    return found


def said(trusts: tuple[str, ...], redis: tuple[str, ...] | None = None, leaf: str = LEAF_MARK) -> Statusz:
    return Statusz(
        version="1",
        started_at="2026-01-01T00:00:00Z",
        config_revision="r",
        tls=TLSStatus(mode="Mutual", sha256_fingerprint=leaf, trust_bundle=trusts),
        sessions=SessionStatus(type="Redis", ready=True, trust_bundle=redis),
    )


@pytest.fixture
def cache() -> Cache:
    """A runtime ``r`` with a pod, and a managed Redis ``b`` with one; both Secrets have both authorities."""
    cache = Cache()
    runtime, backend = ("AgentRuntime", "r"), ("SessionBackend", "b")
    tls = {"mode": "Mutual", "managed": {}, "rotation": {"reloadTimeoutSeconds": 7}}
    spec = {"tls": tls, "sessionBackendRef": {"name": "b"}}
    for manifest in (
        user_object("AgentRuntime", "r", spec),
        user_object("SessionBackend", "b", {"type": "Redis", "redis": {"managed": {}}}),
        tls_secret("r-tls", runtime, BOTH),
        tls_secret("b-redis-tls", backend, BOTH),
        thing("Deployment", "r", runtime, spec={}),
        thing("StatefulSet", "b-redis", backend, spec={}),
        pod("p", "aixgo.dev/runtime", ("ReplicaSet", "r")),
        pod("q", "aixgo.dev/session-backend", ("StatefulSet", "b-redis")),
    ):
        assert cache.put(manifest)
    return cache


def found(cache: Cache, statusz: Statusz | None, shows: str | None = LEAF_MARK) -> list[Holder]:
    answers = {} if statusz is None else {("n", "p"): statusz}
    redis = {} if shows is None else {("n", "b"): shows}
    return Holders(cache).find(AUTHORITIES, answers, redis)


def late(holders: list[Holder], rotation: Rotation = ROTATION) -> list[str]:
    is_behind = behind(rotation)
    return [holder.name for holder in holders if is_behind(holder.peer)]


BOTH_MARKS = (OLD_MARK, NEW_MARK)


def test_secrets_and_pods_are_found(cache: Cache) -> None:
    holders = found(cache, said(BOTH_MARKS, BOTH_MARKS))
    names = [holder.name for holder in holders]
    assert names == ["Secret n/r-tls", "Pod n/p", "Pod n/p", "Secret n/b-redis-tls", "Pod n/q"]
    assert late(holders) == []
    assert [holder.reload_timeout for holder in holders if holder.is_pod] == [7.0, 7.0, 180.0]
    assert all(holder.peer.signed_by == OLD_MARK for holder in holders if holder.peer.shows)


def test_a_pod_that_does_not_trust_the_new_authority_for_calls_is_behind(cache: Cache) -> None:
    assert late(found(cache, said((OLD_MARK,), BOTH_MARKS))) == ["Pod n/p"]


def test_a_pod_that_does_not_trust_it_for_redis_is_behind(cache: Cache) -> None:
    assert late(found(cache, said(BOTH_MARKS, (OLD_MARK,)))) == ["Pod n/p"]


@pytest.mark.parametrize("redis", [None, ("another CA",)])
def test_a_pod_on_another_redis_or_of_an_older_image_is_not_asked_about_it(
    cache: Cache, redis: tuple[str, ...] | None
) -> None:
    assert late(found(cache, said(BOTH_MARKS, redis))) == []


def test_a_pod_that_shows_another_certificate_than_its_secret_is_of_no_known_authority(cache: Cache) -> None:
    holders = found(cache, said(BOTH_MARKS, leaf="something else"))
    (serving,) = [holder for holder in holders if holder.name == "Pod n/p"]
    assert serving.peer.signed_by is None


def test_a_redis_is_asked_what_it_shows_and_not_whom_it_trusts(cache: Cache) -> None:
    signing = Rotation(Phase.SIGNING, OLD, NOW, predecessor=NEW.cert_pem)
    assert late(found(cache, said(BOTH_MARKS), None), signing) == ["Pod n/q"]
    assert late(found(cache, said(BOTH_MARKS), "another leaf"), signing) == ["Pod n/q"]
    assert late(found(cache, said(BOTH_MARKS)), signing) == []
    assert late(found(cache, said(BOTH_MARKS), None)) == []


@pytest.mark.parametrize("ready", [True, False])
def test_a_silent_pod_is_unknown_and_idle_if_nobody_calls_it(cache: Cache, *, ready: bool) -> None:
    cache.discard(cache._objects["Pod", "n", "p"])
    fresh = pod("p", "aixgo.dev/runtime", ("ReplicaSet", "r"), ready=ready)
    fresh["metadata"] |= {"resourceVersion": "2", "uid": "uid-p2"}
    assert cache.put(fresh)
    (silent,) = [holder for holder in found(cache, None) if holder.name == "Pod n/p"]
    assert silent.idle is not ready
    assert silent.pod is not None


def test_what_is_no_part_of_it_is_left_out(cache: Cache) -> None:
    cache.put(
        user_object("AgentRuntime", "own", {"tls": {"mode": "Mutual", "certificateRef": {"name": "own-tls"}}})
    )
    cache.put(tls_secret("own-tls", ("Somebody", "else"), BOTH))
    cache.put(pod("done", "aixgo.dev/runtime", ("ReplicaSet", "r"), phase="Succeeded"))
    names = {holder.name for holder in found(cache, said(BOTH_MARKS))}
    assert names == {"Secret n/r-tls", "Pod n/p", "Secret n/b-redis-tls", "Pod n/q"}


def test_a_runtime_without_pods_counts_by_its_secret(cache: Cache) -> None:
    cache.discard(cache._objects["Pod", "n", "p"])
    stale = tls_secret("r-tls", ("AgentRuntime", "r"), OLD.cert_pem)
    stale["metadata"]["resourceVersion"] = "2"
    assert cache.put(stale)
    assert late(found(cache, None)) == ["Secret n/r-tls"]
