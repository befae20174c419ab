"""A control plane with the CRDs, and a client for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import operator as support

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cluster.control_plane import ControlPlane


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the repository's CRDs."""
    support.crds_ready(control_plane)
    return control_plane


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[support.Cluster]:
    async with support.connected(plane) as connected:
        yield connected
        await connected.leave()
