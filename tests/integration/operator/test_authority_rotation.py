"""A new certificate authority while calls go on: real runtimes, a real API server, no refused call."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.process_kubelet import ProcessKubelet, leaf_of, operator_thread

from aixgo.rpc.client import AgentClient
from aixgo_cli.conformance.volumes import replace_volume
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, EVENTS, PODS, SECRETS
from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import fingerprints, signed_by
from aixgo_operator.pki.rotation import Phase, Rotation
from aixgo_operator.probe.statusz import ProbeAnswer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

PHASES = ["Distributing", "Signing", "Pruning", "Stable"]


class Callers:
    """Everyone calls everyone, over a connection that is kept and over a new one each time."""

    def __init__(self, cluster: support.Cluster, kubelet: ProcessKubelet, namespace: str, home: Path) -> None:
        self._cluster = cluster
        self._kubelet = kubelet
        self._namespace = namespace
        self._home = home
        self.calls = 0
        self.errors: list[str] = []

    async def run(self) -> None:
        await self._read_secret()
        reading = asyncio.create_task(self._keep_reading())
        kept: dict[tuple[str, str], AgentClient] = {}
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(reading.cancel)
            while True:
                for target, process in list(self._kubelet.processes.items()):
                    address, name = f"127.0.0.1:{process.grpc_port}", self._server_name(target)
                    for caller, home in self._homes():
                        if (caller, target) not in kept:
                            client = AgentClient(address, home, name)
                            kept[caller, target] = await stack.enter_async_context(client)
                        await self._call(kept[caller, target], caller, target)
                        async with AgentClient(address, home, name) as fresh:
                            await self._call(fresh, caller, target)

    def _homes(self) -> list[tuple[str, Path]]:
        """Runtimes call with the certificates of their pods."""
        pods = [(name, process.files.root / "tls") for name, process in self._kubelet.processes.items()]
        return [*pods, ("client", self._home)]

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            await self._read_secret()

    def _server_name(self, pod: str) -> str:
        return f"{self._kubelet.runtime_of[pod]}.{self._namespace}.svc"

    async def _call(self, client: AgentClient, caller: str, target: str) -> None:
        self.calls += 1
        agent = f"agent-{self._kubelet.runtime_of[target]}"
        try:
            answer = await client.execute(agent, "hello", timeout=10)
            assert answer.text == "hello"
        except Exception as error:  # noqa: BLE001  all of them are what this test is about
            self.errors.append(f"{caller} -> {target}: {error!r}")

    async def _read_secret(self) -> None:
        """As a client outside the cluster that looks at its Secret now and then."""
        secret = await self._cluster.get(SECRETS, self._namespace, "front-client-ci")
        files = leaf_of(secret).files()
        stored = [self._home / name for name in files]
        if not all(path.exists() for path in stored) or [p.read_bytes() for p in stored] != [*files.values()]:
            replace_volume(self._home, files)


async def authority(cluster: support.Cluster, namespace: str) -> dict[str, bytes]:
    found = await cluster.get(SECRETS, namespace, "aixgo-ca")
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


async def ask_for_rotation(cluster: support.Cluster, namespace: str, value: str = "now") -> None:
    body = {"metadata": {"annotations": {"aixgo.dev/rotate": value}}}
    await cluster.patch(SECRETS, namespace, "aixgo-ca", body)


async def phase(cluster: support.Cluster, namespace: str) -> str:
    return (await authority(cluster, namespace)).get("phase", b"Stable").decode()


def custom_agent(namespace: str, runtime: str) -> dict[str, Any]:
    found = m.agent(namespace, f"agent-{runtime}", runtime)
    found["spec"] = {
        "runtimeRef": {"name": runtime},
        "role": "custom",
        "handler": "tests.support.custom_agents:recall",
    }
    return found


async def test_calls_go_on_while_the_authority_changes_and_the_operator_is_restarted(
    plane: ControlPlane, cluster: support.Cluster, tmp_path: Path
) -> None:
    """O16: no refused call; a crash between the steps resumes."""
    namespace = await cluster.namespace("rotate")
    chosen = support.settings(namespace, (namespace,), ca_rotation_overlap_seconds=1)
    await cluster.apply(m.runtime(namespace, "front", replicas=2, clients=[{"name": "ci"}]))
    await cluster.apply(m.runtime(namespace, "back"))
    await cluster.apply(m.runtime(namespace, "asleep"))
    for name in ("front", "back", "asleep"):
        await cluster.apply(custom_agent(namespace, name))
    async with ProcessKubelet(cluster.client, namespace, tmp_path) as kubelet:
        async with operator_thread(plane, chosen, kubelet):
            for name in ("front", "back", "asleep"):
                await cluster.until_condition(AGENTS, namespace, f"agent-{name}", "Ready", "True", timeout=40)
            await cluster.apply(m.runtime(namespace, "asleep", operatingMode="Suspended"))
            await cluster.until_condition(AGENT_RUNTIMES, namespace, "asleep", "Ready", "False", "Suspended")

            def asleep() -> bool:
                names = [kubelet.runtime_of[pod] for pod in kubelet.processes]
                return sorted(names) == ["back", "front", "front"]

            await support.until(asleep, "the suspended pod is gone", timeout=30)
        before = await authority(cluster, namespace)
        kubelet.late["back"] = 2.0  # longer than a step lasts at least: its pod has to be waited for

        callers = Callers(cluster, kubelet, namespace, tmp_path / "client")
        calling = asyncio.create_task(callers.run())
        await ask_for_rotation(cluster, namespace)
        seen = []
        for wanted in PHASES:  # a new operator process for each step
            async with operator_thread(plane, chosen, kubelet):

                async def reached(wanted: str = wanted) -> bool:
                    return await phase(cluster, namespace) == wanted

                await support.until(reached, f"phase {wanted}", timeout=30)
                seen.append(wanted)
        after = await authority(cluster, namespace)
        calls = callers.calls
        await support.until(lambda: callers.calls > calls + 20, "calls after the change")

        async with operator_thread(plane, chosen, kubelet):
            await cluster.apply(m.runtime(namespace, "asleep"))
            await cluster.until_condition(AGENTS, namespace, "agent-asleep", "Ready", "True", timeout=40)
            calls = callers.calls
            await support.until(lambda: callers.calls > calls + 40, "calls with the runtime that slept")
            for name in ("front", "back", "asleep"):
                await cluster.until_condition(AGENT_RUNTIMES, namespace, name, "Ready", "True")
                status = (await cluster.get(AGENT_RUNTIMES, namespace, name))["status"]
                assert status["tls"]["trustBundlePhase"] == "Stable"
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        assert not callers.errors, "\n".join(callers.errors[:10])
        assert callers.calls > 200
        assert set(after) == {"ca.crt", "ca.key", "trust-bundle.crt"}
        assert after["ca.crt"] != before["ca.crt"]
        for pod, process in kubelet.processes.items():
            said = (await process.statusz()).tls
            assert said.trust_bundle == fingerprints(after["ca.crt"]), pod
    events = await cluster.client.list_objects(EVENTS, namespace)
    told = [event["reason"] for event in events if event["involvedObject"]["name"] == "aixgo-ca"]
    assert sorted(told) == ["RotationComplete", "RotationPruning", "RotationSigning", "RotationStarted"]


async def test_who_does_not_answer_holds_a_change_up_unless_nobody_calls_it(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace("rotate")
    chosen = support.settings(namespace, (namespace,), ca_rotation_overlap_seconds=0)
    quick = {"mode": "Mutual", "managed": {}, "rotation": {"reloadTimeoutSeconds": 5}}
    async with support.running(plane, cluster, chosen) as operator:
        await cluster.apply(m.managed_redis(namespace))
        await cluster.apply(m.runtime(namespace, "well", sessionBackendRef={"name": "sessions"}))
        await cluster.apply(m.runtime(namespace, "mute", tls=quick))
        for name in ("well", "mute"):
            await cluster.until_condition(AGENT_RUNTIMES, namespace, name, "Ready", "True")
        operator.kubelet.hold.add("broken")  # its pods never start
        await cluster.apply(m.runtime(namespace, "broken", tls=quick))

        async def pod_is_there() -> bool:
            pods = await cluster.client.list_objects(PODS, namespace)
            return any(pod["metadata"]["name"].startswith("broken") for pod in pods)

        await support.until(pod_is_there, "a pod that does not start")
        operator.pods.override[namespace, "mute"] = ProbeAnswer(error="/statusz did not answer in 2 s")
        before = await authority(cluster, namespace)
        await ask_for_rotation(cluster, namespace)

        async def warned() -> str:
            events = await cluster.client.list_objects(EVENTS, namespace)
            return next((e["message"] for e in events if e["reason"] == "RotationWaiting"), "")

        await support.until(warned, "an Event that names who is waited for", timeout=15)
        message = await warned()
        assert f"Pod {namespace}/mute-" in message
        assert "broken" not in message
        assert "well" not in message
        assert await phase(cluster, namespace) == "Distributing"
        assert operator.sample("aixgo_operator_ca_rotation_waiting") == 1
        assert operator.sample("aixgo_operator_ca_rotation_phase", phase="Distributing") == 1
        await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "mute", "CertificatesReady", "False", "ReloadTimeout"
        )
        # Both are trusted now; who comes back finds the way.
        bundle = leaf_of(await cluster.get(SECRETS, namespace, "mute-tls")).ca
        assert len(fingerprints(bundle)) == 2
        del operator.pods.override[namespace, "mute"]

        async def signing() -> bool:
            return await phase(cluster, namespace) != "Distributing"

        await support.until(signing, "the pod that does not start is not waited for")
        operator.kubelet.hold.clear()

        async def done() -> bool:
            return "phase" not in await authority(cluster, namespace)

        await support.until(done, "the change is over", timeout=30)
        after = await authority(cluster, namespace)
        assert after["ca.crt"] != before["ca.crt"]
        for name in ("well-tls", "mute-tls", "broken-tls", "sessions-redis-tls"):
            leaf = leaf_of(await cluster.get(SECRETS, namespace, name))
            assert signed_by(leaf.certificate, after["ca.crt"]) is not None
            assert fingerprints(leaf.ca) == fingerprints(after["ca.crt"])
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "mute", "Ready", "True")
        # The same value asks for nothing more.
        await operator.quiet()
        assert await authority(cluster, namespace) == after


async def test_an_authority_is_changed_when_two_thirds_of_its_life_are_over(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace("rotate")
    now = dt.datetime.now(dt.UTC)
    old = create_authority(now=now - dt.timedelta(days=70), duration=dt.timedelta(days=100))
    data = Rotation(Phase.STABLE, old).to_secret()
    secret = m.secret(namespace, "aixgo-ca")
    secret["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "aixgo-operator"}
    await cluster.apply(secret)
    await cluster.apply(m.runtime(namespace))
    chosen = support.settings(namespace, (namespace,), ca_rotation_overlap_seconds=0)
    async with support.running(plane, cluster, chosen):

        async def changed() -> bool:
            found = await authority(cluster, namespace)
            return "phase" not in found and found["ca.crt"] != old.cert_pem

        await support.until(changed, "another authority", timeout=20)
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
