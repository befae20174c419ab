"""Whatever users, crashes and a new authority did before: the same manifests end in the same objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.kubelet import Kubelet
from tests.support.operator_history import run_history
from tests.support.operator_world import World

if TYPE_CHECKING:
    from tests.support import operator as support
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("seed", [2])
async def test_every_history_ends_in_the_same_objects(
    plane: ControlPlane, cluster: support.Cluster, seed: int
) -> None:
    """More of them: tests/soak/operator_crashes.py."""
    async with Kubelet(cluster.client) as kubelet:
        await run_history(World(plane, cluster, kubelet), seed)
