"""pytest fixtures for tests that need Kubernetes. What cannot start is an error, never a skip."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.support.cluster.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def _visible(config: pytest.Config) -> Iterator[None]:
    """Show progress lines at once: the first run builds for minutes."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """An API server with controllers but without nodes; see :class:`ControlPlane`."""
    plane = ControlPlane()
    with _visible(pytestconfig):
        plane.start()
    try:
        yield plane
    finally:
        plane.stop()
