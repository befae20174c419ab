"""The installed product on a whole cluster: built images, both charts, the quickstart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.cluster.commands import CommandError
from tests.support.demo import steps
from tests.support.demo.diagnosis import diagnose
from tests.support.installation import Installation
from tests.support.workload.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster.kind import Cluster

#: A step of a change of the authority takes seconds here, not hours: no client misses its renewed Secret.
VALUES = ("certificates.rotationOverlapSeconds=15",)


@pytest.fixture(scope="session")
def installation(kind_cluster: Cluster) -> Installation:
    """The charts with freshly built images; every test of the session shares them."""
    built = steps.build_images()
    steps.load_images(kind_cluster, built)
    steps.install(kind_cluster, built, values=VALUES)
    return Installation(kind_cluster, built)


@pytest.fixture(scope="session")
def quickstart(installation: Installation) -> Installation:
    """The quickstart, Ready."""
    steps.apply_quickstart(installation.cluster)
    steps.wait_until_ready(installation.cluster)
    return installation


@pytest.fixture(scope="session")
def workload_namespace(installation: Installation) -> Iterator[Workload]:
    made = Workload(installation, "workload")
    try:
        made.create()
        yield made
    finally:
        made.delete()


@pytest.fixture
def workload(workload_namespace: Workload) -> Iterator[Workload]:
    """A namespace for runtimes with agents of our own, and a pod that calls them."""
    yield workload_namespace
    workload_namespace.reset()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add what the cluster says to the report of a failed test."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.failed:
        return
    for name, describe in (("installation", _diagnose), ("workload", Workload.describe)):
        found = item.funcargs.get(name)  # type: ignore[attr-defined]
        if found is not None:
            try:
                report.sections.append((f"the cluster: {name}", describe(found)))
            except (CommandError, OSError) as error:
                report.sections.append((f"the cluster: {name}", str(error)))


def _diagnose(installation: Installation) -> str:
    return diagnose(installation.cluster)
