"""A namespace with runtimes whose agents are ours, and a pod that calls them and accounts for each call."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import manifests
from tests.support.cluster.commands import CommandError
from tests.support.workload import pod_agents, pod_caller

if TYPE_CHECKING:
    from tests.support.installation import Installation
    from tests.support.manifests import Manifest

#: Calls that show that an agent is called all the time.
ENOUGH = 20

_FILES = "/opt/workload"
_CONFIG_MAP = "workload"
_CALLER = "caller"
#: The runtime that the caller has its certificate from: it serves nothing else.
_CALLERS_RUNTIME = "callers"

_HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}


@dataclass(frozen=True)
class Workload:
    """One namespace of an installation."""

    installation: Installation
    namespace: str

    def create(self) -> None:
        """Make the namespace and the caller, and wait until that listens."""
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        files = {"pod_agents.py": pod_agents.__file__, "pod_caller.py": pod_caller.__file__}
        self.installation.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": label}},
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _CONFIG_MAP, "namespace": self.namespace},
                "data": {name: Path(path).read_text() for name, path in files.items()},
            },
            manifests.runtime(self.namespace, _CALLERS_RUNTIME, replicas=0, clients=[{"name": "pod"}]),
            self._caller(),
        )
        self.kubectl("wait", "--for=condition=Ready", f"pod/{_CALLER}", "--timeout=90s", timeout=100)

    def delete(self) -> None:
        """Delete everything and wait until it is gone."""
        self.installation.kubectl("delete", "namespace", self.namespace, "--timeout=150s", timeout=180)

    def describe(self) -> str:
        """Return what a person looks at when a test has failed."""
        kinds = "agentruntimes,agents.aixgo.dev,sessionbackends,pods"
        shown = self.kubectl("get", kinds, "-o", "wide")
        return f"{shown}\n{self.kubectl('get', 'events', '--sort-by=.lastTimestamp')}"

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002
        """Run kubectl in the namespace."""
        return self.installation.kubectl("-n", self.namespace, *arguments, input=input, timeout=timeout)

    def runtime(self, name: str, **spec: Any) -> Manifest:
        """A runtime that can have our agents."""
        mount = {"name": "workload", "mountPath": _FILES, "readOnly": True}
        ours = {
            "resources": _SMALL,
            "volumes": [{"name": "workload", "configMap": {"name": _CONFIG_MAP}}],
            "volumeMounts": [mount],
        }
        env = [{"name": "PYTHONPATH", "value": _FILES}, *spec.pop("env", [])]
        return manifests.runtime(self.namespace, name, **(ours | spec), env=env)

    def agent(self, runtime: str, function: str, /, **spec: Any) -> Manifest:
        """Agent ``<runtime>-<function>``: one of our functions."""
        custom = {
            "runtimeRef": {"name": runtime},
            "role": "custom",
            "handler": f"pod_agents:{function}",
            "session": {"mode": "Stateless"},
        }
        made = manifests.agent(self.namespace, f"{runtime}-{function}", runtime)
        return {**made, "spec": {**custom, **spec}}

    def apply(self, *objects: Manifest) -> None:
        """Apply objects."""
        self.installation.apply(*objects)

    def patch(self, target: str, **spec: Any) -> None:
        """Merge into an object's spec."""
        self.kubectl("patch", target, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, target: str) -> dict[str, Any]:
        """Return an object."""
        return self.installation.get(target, self.namespace)

    def list(self, kind: str, runtime: str) -> list[dict[str, Any]]:
        """Return the objects of a kind that belong to a runtime."""
        listed = self.kubectl("get", kind, "-l", f"aixgo.dev/runtime={runtime}", "-o", "json")
        return list(json.loads(listed)["items"])

    def pods(self, runtime: str) -> list[dict[str, Any]]:
        """Return the runtime's pods that are not being deleted."""
        return self.installation.pods(self.namespace, runtime)

    def pod_names(self, runtime: str) -> set[str]:
        """Return all names of the runtime's pods, also of those that are being deleted."""
        return {pod["metadata"]["name"] for pod in self.list("pods", runtime)}

    def evict(self, pod: str) -> bool:
        """Evict a pod as the drain of its node does. False: its disruption budget forbids it now."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        wanted = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        try:
            self.installation.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(wanted))
        except CommandError as error:
            # HTTP status 429, by the word of the API.
            if "TooManyRequests" in str(error) and "disruption budget" in str(error):
                return False
            raise
        return True

    def call(self, runtime: str, function: str, *, workers: int) -> None:
        """Let so many workers call an agent again and again over each of the runtime's two addresses."""
        for by, address in self._addresses(runtime).items():
            kind = self._kind(runtime, function, by)
            wanted = {"kind": kind, "function": function, "count": workers}
            self._tell("calls", runtime, address, wanted)

    def stream(self, runtime: str, seconds: float, *, every: float) -> None:
        """Begin calls that last `seconds` over each of the runtime's two addresses, one `every` seconds."""
        for address in self._addresses(runtime).values():
            self._tell("streams", runtime, address, {"seconds": seconds, "every": every})

    def account(self) -> dict[str, Any]:
        """Return what became of the calls: an ``Account`` of ``pod_caller``."""
        found: dict[str, Any] = json.loads(self.installation.kubectl("get", "--raw", self._url("account")))
        return found

    def reset(self) -> None:
        """Give up every call, begin a new account, and delete the runtimes and agents of the test."""
        self._post("reset", {})
        self.kubectl("delete", "agents.aixgo.dev", "--all", "--wait=false")
        names = self.kubectl("get", "agentruntimes", "-o", "name").split()
        if made := [name for name in names if not name.endswith(f"/{_CALLERS_RUNTIME}")]:
            self.kubectl("delete", "--wait=false", *made)

    def stop_calls(self) -> dict[str, Any]:
        """Begin no more calls, wait for the short ones that run, and return what became of all."""
        self._post("stop", {})
        return self.account()

    def wait_ready(self, *runtimes: str, timeout: float = 90.0) -> None:
        """Wait until runtimes are Ready at their newest generation."""
        for name in runtimes:
            self.installation.wait_ready(f"agentruntimes.aixgo.dev/{name}", self.namespace, timeout=timeout)

    def condition(self, target: str, kind: str) -> dict[str, Any]:
        """Return a condition of an object; Unknown while there is none of its newest generation."""
        return self.installation.condition(target, self.namespace, kind)

    def wait_condition(
        self, target: str, kind: str, status: str, reason: str, *, timeout: float = 60.0
    ) -> dict[str, Any]:
        """Wait for a condition of an object with this status and reason and return it."""
        return self.installation.wait_condition(target, self.namespace, kind, status, reason, timeout=timeout)

    def refresh_caller(self, mark: str) -> None:
        """Let the kubelet look at once for new certificates of the caller, as it does each minute or so."""
        self.kubectl("annotate", "--overwrite", "pod", _CALLER, f"refresh={mark}")

    def wait_answered(self, *runtimes: str, function: str = "where", timeout: float = 60.0) -> None:
        """Wait until more calls of an agent of each of the runtimes are answered, over either address."""
        wanted = {
            self._kind(runtime, function, by) for runtime in runtimes for by in self._addresses(runtime)
        }
        before = self.account()["answered"]
        end = time.monotonic() + timeout
        while True:
            account = self.account()
            more = {kind: account["answered"].get(kind, 0) - before.get(kind, 0) for kind in wanted}
            if all(number >= ENOUGH for number in more.values()):
                return
            if time.monotonic() > end:
                said = f"answered: {more}, failed: {account['failures'][:10]}"
                raise AssertionError(f"not {ENOUGH} more calls within {timeout:.0f} s: {said}")
            time.sleep(0.3)

    def _kind(self, runtime: str, function: str, by: str) -> str:
        return f"{runtime} {function} by {by}"

    def _addresses(self, runtime: str) -> dict[str, str]:
        host = f"{self.namespace}.svc.cluster.local:50051"
        return {"Service": f"{runtime}.{host}", "pods": f"dns:///{runtime}-pods.{host}"}

    def _tell(self, what: str, runtime: str, address: str, wanted: dict[str, Any]) -> None:
        where = {"runtime": runtime, "namespace": self.namespace, "address": address}
        self._post(what, {**where, "pods": len(self.pods(runtime)), **wanted})

    def _post(self, what: str, body: dict[str, Any]) -> None:
        self.installation.kubectl("create", "--raw", self._url(what), "-f", "-", input=json.dumps(body))

    def _url(self, path: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{_CALLER}:{pod_caller.PORT}/proxy/{path}"

    def _caller(self) -> Manifest:
        container = {
            "name": "caller",
            "image": self.installation.images["runtime"][0],
            "imagePullPolicy": "IfNotPresent",
            "command": ["/opt/aixgo/bin/python", f"{_FILES}/pod_caller.py", "/tls"],
            "ports": [{"name": "http", "containerPort": pod_caller.PORT}],
            "readinessProbe": {
                "httpGet": {"path": "/account", "port": "http"},
                "periodSeconds": 1,
                "timeoutSeconds": 10,
            },
            "resources": _SMALL,
            "securityContext": _HARDENED,
            "volumeMounts": [
                {"name": "workload", "mountPath": _FILES, "readOnly": True},
                {"name": "tls", "mountPath": "/tls", "readOnly": True},
            ],
        }
        spec = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "workload", "configMap": {"name": _CONFIG_MAP}},
                {"name": "tls", "secret": {"secretName": f"{_CALLERS_RUNTIME}-client-pod"}},
            ],
        }
        metadata = {"name": _CALLER, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
