"""What every test can use."""

import tests.support.grpc_at_fork  # noqa: F401 - before anything that imports gRPC
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.cluster.fixtures", "tests.support.two_at_once"]

# Properties are about what comes out. How long it takes is the business of the benchmarks.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
