"""A process whose watches tell nothing any more lives on, renews its Lease, and has to be restarted."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.split_client import watch_through
from tests.support.tcp_proxy import TcpProxy

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


def _health(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def _readings(operator: support.Operator) -> float:
    """How often the Agents were listed: nothing else asks for them."""
    labels = {"verb": "GET", "resource": "agents", "status": "200"}
    return operator.sample("aixgo_operator_api_requests_total", **labels) or 0.0


async def test_liveness_fails_when_the_watches_are_silent(
    plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O20: a silent stall is noticed, and its end."""
    namespace = await cluster.namespace()
    async with TcpProxy(plane.url) as proxy:
        watch_through(proxy, monkeypatch)
        chosen = support.settings(namespace, (namespace,), resync_seconds=1.0)
        async with support.running(plane, cluster, chosen) as operator:
            operator.process._watch_silence = 2.0

            async def status(wanted: int) -> bool:
                code, _ = await asyncio.to_thread(_health, operator.process.health.port)
                return code == wanted

            await cluster.apply(m.runtime(namespace))
            await cluster.apply(m.agent(namespace))
            await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
            await operator.quiet()
            await support.until(lambda: status(200), "it is alive")

            proxy.cut()
            # The cluster is read again, once a second and for longer than watches may be silent. Nothing
            # changes: silence is in order.
            readings = _readings(operator)
            await support.until(lambda: _readings(operator) >= readings + 4, "four readings", timeout=30)
            assert await status(200)
            # Read by the resync; the ConfigMap that is written then is told by nobody.
            await cluster.patch(AGENTS, namespace, "assistant", {"spec": {"prompt": "Other."}})

            async def names(kind: str) -> bool:
                _, answer = await asyncio.to_thread(_health, operator.process.health.port)
                return f"the watch of {kind} in {namespace} does not tell what changes" in answer["problems"]

            await support.until(lambda: names("Agent"), "what was read is missed")
            await support.until(lambda: names("ConfigMap"), "what was written is missed")
            assert await status(500)
            assert operator.process.leadership is not None
            assert operator.process.leadership.leading()

            proxy.heal()
            await support.until(lambda: status(200), "new watches tell again", timeout=20)
