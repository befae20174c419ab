"""The number of replicas of a Deployment, through its ``/scale``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.kube.errors import NotFoundError
from aixgo_operator.kube.resources import DEPLOYMENTS

if TYPE_CHECKING:
    from aixgo_operator.kube.client import ApiServerClient


async def scale_to(client: ApiServerClient, namespace: str, name: str, replicas: int) -> bool:
    """Scale a Deployment; tell whether there is one. Raises ApiError."""
    try:
        await client.request(
            "PATCH",
            DEPLOYMENTS.path(namespace, name, "scale"),
            body={"spec": {"replicas": replicas}},
            content_type="application/merge-patch+json",
        )
    except NotFoundError:
        return False
    return True
