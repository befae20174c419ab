"""``aixgo operator release-finalizers``: leave nothing behind that only the operator could remove.

A SessionBackend that is in use has a finalizer. Once the operator is gone for good, nobody takes it away, and
with it the backend, its namespace and the CRD stay for ever. This command is run before (the chart's
pre-delete hook) or after that (by hand). It

1. lets the operator end the deletions that have begun, for a while: it alone purges what has to be purged;
2. stops it, and takes its Lease, so that nobody puts the finalizers back;
3. takes the finalizers from every SessionBackend, whatever its state. No session is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import FINALIZER_SESSION_PROTECTION, LEASE_NAME
from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.errors import ConflictError, NotFoundError
from aixgo_operator.kube.lease import Elector, LeaseTimes
from aixgo_operator.kube.resources import NAMESPACES, SESSION_BACKENDS
from aixgo_operator.kube.scale import scale_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.resources import Manifest

#: Seconds between two looks at deletions that the operator is about to end.
_EVERY: Final = 1.0
#: Seconds that the operator has to stop: as long as its pods have, and a Lease that nobody gave up.
STOP_TIMEOUT: Final = 45.0
_TIMES: Final = LeaseTimes()


class StillRunningError(Exception):
    """The operator did not stop: what is taken away now would be put back."""


@dataclass(frozen=True, slots=True)
class Released:
    """A SessionBackend without its finalizer."""

    namespace: str
    name: str
    #: It was being deleted, and had keys to purge: they stay.
    keys_left: bool

    def __str__(self) -> str:
        """Return a line for people."""
        text = f"SessionBackend {self.namespace}/{self.name}: released"
        return f"{text}; its keys stay in Redis" if self.keys_left else text


async def run(
    settings: OperatorSettings,
    *,
    kubeconfig: str | None,
    deployment: str,
    wait: float,
    tell: Callable[[str], None],
    stop_timeout: float = STOP_TIMEOUT,
    times: LeaseTimes = _TIMES,
) -> None:
    """Do all of it; ``wait`` are the seconds that running deletions have, ``tell`` takes lines for people.

    Raises StillRunningError, and ApiError when the API server refuses something.
    """
    client = await ApiServerClient.connect(kubeconfig)
    try:
        await _until_deleted(client, settings, wait, tell)
        namespace = settings.operator_namespace
        found = await scale_to(client, namespace, deployment, 0)
        if found:
            tell(f"Deployment {namespace}/{deployment}: scaled to 0")
        elif await client.get(NAMESPACES, None, namespace) is None:
            await _release_all(client, settings, tell)  # nor is there anybody who could lead
            return
        async with _leading(client, namespace, stop_timeout, times) as elector:
            await _release_all(client.with_fence(elector.leading), settings, tell)
    finally:
        await client.close()


async def _until_deleted(
    client: ApiServerClient, settings: OperatorSettings, wait: float, tell: Callable[[str], None]
) -> None:
    """Wait until the operator has ended the deletions that have begun, or for ``wait`` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    told = False
    while loop.time() < end:
        names = [
            f"{item['metadata']['namespace']}/{item['metadata']['name']}"
            for item in await _protected(client, settings)
            if item["metadata"].get("deletionTimestamp")
        ]
        if not names:
            return
        if not told:
            tell(f"waiting up to {wait:g} s for the deletion of {', '.join(sorted(names))}")
            told = True
        await asyncio.sleep(min(_EVERY, max(0.0, end - loop.time())))


@contextlib.asynccontextmanager
async def _leading(
    client: ApiServerClient, namespace: str, timeout: float, times: LeaseTimes
) -> AsyncIterator[Elector]:
    """Hold the operator's Lease."""
    elector = Elector(
        client,
        namespace=namespace,
        name=LEASE_NAME,
        identity=f"release-finalizers_{secrets.token_hex(4)}",
        times=times,
    )
    try:
        await asyncio.wait_for(elector.acquire(), timeout)
    except TimeoutError:
        raise StillRunningError(
            f"the operator in {namespace} still holds its Lease {LEASE_NAME} after {timeout:g} s:"
            " stop it, then try again"
        ) from None
    holding = asyncio.create_task(elector.hold())
    try:
        yield elector
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await elector.release()


async def _release_all(
    client: ApiServerClient, settings: OperatorSettings, tell: Callable[[str], None]
) -> None:
    """Release until there is nothing left to release: an object may change between reading and writing."""
    released: set[str] = set()
    while found := await _protected(client, settings):
        for item in found:
            uid, metadata = item["metadata"]["uid"], item["metadata"]
            if uid in released:
                raise StillRunningError(
                    f"the finalizer of SessionBackend {metadata['namespace']}/{metadata['name']} comes back:"
                    " an operator runs in another namespace; name it with --operator-namespace"
                )
            with contextlib.suppress(ConflictError):
                tell(str(await _release(client, item)))
                released.add(uid)


async def _release(client: ApiServerClient, item: Manifest) -> Released:
    metadata, spec = item["metadata"], item.get("spec") or {}
    left = [each for each in metadata["finalizers"] if each != FINALIZER_SESSION_PROTECTION]
    await client.set_finalizers(
        SESSION_BACKENDS,
        metadata["namespace"],
        metadata["name"],
        left,
        resource_version=metadata["resourceVersion"],
    )
    external = spec.get("redis") is not None and "managed" not in spec["redis"]
    keys_left = external and spec.get("deletionPolicy") == "Delete" and "deletionTimestamp" in metadata
    return Released(metadata["namespace"], metadata["name"], keys_left)


async def _protected(client: ApiServerClient, settings: OperatorSettings) -> list[Manifest]:
    """Return the SessionBackends with the finalizer; none where the CRD is gone."""
    found: list[Manifest] = []
    for namespace in settings.watch_namespaces or (None,):
        try:
            found += await client.list_objects(SESSION_BACKENDS, namespace)
        except NotFoundError:
            continue
    return [
        item for item in found if FINALIZER_SESSION_PROTECTION in (item["metadata"].get("finalizers") or ())
    ]
