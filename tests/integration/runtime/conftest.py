"""A runtime with certificates of a test CA, in a directory of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> RuntimeFiles:
    """The runtime's directories with a good certificate; the configuration is the test's."""
    files = RuntimeFiles(tmp_path / "runtime")
    files.certify(authority.runtime("r", "team"))
    return files


@pytest.fixture(scope="session")
def me(authority: Authority) -> Leaf:
    """A client in the runtime's namespace."""
    return authority.client("me", "team")


@pytest.fixture(scope="session")
def stranger(authority: Authority) -> Leaf:
    """A runtime in another namespace."""
    return authority.runtime("other", "elsewhere")
