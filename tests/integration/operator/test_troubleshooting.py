"""docs/troubleshooting.md is what kubectl and aixgo say of failures. ``UPDATE_GOLDEN=1`` rewrites it.

API server, controllers, operator, Redis client, kubectl and aixgo are real. What a node says of pods, and
that a pod cannot load an agent, is said by the stand-ins for the kubelet and the pods.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import operator as support
from tests.support.cluster.control_plane import ControlPlane
from tests.support.redis_server import RedisServer
from tests.support.troubles import TROUBLES, Trouble, wrong_password
from typer.testing import CliRunner

from aixgo_cli.app import app
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, SESSION_BACKENDS
from aixgo_operator.probe.redis_info import RedisProber

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.apiserver

PAGE = Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md"
INTRODUCTION = """\
# Troubleshooting

`kubectl get agrt,agt,sbe` shows what is not ready and why in one word, with `-o wide` in a sentence, and
`aixgo explain KIND/NAME` the whole story: every condition with its message, and how each pod is.
`aixgo status` shows all that is not ready.

What follows is what both say in twenty-one cases. It is written by a test that makes each of them
(`tests/integration/operator/test_troubleshooting.py`; `UPDATE_GOLDEN=1` rewrites this page); only ages, times
and generated names are made equal.
"""
#: In which order kinds come: what an Agent needs comes after it.
ORDER = (AGENTS, AGENT_RUNTIMES, SESSION_BACKENDS)
#: What differs from run to run, and what stands for it, as long as it is.
UNEQUAL = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-01-01T00:00:00Z"),
    # Ages are in the last column.
    (re.compile(r"(?<=\s)(\d+[smhd]){1,2}$", re.MULTILINE), "10s"),
    # Pods of a ReplicaSet.
    (re.compile(r"-[a-z0-9]{8,10}-[a-z0-9]{5}(?=[\s:,\"])"), "-5d8f7c9b4-x2x2x"),
    # The Redis that listens.
    (re.compile(r"127\.0\.0\.1:\d{2,}"), "127.0.0.1:6379"),
)


def equalized(text: str) -> str:
    for pattern, instead in UNEQUAL:
        text = pattern.sub(instead, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


async def section(plane: ControlPlane, trouble: Trouble, namespace: str) -> str:
    """Return what the user is shown of a trouble."""
    table = await asyncio.to_thread(plane.kubectl, "get", "agrt,agt,sbe", "-n", namespace)
    where = ["-n", namespace, "--kubeconfig", str(plane.kubeconfig)]
    arguments = ["explain", trouble.explained, *where]
    environment = {"COLUMNS": "110"}
    # In this process: to import all of it for each case would take most of the test's time.
    explained = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert explained.exit_code == 0, explained.output
    return "\n".join(
        (
            f"\n## {trouble.title}\n",
            f"{trouble.cause}\n",
            "```console",
            "$ kubectl get agrt,agt,sbe",
            equalized(table),
            f"$ aixgo explain {trouble.explained}",
            equalized(explained.stdout),
            "```\n",
            f"{trouble.remedy}\n",
        )
    )


@pytest.fixture
def empty_plane() -> Iterator[ControlPlane]:
    """A cluster with nothing else in it: the operator works in all namespaces."""
    with ControlPlane() as plane:
        support.crds_ready(plane)
        yield plane


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", config=("requirepass right",)).start()
    yield server
    server.kill()


async def test_the_page_is_what_is_shown(empty_plane: ControlPlane, locked_redis: RedisServer) -> None:
    plane, troubles = empty_plane, (wrong_password(locked_redis.address), *TROUBLES)
    troubles = tuple(sorted(troubles, key=lambda trouble: ORDER.index(trouble.resource)))
    async with support.connected(plane) as cluster:
        for name in ("operator", *(trouble.name for trouble in troubles)):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await cluster.client.create(namespace)
        chosen = support.settings("operator")
        async with support.running(plane, cluster, chosen, backends=RedisProber()) as operator:
            await asyncio.gather(*(each.make(cluster, operator, each.name) for each in troubles))
            for each in troubles:
                await cluster.until_condition(
                    each.resource, each.name, each.target, "Ready", each.status, each.reason, timeout=60
                )
            await operator.quiet(seconds=2.5, timeout=60)
            sections = [await section(plane, each, each.name) for each in troubles]
    text = INTRODUCTION + "".join(sections)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        PAGE.write_text(text)
    assert PAGE.is_file(), "run with UPDATE_GOLDEN=1 and read the result"
    assert text == PAGE.read_text(), "run with UPDATE_GOLDEN=1 and read the difference"
