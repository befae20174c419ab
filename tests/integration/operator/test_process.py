"""The operator as a process of its own: settings, health, SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.operator_process import started

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, LEASES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def test_a_standby_takes_over_when_the_leader_is_told_to_end(
    plane: ControlPlane, cluster: support.Cluster, tmp_path: Path
) -> None:
    namespace = await cluster.namespace()
    settings = {"operatorNamespace": namespace, "watchNamespaces": [namespace]}

    async def holder() -> str:
        lease = await cluster.client.get(LEASES, namespace, "aixgo-operator")
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    with (
        started(tmp_path, plane.kubeconfig, settings, name="one") as one,
        started(tmp_path, plane.kubeconfig, settings, name="two") as two,
    ):
        await support.until(
            lambda: one.get("/readyz")[0] == two.get("/readyz")[0] == 200, "both are up", timeout=30
        )

        async def somebody() -> bool:
            return bool(await holder())

        await support.until(somebody, "somebody leads")
        leader, other = (one, two) if (await holder()).startswith("one_") else (two, one)
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Accepted", "True")
        assert leader.get("/healthz") == (200, '{"status": "ok", "problems": []}')
        assert "aixgo_operator_leader 1.0" in leader.get("/metrics")[1]
        assert "aixgo_operator_leader 0.0" in other.get("/metrics")[1]

        leader.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(leader.process.wait, 20) == 0
        # Not the ten seconds of a killed leader: the Lease was given up.
        await support.until(
            lambda: "aixgo_operator_leader 1.0" in other.get("/metrics")[1], "takeover", timeout=6
        )
        await cluster.apply(m.agent(namespace))
        await cluster.until_condition(AGENTS, namespace, "assistant", "Accepted", "True")
        for line in leader.lines() + other.lines():
            assert line["level"] in ("info", "debug"), json.dumps(line)


async def test_settings_that_cannot_be_used(plane: ControlPlane, tmp_path: Path) -> None:
    with started(tmp_path, plane.kubeconfig, {"operatorNamespce": "x"}) as operator:
        assert await asyncio.to_thread(operator.process.wait, 20) == 2
        assert "operatorNamespce" in operator.log.read_text()
