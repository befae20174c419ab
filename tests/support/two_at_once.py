"""Which tests run in one process when several run at once (``pytest -n 2``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

#: Tests below share one cluster; a second one would cost more than it saves.
ONE_CLUSTER = "tests/e2e/"


class ByFile(LoadFileScheduling):
    """Files are given out in the order in which they are named; those that share the cluster as one."""

    def _split_scope(self, nodeid: str) -> str:
        return ONE_CLUSTER if nodeid.startswith(ONE_CLUSTER) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Choose how tests are given out, whatever ``--dist`` says."""
    return ByFile(config, log)
