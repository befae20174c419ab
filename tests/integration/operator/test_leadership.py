"""One leader at a time: two candidates, a killed one, a frozen API server."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import operator as support
from tests.support.tcp_proxy import TcpProxy

from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.errors import NotLeadingError
from aixgo_operator.kube.lease import Elector, LeaseTimes
from aixgo_operator.kube.resources import CONFIG_MAPS, LEASES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

TIMES = LeaseTimes(duration=2.0, renew_deadline=1.4, retry=0.2)


class Hanging(ApiServerClient):
    """A client whose requests get no answer while ``hang`` is set."""

    hang = False

    async def request(self, *arguments: Any, **options: Any) -> Any:
        if self.hang:
            await asyncio.sleep(3600)
        return await super().request(*arguments, **options)


@pytest.fixture
async def candidates(plane: ControlPlane, cluster: support.Cluster) -> AsyncIterator[list[Elector]]:
    namespace = await cluster.namespace("lease")
    clients = [await Hanging.connect(str(plane.kubeconfig)) for _ in range(2)]
    electors = [
        Elector(client, namespace=namespace, name="aixgo-operator", identity=name, times=TIMES)
        for client, name in zip(clients, ("a", "b"), strict=True)
    ]
    yield electors
    for client in clients:
        await client.close()


async def _lease(cluster: support.Cluster, elector: Elector) -> dict[str, Any]:
    found = await cluster.get(LEASES, elector._namespace, "aixgo-operator")
    return dict(found["spec"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_released_lease_is_taken_at_once(cluster: support.Cluster, candidates: list[Elector]) -> None:
    first, second = candidates
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    holding = asyncio.create_task(first.hold())
    began = await _lease(cluster, first)

    async def renewed_for_longer_than_it_lasts() -> bool:
        now = await _lease(cluster, first)
        assert now["holderIdentity"] == "a"
        return _moment(now["renewTime"]) - _moment(began["renewTime"]) > timedelta(seconds=TIMES.duration)

    await support.until(renewed_for_longer_than_it_lasts, "renewals beyond one lease")
    assert first.leading()
    assert not waiting.done()
    holding.cancel()
    released = time.monotonic()
    await first.release()
    assert not first.leading()
    await asyncio.wait_for(waiting, TIMES.duration)
    assert time.monotonic() - released < TIMES.duration / 2
    spec = await _lease(cluster, second)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)
    assert spec["renewTime"].endswith("Z")


async def test_a_killed_leader_is_replaced_after_a_lease(
    cluster: support.Cluster, candidates: list[Elector]
) -> None:
    first, second = candidates
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await support.until(lambda: second._seen is not None, "the second has seen the lease")
    holding.cancel()  # as SIGKILL: no word to anybody
    killed = time.monotonic()
    await asyncio.wait_for(waiting, 3 * TIMES.duration)
    assert time.monotonic() - killed > TIMES.duration - TIMES.renew_deadline
    assert (await _lease(cluster, second))["leaseTransitions"] == 1


async def test_a_leader_without_an_api_server_stops_before_another_starts(candidates: list[Elector]) -> None:
    """O21: its renewals hang."""
    first, second = candidates
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await support.until(lambda: second._seen is not None, "the second has seen the lease")
    first._client.hang = True  # type: ignore[attr-defined]
    both, end = False, time.monotonic() + 4 * TIMES.duration
    while not waiting.done() and time.monotonic() < end:
        both = both or (first.leading() and second.leading())
        await asyncio.sleep(0.01)
    assert waiting.done()
    assert not both
    assert not first.leading()
    await asyncio.wait_for(holding, TIMES.duration)  # it has noticed: the process would exit here


async def test_two_candidates_in_a_race_give_one_leader(candidates: list[Elector]) -> None:
    tasks = [asyncio.create_task(candidate.acquire()) for candidate in candidates]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    assert [candidate.leading() for candidate in candidates].count(True) == 1
    for task in pending:
        task.cancel()


async def test_an_operator_that_loses_its_lease_writes_no_more(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        lease = await cluster.get(LEASES, namespace, "aixgo-operator")
        # Somebody else has it, by force.
        await support.until(lambda: _steal(cluster, lease), "the lease is stolen")
        leadership = operator.process.leadership
        assert leadership is not None
        await asyncio.wait_for(leadership.lost.wait(), 5.0)
        assert not leadership.leading()
        assert operator.process.engine is not None
        client = operator.process.engine._context.client
        with pytest.raises(NotLeadingError):
            await client.annotate(LEASES, namespace, "aixgo-operator", {"a": "b"})


async def test_a_write_that_waits_for_its_connection_is_not_sent_after_the_lease(
    plane: ControlPlane, cluster: support.Cluster, tmp_path: Path
) -> None:
    """O21: As in a process that is frozen between the question and the first byte."""
    namespace = await cluster.namespace()
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": namespace}}
    leading = True
    async with TcpProxy(plane.url) as proxy:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(plane.kubeconfig.read_text().replace(plane.url, proxy.url))
        client = (await ApiServerClient.connect(str(kubeconfig))).with_fence(lambda: leading)
        try:
            proxy.cut()
            writing = asyncio.create_task(client.create(manifest))
            await support.until(lambda: proxy.connections, "it connects")
            leading = False
            proxy.release()
            with pytest.raises(NotLeadingError):
                await writing
            assert await cluster.client.get(CONFIG_MAPS, namespace, "late") is None
            # Nor on a connection that is there already; reading goes on.
            assert await client.get(CONFIG_MAPS, namespace, "late") is None
            with pytest.raises(NotLeadingError):
                await client.create(manifest)
            leading = True
            await client.create(manifest)
        finally:
            await client.close()


async def test_a_busy_operator_keeps_its_lease(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        leadership = operator.process.leadership
        assert leadership is not None
        time.sleep(2 * TIMES.duration)  # noqa: ASYNC251  nothing of the event loop runs meanwhile
        assert leadership.leading()
        assert not leadership.lost.is_set()


async def _steal(cluster: support.Cluster, lease: dict[str, Any]) -> bool:
    body = {"spec": {"holderIdentity": "thief", "renewTime": "2026-01-01T00:00:00.000000Z"}}
    await cluster.patch(LEASES, lease["metadata"]["namespace"], lease["metadata"]["name"], body)
    return True
