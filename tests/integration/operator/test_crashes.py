"""The operator dies after every write, or its API server fails in every way: the end is the same."""

from __future__ import annotations

import collections
import random
from typing import TYPE_CHECKING

import pytest
from tests.support.faults import FaultyClient
from tests.support.kubelet import Kubelet
from tests.support.operator_world import STEPS, World

from aixgo_operator.kube.resources import EVENTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import operator as support
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

#: Deaths in a row that bring nothing further would be a livelock.
MOST_DEATHS = 150


@pytest.fixture
async def world(plane: ControlPlane, cluster: support.Cluster) -> AsyncIterator[World]:
    async with Kubelet(cluster.client) as kubelet:
        yield World(plane, cluster, kubelet)


async def test_operators_that_die_after_each_write_end_in_the_same_state(world: World) -> None:
    """O17: Each does one write (or those that were under way) and never sees the answer.

    tests/soak/operator_crashes.py: one that dies after the k-th, for every k.
    """
    calm = await world.calm()
    namespace = await world.cluster.namespace("crash")
    for step, (writes, wanted) in zip(STEPS, calm, strict=True):
        await step(world.cluster, namespace)
        deaths = 0
        while await world.crash(namespace, 1):
            deaths += 1
            assert deaths < MOST_DEATHS, f"{step.__name__} comes to no end"
        assert await world.state(namespace) == wanted, step.__name__
        assert deaths > writes * 0.3, (step.__name__, deaths, writes)
    events = await world.cluster.client.list_objects(EVENTS, namespace)
    told = collections.Counter(
        (event["involvedObject"]["name"], event["reason"], event["message"], event["firstTimestamp"])
        for event in events
        if event["source"].get("component") == "aixgo-operator"
    )
    # None is told twice; and none is lost with the process that was about to tell it.
    assert max(told.values(), default=1) == 1, told
    transitions = {(event["involvedObject"]["name"], event["reason"]) for event in events}
    assert {("runtime", "Ready"), ("sessions", "Ready")} <= transitions, transitions
    steps = {"RotationStarted", "RotationSigning", "RotationPruning", "RotationComplete"}
    assert {("aixgo-ca", step) for step in steps} <= transitions, transitions


async def test_a_server_that_fails_in_every_way_ends_in_the_same_state(world: World) -> None:
    calm = await world.calm()
    namespace = await world.cluster.namespace("storm")
    seen: collections.Counter[str] = collections.Counter()
    for number, (step, (_, wanted)) in enumerate(zip(STEPS, calm, strict=True)):
        await step(world.cluster, namespace)
        client = await FaultyClient.connect(str(world.plane.kubeconfig))
        assert isinstance(client, FaultyClient)
        client.rate, client.random, client.faults = 0.3, random.Random(number), {}  # noqa: S311
        async with await world.operator(namespace, client):
            await world.settled(namespace)
        assert await world.state(namespace) == wanted, step.__name__
        seen.update(client.faults)
    assert set(seen) == {"429", "500", "503", "reset", "lost answer", "slow"}
