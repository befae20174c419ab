"""A control plane of the charts' own, and helm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.charts import NAMESPACE, Helm
from tests.support.cluster import binaries
from tests.support.cluster.control_plane import ControlPlane


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    # Its own: the release of the CRDs would meet those that other tests apply.
    with ControlPlane(audit=True) as plane:
        for name in (NAMESPACE, "team-a", "team-b", "stranger"):
            plane.kubectl("create", "namespace", name)
        plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield plane


@pytest.fixture(scope="package")
def helm(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(binaries.ensure("helm")["helm"], tmp_path_factory.mktemp("helm"), plane)
