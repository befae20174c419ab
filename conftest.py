"""What every test can use."""

import signal
from collections.abc import Iterator

import pytest
import tests.support.grpc_at_fork  # noqa: F401 - before anything that imports gRPC
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.cluster.fixtures", "tests.support.two_at_once"]

# Properties are about what comes out. How long it takes is the business of the benchmarks.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def hang_ups() -> Iterator[None]:
    """Let programs that a test starts hear SIGHUP, although the tests may run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
