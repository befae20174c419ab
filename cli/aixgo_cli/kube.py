"""What the command reads from a cluster, with the rights of its user."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aixgo_cli.errors import CliError, ExitCode
from aixgo_operator.api.constants import GROUP, PLURALS, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds to connect and to wait for an answer.
REQUEST_TIMEOUT = (5.0, 30.0)
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: The names that kubectl knows the kinds by, in lower case.
KIND_NAMES = {
    "agentruntime": "AgentRuntime",
    "agentruntimes": "AgentRuntime",
    "agrt": "AgentRuntime",
    "agent": "Agent",
    "agents": "Agent",
    "agt": "Agent",
    "sessionbackend": "SessionBackend",
    "sessionbackends": "SessionBackend",
    "sbe": "SessionBackend",
}

Object = dict[str, Any]


class Cluster:
    """Read access to one cluster through one kubeconfig context."""

    def __init__(self, api_client: Any, *, namespace: str, name: str) -> None:
        from kubernetes import client

        self.api_client = api_client
        #: The namespace to use when the user names none.
        self.namespace = namespace
        #: What to call the cluster in messages.
        self.name = name
        self._objects = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)

    @classmethod
    def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
    ) -> Cluster:
        """Use ``kubeconfig``, else ``KUBECONFIG``, else ``~/.kube/config``, else a pod's own account."""
        try:
            from kubernetes import client
            from kubernetes import config as loader
        except ModuleNotFoundError as error:
            raise CliError(
                "the Python package 'kubernetes' is not installed",
                then="pip install 'aixgo[operator]'",
                code=ExitCode.USAGE,
            ) from error
        # A retry is told by the error at the end; its warnings in between would only confuse.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        # The client's loaders have no types.
        config: Any = loader
        configuration = client.Configuration()
        configuration.retries = 1
        try:
            entries, active = config.list_kube_config_contexts(config_file=kubeconfig)
            contexts = {str(entry["name"]): entry for entry in entries}
            name = str(context or (active or {}).get("name"))
            if name not in contexts:
                raise CliError(
                    f"no context {name!r} in the kubeconfig",
                    where=kubeconfig,
                    then=f"use one of: {', '.join(sorted(contexts))}",
                    code=ExitCode.USAGE,
                )
            config.load_kube_config(config_file=kubeconfig, context=name, client_configuration=configuration)
            default = str(contexts[name]["context"].get("namespace") or "default")
        except config.ConfigException as error:
            if kubeconfig or context or not _SERVICE_ACCOUNT.is_dir():
                raise _no_kubeconfig(str(error)) from error
            # A job in the cluster has no kubeconfig but the service account of its pod.
            config.load_incluster_config(client_configuration=configuration)
            default, name = (_SERVICE_ACCOUNT / "namespace").read_text().strip(), "the cluster of this pod"
        return cls(client.ApiClient(configuration), namespace=namespace or default, name=name)

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return one object of our kinds. Raises CliError (not found) when it is not there."""
        with self._explained(f"read {kind} {namespace}/{name}", missing=_missing(kind, namespace, name)):
            item: Object = _json(
                self._objects.get_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    namespace,
                    PLURALS[kind],
                    name,
                    _preload_content=False,
                    _request_timeout=REQUEST_TIMEOUT,
                )
            )
            return item

    def objects(self, kind: str, namespace: str | None) -> list[Object]:
        """Return the objects of one of our kinds in ``namespace``, or in all of them, sorted by name."""
        no_kind = CliError(
            f"the cluster does not know {kind} ({GROUP}/{VERSION})",
            where=self.name,
            then="install the kinds: helm install aixgo-crds charts/aixgo-crds",
            code=ExitCode.NOT_FOUND,
        )
        with self._explained(f"list {PLURALS[kind]}", missing=no_kind):
            if namespace is None:
                answer: Any = self._objects.list_cluster_custom_object(
                    GROUP, VERSION, PLURALS[kind], _preload_content=False, _request_timeout=REQUEST_TIMEOUT
                )
            else:
                answer = self._objects.list_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    namespace,
                    PLURALS[kind],
                    _preload_content=False,
                    _request_timeout=REQUEST_TIMEOUT,
                )
            items: list[Object] = _json(answer)["items"]
        for item in items:
            item.setdefault("kind", kind)
        return sorted(items, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods of a label selector, sorted by name."""
        with self._explained(f"list pods in {namespace}"):
            answer = self._core.list_namespaced_pod(
                namespace, label_selector=selector, _preload_content=False, _request_timeout=REQUEST_TIMEOUT
            )
            items: list[Object] = _json(answer)["items"]
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def pod(self, namespace: str, name: str) -> Object:
        """Return one pod. Raises CliError (not found) when it is not there."""
        with self._explained(f"read pod {namespace}/{name}", missing=_missing("pod", namespace, name)):
            answer = self._core.read_namespaced_pod(
                name, namespace, _preload_content=False, _request_timeout=REQUEST_TIMEOUT
            )
            item: Object = _json(answer)
            return item

    def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """Return the decoded data of a Secret. Its values must not be printed nor written to a file."""
        with self._explained(f"read Secret {namespace}/{name}", missing=_missing("Secret", namespace, name)):
            data = _json(
                self._core.read_namespaced_secret(
                    name, namespace, _preload_content=False, _request_timeout=REQUEST_TIMEOUT
                )
            ).get("data")
        return {key: base64.b64decode(value) for key, value in (data or {}).items()}

    def config_map(self, namespace: str, name: str) -> dict[str, str]:
        """Return the data of a ConfigMap."""
        with self._explained(
            f"read ConfigMap {namespace}/{name}", missing=_missing("ConfigMap", namespace, name)
        ):
            data = _json(
                self._core.read_namespaced_config_map(
                    name, namespace, _preload_content=False, _request_timeout=REQUEST_TIMEOUT
                )
            ).get("data")
        return dict(data or {})

    @contextmanager
    def _explained(self, doing: str, *, missing: CliError | None = None) -> Iterator[None]:
        """Turn the client's exceptions into messages that say what to do."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            if error.status == 404 and missing is not None:
                raise missing from error
            raise api_error(error, doing, self.name) from error
        except (HTTPError, OSError) as error:
            raise CliError(
                f"cannot {doing}: the cluster does not answer ({type(error).__name__})",
                where=f"{self.name} at {self.api_client.configuration.host}",
                then="check the cluster and the context: kubectl cluster-info",
            ) from error


def api_error(error: Any, doing: str, cluster: str) -> CliError:
    """Explain an answer of the API server that is no success."""
    if error.status == 401:
        return CliError(
            f"cannot {doing}: not signed in", where=cluster, then="renew the credentials of this context"
        )
    if error.status == 403:
        return CliError(
            f"cannot {doing}: you are not allowed to",
            where=cluster,
            then="ask for that right, and check it with: kubectl auth can-i",
        )
    reason = error.reason
    with suppress(TypeError, ValueError, KeyError):
        reason = json.loads(error.body)["message"]
    return CliError(f"cannot {doing}: {reason}", where=cluster)


def _missing(kind: str, namespace: str, name: str) -> CliError:
    lists = PLURALS.get(kind, f"{kind.lower()}s")
    return CliError(
        f"{kind} {name!r} not found",
        where=f"namespace {namespace}",
        then=f"kubectl get {lists} -A, or name another namespace with -n",
        code=ExitCode.NOT_FOUND,
    )


def _no_kubeconfig(reason: str) -> CliError:
    return CliError(
        f"no usable kubeconfig: {reason}",
        then="give --kubeconfig, or set KUBECONFIG, or call a runtime directly with --address and --tls-dir",
        code=ExitCode.USAGE,
    )


def _json(response: Any) -> Any:
    return json.loads(response.data)


def is_ready(pod: Object) -> bool:
    """Tell whether a pod is Ready and not on its way out."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def condition(item: Object, type_: str) -> Object | None:
    """Return one condition of an object's status."""
    for entry in item.get("status", {}).get("conditions") or []:
        if entry["type"] == type_:
            found: Object = entry
            return found
    return None
