"""The operator's client of the API server: few verbs, plain dictionaries, server-side apply, its own
retries."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlencode

import aiohttp
import orjson

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube import transport
from aixgo_operator.kube.errors import (
    AlreadyExistsError,
    ApiError,
    NotFoundError,
    NotLeadingError,
    UnavailableError,
    from_response,
)
from aixgo_operator.kube.resources import DEPLOYMENTS, EVENTS, Manifest, Resource, resource_of, with_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.aio.client import ApiClient

log = logging.getLogger(__name__)

#: Seconds one request may take, and seconds a call may take with all its retries.
REQUEST_TIMEOUT: Final = 30.0
CALL_DEADLINE: Final = 60.0
#: Objects per page of a list.
PAGE: Final = 500

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"


class KubeClient(Protocol):
    """What the operator does with the API server. Every method raises
    :class:`~aixgo_operator.kube.errors.ApiError`."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """Return the object, or None if there is none."""

    async def list_objects(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> list[Manifest]:
        """Return all objects of a kind, read in pages, without managedFields but for Deployments.

        Raises NotFoundError when the kind is not installed.
        """

    async def installed(self, resource: Resource, namespace: str | None = None) -> bool:
        """Whether the API server has the kind. Raises ForbiddenError when it may not be asked."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object. Raises AlreadyExistsError when there is one of that name."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace the object that has the manifest's resourceVersion. Raises ConflictError when it moved
        on."""

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply as the operator. A ``metadata.uid`` in the manifest is a precondition."""

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, status: Manifest
    ) -> Manifest | None:
        """Server-side apply of the whole ``/status``. Returns None when the object is gone."""

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, orphan: bool = False
    ) -> None:
        """Delete the object in the background if it still has that uid. An object that is gone is fine.

        ``orphan``: what it controls stays.
        """

    async def annotate(
        self, resource: Resource, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> None:
        """Set (or with None remove) annotations. An object that is gone is fine."""

    async def set_finalizers(
        self, resource: Resource, namespace: str, name: str, finalizers: list[str], *, resource_version: str
    ) -> Manifest | None:
        """Replace the finalizers if the object has not changed since. Returns None when the object is
        gone."""

    async def create_event(
        self, involved: Manifest, *, kind: str, reason: str, message: str, timestamp: str, name: str
    ) -> None:
        """Record an Event of type ``kind`` (Normal, Warning) about an object. A failure is logged, never
        raised."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to log in, for other clients of the same process."""

    server: str
    ca_path: str | None = None
    insecure: bool = False
    token: str | None = None
    certificate_path: str | None = None
    private_key_path: str | None = None


class ApiServerClient:
    """:class:`KubeClient` over HTTPS.

    Requests that fail for a passing reason (429 with Retry-After, 5xx, no connection) are repeated with
    exponential back-off until ``deadline`` seconds have gone by. ``fence`` is asked before every write, and
    again when the connection for it is there; when it says no, the write raises NotLeadingError.
    """

    def __init__(
        self,
        api: ApiClient,
        *,
        fence: Callable[[], bool] | None = None,
        on_request: Callable[[str, str, int], None] | None = None,
        timeout: float = REQUEST_TIMEOUT,
        deadline: float = CALL_DEADLINE,
    ) -> None:
        self._api = api
        self._fence = fence
        #: Called with verb, plural and status after each request (metrics).
        self._on_request = on_request
        self._timeout = timeout
        self._deadline = deadline

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, **options: Any) -> ApiServerClient:
        """Log in with a kubeconfig file, or with the pod's service account when ``kubeconfig`` is None."""
        from kubernetes.aio.client import ApiClient, Configuration
        from kubernetes.aio.config import load_incluster_config, load_kube_config

        configuration = Configuration()
        # Else every request looks for proxies and .netrc files, in a thread.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.trace_configs = [transport.tracing()]
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration
            )
        api = ApiClient(configuration)
        api.rest_client = transport.RestClient(configuration)
        return cls(api, **options)

    async def connection(self) -> Connection:
        """Return address and current credentials (a service account's token is re-read every minute)."""
        configuration = self._api.configuration
        authorization = (await self._auth()).get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        return Connection(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token.strip() if scheme.lower() == "bearer" else None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )

    def with_fence(self, fence: Callable[[], bool]) -> ApiServerClient:
        """Return a client on the same connections whose writes ask ``fence`` first."""
        return ApiServerClient(
            self._api,
            fence=fence,
            on_request=self._on_request,
            timeout=self._timeout,
            deadline=self._deadline,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """See :meth:`KubeClient.get`."""
        try:
            return await self._call("GET", resource, resource.path(namespace, name))
        except NotFoundError:
            return None

    async def list_objects(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> list[Manifest]:
        """See :meth:`KubeClient.list_objects`."""
        items: list[Manifest] = []
        params = {"limit": str(PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        while True:
            try:
                page = await self._call("GET", resource, resource.path(namespace), params=params)
            except ApiError as error:
                if error.status != 410 or "continue" not in params:
                    raise
                # The pages took so long that their common state is forgotten: from the beginning.
                items, params = [], {key: params[key] for key in params if key != "continue"}
                continue
            items += [_listed(resource, item) for item in page.get("items") or ()]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            params["continue"] = token

    async def installed(self, resource: Resource, namespace: str | None = None) -> bool:
        """See :meth:`KubeClient.installed`."""
        try:
            await self._call("GET", resource, resource.path(namespace), params={"limit": "1"})
        except NotFoundError:
            return False
        return True

    async def create(self, manifest: Manifest) -> Manifest:
        """See :meth:`KubeClient.create`."""
        resource = resource_of(manifest)
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._call("POST", resource, path, body=manifest, params={"fieldManager": FIELD_MANAGER})

    async def replace(self, manifest: Manifest) -> Manifest:
        """See :meth:`KubeClient.replace`."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._call("PUT", resource, path, body=manifest, params={"fieldManager": FIELD_MANAGER})

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """See :meth:`KubeClient.apply`."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._patch(resource, path, manifest, _APPLY, force=force)

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, status: Manifest
    ) -> Manifest | None:
        """See :meth:`KubeClient.patch_status`."""
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        try:
            return await self._patch(
                resource, resource.path(namespace, name, "status"), body, _APPLY, force=True
            )
        except NotFoundError:
            return None

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, orphan: bool = False
    ) -> None:
        """See :meth:`KubeClient.delete`."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Orphan" if orphan else "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._call("DELETE", resource, resource.path(namespace, name), body=body)
        except NotFoundError:
            return

    async def annotate(
        self, resource: Resource, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> None:
        """See :meth:`KubeClient.annotate`."""
        body = {"metadata": {"annotations": dict(annotations)}}
        try:
            await self._patch(resource, resource.path(namespace, name), body, _MERGE)
        except NotFoundError:
            return

    async def set_finalizers(
        self, resource: Resource, namespace: str, name: str, finalizers: list[str], *, resource_version: str
    ) -> Manifest | None:
        """See :meth:`KubeClient.set_finalizers`."""
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": resource_version}}
        try:
            return await self._patch(resource, resource.path(namespace, name), body, _MERGE)
        except NotFoundError:
            return None

    async def create_event(
        self, involved: Manifest, *, kind: str, reason: str, message: str, timestamp: str, name: str
    ) -> None:
        """See :meth:`KubeClient.create_event`."""
        metadata = involved["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": involved["apiVersion"],
                "kind": involved["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata.get("uid"),
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": timestamp,
            "lastTimestamp": timestamp,
            "count": 1,
        }
        try:
            await self._call("POST", EVENTS, EVENTS.path(metadata["namespace"]), body=body, deadline=5.0)
        except NotLeadingError:
            raise
        except AlreadyExistsError:
            return  # it was told before
        except Exception as error:  # noqa: BLE001  an Event is a courtesy: losing one must not fail a reconcile
            # Of an object whose namespace is going away nobody is left to tell.
            level = logging.DEBUG if "being terminated" in str(error) else logging.WARNING
            log.log(level, "event not recorded", extra={"reason": reason, "error": str(error)})

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        timeout: float | None = None,
    ) -> Any:
        """Send one request, once, and return the decoded answer. Raises ApiError; ``timeout`` is in
        seconds."""
        seconds = self._timeout if timeout is None else timeout
        url = self._api.configuration.host + path + (f"?{urlencode(params)}" if params else "")
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        headers |= await self._auth()
        try:
            async with asyncio.timeout(seconds):
                response = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                    method,
                    url,
                    headers=headers,
                    body=body,
                    _request_timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(5.0, seconds)),
                )
                raw = await response.read()
        except TimeoutError as error:
            raise UnavailableError(0, "Timeout", f"no answer in {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(0, "ConnectionError", f"{type(error).__name__}: {error}") from error
        try:
            decoded = orjson.loads(raw) if raw else None
        except ValueError:
            decoded = raw.decode(errors="replace")
        if response.status >= 400:
            raise from_response(response.status, decoded, response.headers.get("Retry-After"))
        return decoded

    async def _patch(
        self, resource: Resource, path: str, body: Manifest, content_type: str, *, force: bool | None = None
    ) -> Manifest:
        params = {"fieldManager": FIELD_MANAGER}
        if force is not None:
            params["force"] = "true" if force else "false"
        return await self._call("PATCH", resource, path, body=body, params=params, content_type=content_type)

    async def _call(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        deadline: float | None = None,
    ) -> Manifest:
        """Send a request and repeat it while its failure may pass, within the deadline."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + (self._deadline if deadline is None else deadline)
        attempt = 0

        def may_send() -> None:
            if method != "GET" and self._fence is not None and not self._fence():
                raise NotLeadingError(f"not leading: {method} {path} was not sent")

        while True:
            may_send()
            remaining = max(0.1, ends - loop.time())
            try:
                with transport.checked(may_send):
                    answer = await self.request(
                        method,
                        path,
                        body=body,
                        params=params,
                        content_type=content_type,
                        timeout=min(self._timeout, remaining),
                    )
            except Exception as error:
                status = getattr(error, "status", 0)
                self._count(method, resource, status)
                pause = _pause(attempt, getattr(error, "retry_after", None))
                if not getattr(error, "retryable", False) or loop.time() + pause >= ends:
                    raise
                attempt += 1
                await asyncio.sleep(pause)
            else:
                self._count(method, resource, 200)
                return cast("Manifest", answer)

    def _count(self, method: str, resource: Resource, status: int) -> None:
        if self._on_request is not None:
            self._on_request(method, resource.plural, status)

    async def _auth(self) -> dict[str, str]:
        settings = await self._api.configuration.auth_settings()
        return {
            item["key"]: item["value"]
            for item in settings.values()
            if item["in"] == "header" and item["value"]
        }


def _listed(resource: Resource, item: Manifest) -> Manifest:
    if resource is not DEPLOYMENTS:
        item["metadata"].pop("managedFields", None)  # half of an object, and nobody reads it
    return with_type(resource, item)


def _pause(attempt: int, retry_after: float | None) -> float:
    """Seconds until the next attempt: what the server asked for, else doubling from 0.2 s, with jitter."""
    base = retry_after if retry_after is not None else min(0.2 * 2**attempt, 5.0)
    return base * random.uniform(1.0, 1.25)  # noqa: S311  jitter
