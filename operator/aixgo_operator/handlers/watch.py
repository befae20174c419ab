"""kopf handlers. Each one only hands an event on; deciding and writing is the reconcilers' work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import kopf

from aixgo_operator.kube.resources import (
    CHILD_KINDS,
    CONFIG_MAPS,
    NAMESPACES,
    OUR_KINDS,
    PODS,
    SECRETS,
    Resource,
)
from aixgo_operator.reconcile.resync import OUR_LABEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from aixgo_operator.kube.calls import Connection

#: Watched without a label selector: users' objects, which ours refer to, have no label of ours.
_UNFILTERED = (*OUR_KINDS, SECRETS, CONFIG_MAPS, NAMESPACES)


class EventSink(Protocol):
    """Takes watch events."""

    def observe(self, resource: Resource, event: str | None, body: dict[str, Any]) -> None:
        """Take in one event; ``event`` is None for an item of the initial list."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What kopf runs with, and what it is expected to watch."""

    registry: kopf.OperatorRegistry
    settings: kopf.OperatorSettings
    resources: tuple[Resource, ...]


def build(
    sink: EventSink,
    connect: Callable[[], Awaitable[Connection]],
    *,
    clusterwide: bool,
    optional: Sequence[Resource] = (),
    missing: Collection[Resource] = (),
) -> Watch:
    """Return kopf's registry and settings for watching everything that the operator looks at.

    ``optional``: kinds of add-ons that are installed; ``missing``: kinds of ours that are not.
    """
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    ours = [resource for resource in OUR_KINDS if resource not in missing]
    resources = (*ours, *CHILD_KINDS, *optional, PODS, *((NAMESPACES,) if clusterwide else ()))
    for resource in resources:
        _on_event(registry, sink, resource)
        if resource not in _UNFILTERED:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = OUR_LABEL
    _on_login(registry, connect)
    _tune(settings)
    return Watch(registry, settings, resources)


def _on_event(registry: kopf.OperatorRegistry, sink: EventSink, resource: Resource) -> None:
    @kopf.on.event(
        resource.group, resource.version, resource.plural, registry=registry, id=f"observe-{resource.plural}"
    )
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        sink.observe(resource, event["type"], dict(event["object"]))


def _on_login(registry: kopf.OperatorRegistry, connect: Callable[[], Awaitable[Connection]]) -> None:
    @kopf.on.login(registry=registry, id="login", retries=5, backoff=1.0)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await connect()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            insecure=found.insecure or None,
            scheme="Bearer" if found.token else None,
            token=found.token,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
        )


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing: kopf would else copy every object of every event for handlers that we do not
    have."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return


class _NoProgress(kopf.ProgressStorage):
    """Remembers nothing: only handlers of changes have a progress."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        return

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def _tune(settings: kopf.OperatorSettings) -> None:
    # Our own Lease elects; a stray peering object must not pause anything.
    settings.peering.standalone = True
    # No rights to list CRDs are needed; the CRDs are there before kopf is started.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    # A worker holds its object until then; at the start there is one for every object of the cluster.
    settings.queueing.idle_timeout = 0.2
    settings.queueing.error_delays = (1, 2, 5, 10, 20, 30, 60)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 5
    # A worker for each object of a page, fifteen kinds at a time.
    settings.watching.chunk_size = 100
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # kopf would kill the process so long after its end, whatever else is going on in it.
    settings.process.ultimate_exiting_timeout = None
