"""A runtime with certificates of a test CA, in a directory of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.agent_host import AgentHost
from tests.support.behaviour import World, Worlds
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles

from aixgo.session import FileBackend, Manager


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


@pytest.fixture(scope="session")
def agent_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentHost]:
    """A child process for the agents of the behaviour suite."""
    host = AgentHost(tmp_path_factory.mktemp("host")).start()
    yield host
    host.kill()


@pytest.fixture(params=["local", "distributed"])
async def worlds(
    request: pytest.FixtureRequest, agent_host: AgentHost, authority: Authority, tmp_path: Path
) -> AsyncIterator[Worlds]:
    """What makes runtimes of one kind; every test runs with both."""
    tls = authority.runtime("r", "team").write(tmp_path / "tls")
    async with Manager(FileBackend(tmp_path / "sessions", durability="os")) as sessions:
        yield Worlds(request.param, agent_host, tls, sessions)


@pytest.fixture
async def world(worlds: Worlds) -> AsyncIterator[World]:
    """A runtime with all agents."""
    async with worlds.make() as made:
        yield made
