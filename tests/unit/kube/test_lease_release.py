"""Giving a Lease up although the answer to the last renewal was lost."""

from __future__ import annotations

from typing import Any

from aixgo_operator.kube.errors import ConflictError
from aixgo_operator.kube.lease import Elector, LeaseTimes


class Store:
    """One Lease with a resourceVersion, as the API server keeps it."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None

    async def get(self, *_: Any) -> dict[str, Any] | None:
        return self.lease

    async def create(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.lease = lease | {"metadata": lease["metadata"] | {"resourceVersion": "1"}}
        return self.lease

    async def replace(self, lease: dict[str, Any]) -> dict[str, Any]:
        assert self.lease is not None
        version = self.lease["metadata"]["resourceVersion"]
        if lease["metadata"]["resourceVersion"] != version:
            raise ConflictError(409, "Conflict", "changed")
        self.lease = lease | {"metadata": lease["metadata"] | {"resourceVersion": str(int(version) + 1)}}
        return self.lease


def elector(store: Any) -> Elector:
    return Elector(store, namespace="n", name="l", identity="a", times=LeaseTimes(2.0, 1.4, 0.2))


async def test_released_although_a_renewal_was_cut_off() -> None:
    store = Store()
    leader = elector(store)
    await leader.acquire()
    # The renewal reached the API server, its answer did not reach the leader.
    await store.replace(dict(store.lease or {}))
    await leader.release()
    assert store.lease is not None
    assert store.lease["spec"]["holderIdentity"] == ""


async def test_another_leaders_lease_is_left_alone() -> None:
    store = Store()
    leader = elector(store)
    await leader.acquire()
    assert store.lease is not None
    taken = store.lease | {"spec": store.lease["spec"] | {"holderIdentity": "b"}}
    await store.replace(taken)
    await leader.release()
    assert store.lease["spec"]["holderIdentity"] == "b"
