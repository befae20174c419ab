"""The operator as a process of its own: settings, health, SIGTERM, rights."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.cluster import binaries
from tests.support.cluster.commands import run

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, LEASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

_START = "from aixgo_operator.app.main import main; import sys; raise SystemExit(main(sys.argv[1:]))"


class Started:
    """A process and what it logs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


@contextlib.contextmanager
def started(
    folder: Path,
    kubeconfig: Path,
    settings: dict[str, Any],
    *,
    port: int,
    environment: dict[str, str] | None = None,
) -> Iterator[Started]:
    """Start ``aixgo operator`` with a settings file."""
    file, log = folder / f"settings-{port}.yaml", folder / f"operator-{port}.log"
    file.write_text(yaml.safe_dump(settings))
    arguments = ["--settings", str(file), "--kubeconfig", str(kubeconfig)]
    arguments += ["--health-host", "127.0.0.1", "--health-port", str(port)]
    root = Path.cwd()
    path = os.pathsep.join(str(root / name) for name in ("operator", "runtime_image", "cli"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            env={"PATH": os.defpath, "PYTHONPATH": path, "HOME": str(folder)} | (environment or {}),
        )
        made = Started(process, log)
        made.port = port
        try:
            yield made
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _log(operator: Started) -> list[dict[str, Any]]:
    return [json.loads(line) for line in operator.log.read_text().splitlines()]


async def test_a_standby_takes_over_when_the_leader_is_told_to_end(
    plane: ControlPlane, cluster: support.Cluster, tmp_path: Path
) -> None:
    namespace = await cluster.namespace()
    settings = {"operatorNamespace": namespace, "watchNamespaces": [namespace]}

    async def holder() -> str:
        lease = await cluster.client.get(LEASES, namespace, "aixgo-operator")
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    with (
        started(
            tmp_path, plane.kubeconfig, settings, port=_free_port(), environment={"POD_NAME": "one"}
        ) as one,
        started(
            tmp_path, plane.kubeconfig, settings, port=_free_port(), environment={"POD_NAME": "two"}
        ) as two,
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
        for line in _log(leader) + _log(other):
            assert line["level"] in ("info", "debug"), json.dumps(line)


async def test_settings_that_cannot_be_used(plane: ControlPlane, tmp_path: Path) -> None:
    with started(tmp_path, plane.kubeconfig, {"operatorNamespce": "x"}, port=_free_port()) as operator:
        assert await asyncio.to_thread(operator.process.wait, 20) == 2
        assert "operatorNamespce" in operator.log.read_text()


@pytest.mark.parametrize("namespaced", [False, True], ids=["clusterwide", "namespaced"])
async def test_the_charts_rights_are_enough(
    plane: ControlPlane, cluster: support.Cluster, tmp_path: Path, namespaced: bool
) -> None:
    """Runs as the chart's ServiceAccount: every 403 would be in the log, and stop something below."""
    own = await cluster.namespace("operator")
    team = await cluster.namespace("team")
    helm = binaries.ensure("helm")["helm"]
    arguments = ["--set", f"watchNamespaces={{{team}}}"] if namespaced else []
    rendered = run(
        [helm, "template", "release", "charts/aixgo-operator", "--namespace", own, *arguments], timeout=30
    )
    wanted = {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "Lease",
        "ConfigMap",
    }
    documents = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in wanted]
    if namespaced:
        assert not [item for item in documents if item["kind"].startswith("Cluster")]
    plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(documents))
    (account,) = (item for item in documents if item["kind"] == "ServiceAccount")
    (file,) = (item for item in documents if item["kind"] == "ConfigMap")
    settings = yaml.safe_load(file["data"]["settings.yaml"])
    kubeconfig = _kubeconfig(plane, tmp_path, own, account["metadata"]["name"])

    with started(tmp_path, kubeconfig, settings, port=_free_port()) as operator:
        await support.until(lambda: operator.get("/readyz")[0] == 200, "the operator is up", timeout=30)
        await cluster.apply(m.managed_redis(team))
        spec = {"minReplicas": 2, "maxReplicas": 3}
        await cluster.apply(
            m.runtime(
                team, sessionBackendRef={"name": "sessions"}, clients=[{"name": "ci"}], autoscaling=spec
            )
        )
        await cluster.apply(m.agent(team))
        await cluster.until_condition(AGENTS, team, "assistant", "ResolvedRefs", "True", timeout=30)
        await cluster.until_condition(AGENT_RUNTIMES, team, "runtime", "ResolvedRefs", "True")
        await cluster.apply(m.runtime(team, sessionBackendRef={"name": "sessions"}))

        async def pruned() -> bool:
            found = plane.kubectl("get", "hpa,secret", "-n", team, "-o", "name")
            return "horizontalpodautoscaler" not in found and "runtime-client-ci" not in found

        await support.until(pruned, "the autoscaler and the client's certificate are gone", timeout=20)
        await cluster.delete(AGENT_RUNTIMES, team, "runtime")
        await cluster.until_condition(AGENTS, team, "assistant", "ResolvedRefs", "False", "RuntimeNotFound")
        operator.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(operator.process.wait, 20) == 0
        loud = [line for line in _log(operator) if line["level"] in ("warning", "error", "critical")]
        assert not loud, json.dumps(loud, indent=1)
    plane.kubectl("delete", "--wait=false", "-f", "-", input=yaml.safe_dump_all(documents))


def _kubeconfig(plane: ControlPlane, folder: Path, namespace: str, account: str) -> Path:
    token = plane.kubectl("create", "token", account, "-n", namespace).strip()
    config = json.loads(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path
