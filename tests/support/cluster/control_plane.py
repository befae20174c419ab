"""A Kubernetes API without nodes: etcd, API server and controller manager as plain loopback processes.

Everything works that needs no running pod: CRDs with CEL rules, server-side apply, watches, RBAC, tokens,
garbage collection, Deployments down to Pending pods. No root, no container engine; ready in seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.cluster import binaries
from tests.support.cluster.certificates import Authority, service_account_key, write_private
from tests.support.cluster.commands import ClusterError, daemon, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PREFIX = "aixgo-control-plane-"
_START_TIMEOUT = 60.0
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""


class ControlPlane:
    """A running control plane between ``start()`` and ``stop()``, or inside a ``with`` block.

    The processes die with this one, also on SIGKILL. State is in a temporary folder, which is deleted at the
    end; what a killed run left is deleted by the next one.

    Attributes:
        kubeconfig: cluster admin, verified TLS, mode 0600.
        url: of the API server, ``https://127.0.0.1:<port>``.
        audit_log: one JSON event a line, level Metadata; None unless asked for.
    """

    kubeconfig: Path
    url: str
    audit_log: Path | None = None

    def __init__(self, *, audit: bool = False) -> None:
        self._audit = audit
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the API server is ready and the controllers work.

        Raises:
            ClusterError: a program is missing, or did not become ready within a minute.
        """
        programs = binaries.ensure(*binaries.CONTROL_PLANE)
        for attempt in range(3):
            try:
                self._start(programs)
                return
            except _PortTakenError as error:
                self.stop()
                if attempt == 2:
                    raise ClusterError(str(error)) from error
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill the processes and delete their state; may be called again."""
        self._cleanup.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of etcd, the API server and the controller manager."""
        return [process.pid for process in self._processes]

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002
        """Run kubectl as cluster admin and return its standard output.

        Raises:
            CommandError: kubectl failed; the message has its error output.
        """
        # Its own HOME: nothing of the user's settings, no cache left in them.
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "KUBECONFIG": str(self.kubeconfig),
        }
        return run([self._kubectl, *arguments], timeout=timeout, stdin=input, env=env)

    def _start(self, programs: dict[str, Path]) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._kubectl = programs["kubectl"]
        self._folder = folder = self._cleanup.enter_context(_state_folder())
        etcd_port, peer_port, api_port = _free_ports(3)
        self.url = f"https://127.0.0.1:{api_port}"
        authority = Authority(folder / "pki")
        # The names under which in-cluster clients would call it; certificates for tests that ask for them.
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
        server = authority.issue("kube-apiserver", dns_names=names)
        etcd = authority.issue("etcd")
        admin = authority.issue("admin", organization="system:masters")
        self.kubeconfig = folder / "kubeconfig"
        write_private(self.kubeconfig, _kubeconfig(self.url, authority.certificate, *admin).encode())
        account_key = service_account_key(folder)

        ca = authority.certificate
        self._run("etcd", [programs["etcd"], *_etcd_arguments(folder, etcd_port, peer_port, ca, *etcd)])
        # Not earlier: a refused connection is tried again only after a second.
        self._wait("etcd", lambda: _listens(etcd_port))
        arguments = _api_server_arguments(folder, etcd_port, api_port, ca, *server, account_key)
        if self._audit:
            (folder / "audit-policy.yaml").write_text(_AUDIT_POLICY)
            self.audit_log = folder / "audit.log"
            arguments += [
                f"--audit-policy-file={folder / 'audit-policy.yaml'}",
                f"--audit-log-path={self.audit_log}",
            ]
        self._run("kube-apiserver", [programs["kube-apiserver"], *arguments])
        client = ssl.create_default_context(cafile=str(ca))
        client.load_cert_chain(*admin)
        self._wait("the API server", lambda: _get(f"{self.url}/readyz", client) is not None)
        # Not earlier: it looks for the API server only once a second.
        arguments = _controller_manager_arguments(self.kubeconfig, ca, account_key)
        self._run("kube-controller-manager", [programs["kube-controller-manager"], *arguments])
        account = f"{self.url}/api/v1/namespaces/default/serviceaccounts/default"
        self._wait("the controllers", lambda: _get(account, client) is not None)

    def _run(self, name: str, argv: list[Path | str]) -> None:
        log = self._cleanup.enter_context((self._folder / f"{name}.log").open("wb"))
        self._processes.append(self._cleanup.enter_context(daemon(argv, log=log)))

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_TIMEOUT
        while not ready():
            dead = any(process.poll() is not None for process in self._processes)
            if dead or time.monotonic() > end:
                logs = {log.stem: log.read_text(errors="replace") for log in self._folder.glob("*.log")}
                if any("address already in use" in text for text in logs.values()):
                    raise _PortTakenError("another process took a port three times in a row")
                tails = "\n".join(f"--- {name}\n{text[-2000:]}" for name, text in logs.items())
                reason = "ended" if dead else f"not ready after {_START_TIMEOUT:.0f} s"
                raise ClusterError(f"{what}: {reason}\n{tails}")
            time.sleep(0.03)


class _PortTakenError(Exception):
    """Somebody was quicker between choosing a port and listening on it."""


def _etcd_arguments(
    folder: Path, port: int, peer_port: int, ca: Path, certificate: Path, key: Path
) -> list[str]:
    client, peer = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{peer_port}"
    arguments = [f"--data-dir={folder / 'etcd'}", "--name=default", "--log-level=warn", "--unsafe-no-fsync"]
    arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    arguments += [
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]
    for prefix in ("", "peer-"):
        arguments += [f"--{prefix}cert-file={certificate}", f"--{prefix}key-file={key}"]
        arguments += [f"--{prefix}trusted-ca-file={ca}", f"--{prefix}client-cert-auth"]
    return arguments


def _api_server_arguments(
    folder: Path, etcd_port: int, port: int, ca: Path, certificate: Path, key: Path, account_key: Path
) -> list[str]:
    return [
        f"--etcd-servers=https://127.0.0.1:{etcd_port}",
        f"--etcd-cafile={ca}",
        f"--etcd-certfile={certificate}",
        f"--etcd-keyfile={key}",
        "--bind-address=127.0.0.1",
        # Given, because else it looks for a default route, which a machine may not have; and the endpoint
        # reconciler refuses loopback addresses.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={ca}",
        f"--service-account-key-file={account_key}",
        f"--service-account-signing-key-file={account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        # The stricter of the two kinds of clusters that there are.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def _controller_manager_arguments(kubeconfig: Path, ca: Path, account_key: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={ca}",
        f"--service-account-private-key-file={account_key}",
        # One account for all controllers and no client-side rate limit: each would cost seconds at the start.
        "--use-service-account-credentials=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
    ]


def _kubeconfig(url: str, ca: Path, certificate: Path, key: Path) -> str:
    name = "aixgo-control-plane"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": name, "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return json.dumps(document, indent=2)


@contextlib.contextmanager
def _state_folder() -> Iterator[Path]:
    """A locked temporary folder; first deletes those whose owner is gone."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(old / "owner.lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(descriptor)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _get(url: str, client: ssl.SSLContext) -> bytes | None:
    """The body of an answer with status 200, else None."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=client)
    )
    try:
        with opener.open(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except (OSError, urllib.error.URLError):
        return None
