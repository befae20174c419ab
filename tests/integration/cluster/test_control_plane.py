"""The control plane fixture itself: it is real, quick, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.support.cluster.cache import REPOSITORY
from tests.support.cluster.commands import CommandError
from tests.support.cluster.control_plane import ControlPlane
from tests.support.waiting import wait_until

pytestmark = pytest.mark.apiserver

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: windows.test.aixgo.dev}
spec:
  group: test.aixgo.dev
  scope: Namespaced
  names: {kind: Window, plural: windows, singular: window}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {low: {type: integer}, high: {type: integer}}
            x-kubernetes-validations: [{rule: self.low <= self.high, message: low is above high}]
"""


def window(name: str, low: int, high: int) -> str:
    spec = {"low": low, "high": high}
    return json.dumps(
        {"apiVersion": "test.aixgo.dev/v1", "kind": "Window", "metadata": {"name": name}, "spec": spec}
    )


def exists(plane: ControlPlane, *what: str) -> bool:
    return plane.kubectl("get", *what, "--ignore-not-found", "-o", "name").strip() != ""


def test_starts_quickly_and_leaves_nothing() -> None:
    begin = time.monotonic()
    with ControlPlane(audit=True) as plane:
        took = time.monotonic() - begin
        pids, folder, log = plane.pids, plane.kubeconfig.parent, plane.audit_log
        assert log is not None
        plane.kubectl("create", "configmap", "audited")
        wait_until(lambda: '"name":"audited"' in log.read_text(), "the event is in the audit log")
        assert plane.kubeconfig.stat().st_mode & 0o077 == 0
        assert "insecure" not in plane.kubeconfig.read_text()
    assert len(pids) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not folder.exists()
    assert took < 10, f"took {took:.1f} s"


def test_crd_rules_in_cel_are_enforced(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "--server-side", "-f", "-", input=CRD)
    control_plane.kubectl(
        "wait", "--for=condition=Established", "crd/windows.test.aixgo.dev", "--timeout=20s"
    )
    control_plane.kubectl("apply", "--server-side", "-f", "-", input=window("open", 1, 2))
    with pytest.raises(CommandError, match="low is above high"):
        control_plane.kubectl("apply", "--server-side", "-f", "-", input=window("broken", 2, 1))


def test_deployments_make_pods_and_owners_take_them_along(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "deployment", "web", "--image=localhost/none", "--replicas=2")
    pods = ("pods", "-l", "app=web")
    wait_until(
        lambda: len(control_plane.kubectl("get", *pods, "-o", "name").split()) == 2, "both pods are there"
    )
    control_plane.kubectl("delete", "deployment", "web")
    wait_until(lambda: not exists(control_plane, *pods), "the garbage collector deletes the pods", timeout=20)


def test_accounts_get_tokens_and_only_their_rights(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader")
    assert control_plane.kubectl("create", "token", "reader").count(".") == 2
    user = "--as=system:serviceaccount:default:reader"
    with pytest.raises(CommandError, match="forbidden"):
        control_plane.kubectl("get", "secrets", user)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_dies_with_the_process_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent("""
        import json, sys
        from tests.support.cluster.control_plane import ControlPlane
        with ControlPlane() as plane:
            print(json.dumps([plane.pids, str(plane.kubeconfig.parent)]), flush=True)
            sys.stdin.read()
        """)
    )
    owner = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pids, folder = json.loads(owner.stdout.readline())
        owner.send_signal(how)
        owner.wait(timeout=10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "its processes are gone")
    with ControlPlane():
        assert not Path(folder).exists()  # a later start clears what a killed one could not
