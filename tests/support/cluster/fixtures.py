"""pytest fixtures for tests that need Kubernetes. What cannot start is an error, never a skip."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.kind import Cluster, KindCluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Names a file that is there while a cluster is up which this run has started.
_OURS = "AIXGO_CLUSTER_OF_THIS_RUN"


def pytest_configure(config: pytest.Config) -> None:
    """Tell the processes of the tests where to say that they have started a cluster."""
    if not hasattr(config, "workerinput"):
        os.environ[_OURS] = str(Path(tempfile.gettempdir()) / f"aixgo-cluster-of-{os.getpid()}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the cluster of a process that was killed: so end those of a run that is interrupted."""
    ours = Path(os.environ[_OURS])
    if not hasattr(config, "workerinput") and ours.exists():
        cluster().down()
        ours.unlink()


@contextlib.contextmanager
def _visible(config: pytest.Config) -> Iterator[None]:
    """Show progress lines at once: the first run builds for minutes."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """An API server with controllers but without nodes; see :class:`ControlPlane`."""
    plane = ControlPlane(audit=True)
    with _visible(pytestconfig):
        plane.start()
    try:
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kind_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A whole cluster; see :class:`Cluster`. One that was up before stays up, one started here is removed.

    AIXGO_KIND_NODES (default 1) is the least number of nodes of a cluster started here.
    """
    chosen = cluster()
    ours = isinstance(chosen, KindCluster) and not chosen.status()["running"]
    mark = Path(os.environ[_OURS])
    if ours:
        mark.touch()
    try:
        with _visible(pytestconfig):
            chosen.up(nodes=int(os.environ.get("AIXGO_KIND_NODES", "1")))
        yield chosen
    finally:
        if ours:
            chosen.down()
            mark.unlink()
