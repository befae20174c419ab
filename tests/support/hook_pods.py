"""Plays the kubelet for pods of Jobs: ``aixgo`` runs as a process, with the pod's own account."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.support.aixgo_command import Result, aixgo
from tests.support.cluster.commands import CommandError
from tests.support.operator_process import account_kubeconfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.charts import Helm
    from tests.support.cluster.control_plane import ControlPlane


@dataclass
class JobPods:
    """``with JobPods(plane, folder, namespace) as played:`` runs each pod of Jobs in the namespace."""

    plane: ControlPlane
    folder: Path
    namespace: str
    #: What each pod did, in order.
    results: list[Result] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="job pods", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join(120)

    def _run(self) -> None:
        played: set[str] = set()
        while not self._stop.wait(0.2):
            found = self.plane.kubectl(
                "get", "pods", "-n", self.namespace, "-l", "batch.kubernetes.io/job-name", "-o", "json"
            )
            for pod in json.loads(found)["items"]:
                if pod["metadata"]["uid"] not in played and not pod["metadata"].get("deletionTimestamp"):
                    played.add(pod["metadata"]["uid"])
                    self._play(pod)

    def _play(self, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        root = self.folder / pod["metadata"]["uid"]
        root.mkdir()
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                self._mount(root, container, volume)
        kubeconfig = account_kubeconfig(self.plane, root, self.namespace, pod["spec"]["serviceAccountName"])
        arguments = [self._path_in(root, container, argument) for argument in container["args"]]
        try:
            result = aixgo(*arguments, kubeconfig=kubeconfig, timeout=100)
        except subprocess.TimeoutExpired as error:
            result = Result(-1, str(error.stdout), str(error.stderr))
        self.results.append(result)
        phase = "Failed" if result.code else "Succeeded"
        self.plane.kubectl(
            *("patch", "pod", pod["metadata"]["name"], "-n", self.namespace, "--subresource=status"),
            *("--type=merge", "-p", json.dumps({"status": {"phase": phase}})),
        )

    def _mount(self, root: Path, container: dict[str, Any], volume: dict[str, Any]) -> None:
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == volume["name"])
        target = root / mount["mountPath"].lstrip("/")
        target.mkdir(parents=True)
        name = volume["configMap"]["name"]
        stored = json.loads(self.plane.kubectl("get", "configmap", name, "-n", self.namespace, "-o", "json"))
        for key, text in stored["data"].items():
            (target / key).write_text(text)

    def _path_in(self, root: Path, container: dict[str, Any], argument: str) -> str:
        option, _, path = argument.partition("=")
        mounted = any(path.startswith(f"{mount['mountPath']}/") for mount in container["volumeMounts"])
        return f"{option}={root}{path}" if mounted else argument


def uninstall(helm: Helm, release: str, namespace: str, folder: Path) -> list[Result]:
    """`helm uninstall`, with somebody who runs the pods of its hook; return what these did."""
    with JobPods(helm.plane, folder, namespace) as played:
        try:
            helm("uninstall", release, "--namespace", namespace)
        except CommandError as error:
            raise AssertionError(f"{error}: {played.results}") from None
    return played.results
