"""``aixgo operator`` as a process of its own, with the rights of a user of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.cluster import binaries
from tests.support.cluster.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster.control_plane import ControlPlane

_START = "from aixgo_cli.main import main; main()"
#: What of the chart concerns rights and settings.
_KINDS = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "Lease",
    "ConfigMap",
}


class OperatorProcess:
    """A process and what it logs."""

    def __init__(self, process: subprocess.Popen[str], log: Path, port: int) -> None:
        self.process = process
        self.log = log
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of its health server; 0 and the reason when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def leads(self) -> bool:
        """Whether it says that it leads."""
        return "aixgo_operator_leader 1.0" in self.get("/metrics")[1]

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def started(
    folder: Path, kubeconfig: Path, settings: dict[str, Any], *, name: str = "operator"
) -> Iterator[OperatorProcess]:
    """Start ``aixgo operator`` with a settings file; ``name`` is that of its pod."""
    port = _free_port()
    file, log = folder / f"settings-{port}.yaml", folder / f"operator-{port}.log"
    file.write_text(yaml.safe_dump(settings))
    arguments = ["operator", "--settings", str(file), "--kubeconfig", str(kubeconfig)]
    arguments += ["--health-host", "127.0.0.1", "--health-port", str(port)]
    root = Path.cwd()
    path = os.pathsep.join(str(root / each) for each in ("operator", "runtime_image", "cli"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            env={"PATH": os.defpath, "PYTHONPATH": path, "HOME": str(folder), "POD_NAME": name},
        )
        try:
            yield OperatorProcess(process, log, port)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def chart(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the objects of the operator's chart, without its pods."""
    helm = binaries.ensure("helm")["helm"]
    rendered = run(
        [
            helm,
            "template",
            "release",
            "charts/aixgo-operator",
            "--no-hooks",
            "--namespace",
            namespace,
            *arguments,
        ],
        timeout=30,
    )
    return [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in _KINDS]


def chart_settings(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the settings that the chart gives the operator."""
    (file,) = (item for item in documents if item["kind"] == "ConfigMap")
    settings: dict[str, Any] = yaml.safe_load(file["data"]["settings.yaml"])
    return settings


def account_kubeconfig(
    plane: ControlPlane, folder: Path, namespace: str, account: str, *, server: str | None = None
) -> Path:
    """Write a kubeconfig with a token of a ServiceAccount; ``server`` is an address to dial instead."""
    token = plane.kubectl("create", "token", account, "-n", namespace).strip()
    config = json.loads(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    if server is not None:
        config["clusters"][0]["cluster"]["server"] = server
    path = folder / f"kubeconfig-{account}"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
