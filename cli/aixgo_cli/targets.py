"""From the name of an agent to the pod that will serve the call, as the objects in the cluster say."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aixgo_cli.credentials import Identity, from_mapping
from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.kube import is_ready
from aixgo_operator.api.constants import LABEL_RUNTIME
from aixgo_operator.domain import naming

if TYPE_CHECKING:
    from aixgo_cli.kube import Cluster, Object

DEFAULT_GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class Target:
    """A pod to call, and what is needed to trust it and to be let in."""

    namespace: str
    runtime: str
    pod: str
    port: int
    server_name: str
    #: None where the runtime's TLS mode is not Mutual: the transport is plaintext then.
    identity: Identity | None


def find(
    cluster: Cluster, namespace: str, agent: str, *, client: str | None = None, pod: str | None = None
) -> Target:
    """Find the runtime of an agent, a Ready pod of it (or the one named ``pod``), and a client certificate.

    Raises CliError: not found, not ready, or nothing to authenticate with.
    """
    reference = cluster.get("Agent", namespace, agent)["spec"]["runtimeRef"]
    runtime_namespace = reference.get("namespace") or namespace
    runtime = cluster.get("AgentRuntime", runtime_namespace, reference["name"])
    mode = runtime["spec"].get("tls", {}).get("mode", "Mutual")
    identity = client_identity(cluster, runtime, client) if mode == "Mutual" else None
    return Target(
        namespace=runtime_namespace,
        runtime=reference["name"],
        pod=pod or ready_pod(cluster, runtime),
        port=runtime["spec"].get("grpc", {}).get("port", DEFAULT_GRPC_PORT),
        server_name=f"{reference['name']}.{runtime_namespace}.svc",
        identity=identity,
    )


def ready_pod(cluster: Cluster, runtime: Object) -> str:
    """Return the name of one Ready pod of a runtime. Raises CliError (not ready) when there is none."""
    namespace, name = runtime["metadata"]["namespace"], runtime["metadata"]["name"]
    selector = runtime.get("status", {}).get("selector") or f"{LABEL_RUNTIME}={naming.label_value(name)}"
    pods = cluster.pods(namespace, selector)
    ready = [pod["metadata"]["name"] for pod in pods if is_ready(pod)]
    if not ready:
        raise CliError(
            f"no pod of AgentRuntime {name!r} is Ready ({len(pods)} exist)",
            where=f"namespace {namespace}",
            then=f"see why: aixgo explain agentruntime/{name} -n {namespace}",
            code=ExitCode.NOT_READY,
        )
    return str(secrets.choice(ready))


def client_identity(cluster: Cluster, runtime: Object, client: str | None) -> Identity:
    """Return the certificate of ``client``, or of the first client whose Secret the user may read."""
    namespace, name = runtime["metadata"]["namespace"], runtime["metadata"]["name"]
    known = [entry["name"] for entry in runtime["spec"].get("clients") or []]
    where = f"AgentRuntime {namespace}/{name}"
    if client is not None and client not in known:
        raise CliError(
            f"the runtime has no client {client!r}",
            where=where,
            then=f"use one of spec.clients: {', '.join(known)}" if known else _add_client(),
            code=ExitCode.NOT_FOUND,
        )
    wanted = [client] if client is not None else known
    if not wanted:
        raise CliError("the runtime has no clients to call it as", where=where, then=_add_client())
    refusals: list[CliError] = []
    for candidate in wanted:
        secret = naming.client_secret(name, candidate)
        try:
            return from_mapping(cluster.secret(namespace, secret), f"Secret {namespace}/{secret}")
        except CliError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _add_client() -> str:
    return "add one under spec.clients (for example `- name: cli`), or use --address with --tls-dir"
